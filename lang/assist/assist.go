// SPDX-License-Identifier: Apache-2.0

// Package assist answers what an editor asks about a place in a scenario or a config: what can be written there, what is
// meant there, where that is defined, what else must change when it is renamed, and what is wrong in the file.
//
//	w := assist.New(libraries, open)
//	completion := w.Complete("my.star", offset)
//
// A Workspace is the files at one moment: those that an editor has open, as they are there, and all others as they are
// stored. Files that are being written are rarely valid: what can be read of them is used, and what cannot is left out.
//
// Places are byte offsets in the text of a file. Files are called by their full names, see [library.Resolve].
//
// A Workspace does not change: any goroutine may use it, and those made from one another share what they have read.
package assist

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/lint"
	"github.com/mhmig/mhmig/lang/star"
)

// ConfigExtension is the file extension of configs.
const ConfigExtension = ".cfg"

// A Workspace is the files at one moment.
type Workspace struct {
	libraries library.Set
	open      map[string]string // the texts of open files, by their full names
	read      *cache
	alone     bool // configs that are not named do not matter
}

// New returns a workspace in which the files of open, by their full names, have these texts. The maps must not change
// afterwards.
func New(libraries library.Set, open map[string]string) *Workspace {
	return &Workspace{libraries: libraries, open: open, read: newCache()}
}

// With returns the workspace at another moment. What w has read of files that have not changed is not read again.
func (w *Workspace) With(libraries library.Set, open map[string]string) *Workspace {
	return &Workspace{libraries: libraries, open: open, read: w.read}
}

// A Span is a part of a text, from one byte offset up to another.
type Span struct{ From, To int }

// A Place is a part of a file.
type Place struct {
	File string // its full name
	Text string // its whole text
	Span
}

// An Edit replaces a part of a text.
type Edit struct {
	Span
	Text string
}

// A Problem is a diagnostic, and what of the text it is about.
type Problem struct {
	diag.Diagnostic
	Span
}

// A Kind is what a completion stands for.
type Kind int

// The kinds of completions.
const (
	Function Kind = iota
	Method
	Attribute
	Module
	Variable
	Keyword
	Argument // the name of a parameter, in a call
	Param
	Label // of a variant
	Value // of a param
	File
	Folder
)

// An Item is one way to complete what is being written.
type Item struct {
	Label  string // what is written
	Kind   Kind
	Detail string // a signature or a type, on one line
	Doc    string // Markdown
}

// A Completion is what can be written at a place, in place of what is there already, the best first.
type Completion struct {
	Span
	Items []Item
}

// A Hover is what is meant at a place.
type Hover struct {
	Span
	Doc string // Markdown
}

// Text returns the text of a file.
func (w *Workspace) Text(name string) (text string, ok bool) {
	if text, open := w.open[name]; open {
		return text, true
	}
	if _, _, inLibrary := library.Cut(name); !inLibrary {
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() || info.Size() > library.MaxFile {
			return "", false // to open a FIFO could wait without end
		}
	}
	data, err := w.libraries.ReadFile(name)
	return string(data), err == nil
}

// isConfig reports whether a file is a config.
func isConfig(name string) bool { return filepath.Ext(name) == ConfigExtension }

// Complete returns what can be written at an offset of a file.
func (w *Workspace) Complete(name string, at int) Completion {
	text, ok := w.Text(name)
	if !ok {
		return Completion{}
	}
	at = min(max(at, 0), len(text))
	if isConfig(name) {
		return w.completeConfig(name, text, at)
	}
	return w.completeProgram(name, text, at)
}

// Hover returns what is meant at an offset of a file; ok is false if nothing is known about it.
func (w *Workspace) Hover(name string, at int) (h Hover, ok bool) {
	text, ok := w.Text(name)
	if !ok {
		return Hover{}, false
	}
	at = min(max(at, 0), len(text))
	if isConfig(name) {
		h = w.hoverConfig(name, text, at)
	} else {
		h = w.hoverProgram(name, text, at)
	}
	return h, h.Doc != ""
}

// Definition returns where what is meant at an offset of a file is defined. A file as a whole is its beginning.
func (w *Workspace) Definition(name string, at int) []Place {
	text, ok := w.Text(name)
	if !ok {
		return nil
	}
	at = min(max(at, 0), len(text))
	if isConfig(name) {
		return w.defineConfig(name, text, at)
	}
	return w.defineProgram(name, text, at)
}

// Diagnose returns what is wrong in a file, and what probably is, as mhmig lint finds it.
func (w *Workspace) Diagnose(name string) []Problem {
	text, ok := w.Text(name)
	if !ok {
		return nil
	}
	part := isConfig(name) && w.isPart(name)
	list := lint.Text(cartesian.Reader{Libraries: w.libraries, Texts: w.open}, name, text, part)
	problems := make([]Problem, 0, len(list))
	for _, d := range list {
		at := 0
		if isConfig(name) {
			at = cartesian.Offset(text, d.Pos)
		} else {
			at = newSource(text).offset(d.Pos.Line, d.Pos.Col)
		}
		problems = append(problems, Problem{d, wordAt(text, at)})
	}
	return problems
}

// wordAt returns the word, the string or else the character that begins at an offset; at the end of a line, what is before
// it, be it in a line above.
func wordAt(text string, at int) Span {
	end := at
	for end < len(text) && isWordByte(text[end]) {
		end++
	}
	if end == at && end < len(text) && strings.IndexByte("\r\n", text[end]) < 0 {
		if quote := text[end]; quote == '"' || quote == '\'' {
			line, _, _ := strings.Cut(text[end+1:], "\n")
			if closing := strings.IndexByte(line, quote); closing >= 0 {
				return Span{at, end + closing + 2}
			}
		}
		_, size := utf8.DecodeRuneInString(text[end:])
		return Span{at, end + size}
	}
	if end == at {
		end = len(strings.TrimRight(text[:at], " \t\r\n"))
		for at = end; at > 0 && isWordByte(text[at-1]); at-- {
		}
		if at == end && at > 0 {
			_, size := utf8.DecodeLastRuneInString(text[:end])
			at -= size
		}
	}
	return Span{at, end}
}

// isWordByte reports whether a byte is of a name, of a label or of a character that is not ASCII.
func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// Format returns the edits that bring a file into the house's form, none if it has that. Errors in the file are a
// [diag.List].
func (w *Workspace) Format(name string) ([]Edit, error) {
	text, ok := w.Text(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	var formatted string
	if isConfig(name) {
		config, err := cartesian.Reformat(name, text)
		if err != nil {
			return nil, err
		}
		formatted = config
	} else {
		program, err := star.Reformat(name, []byte(text))
		if err != nil {
			return nil, err
		}
		formatted = string(program)
	}
	if formatted == text {
		return nil, nil
	}
	return []Edit{difference(text, formatted)}, nil
}

// difference returns the edit of whole lines that makes after of before.
func difference(before, after string) Edit {
	from := 0
	for i := 0; i < min(len(before), len(after)) && before[i] == after[i]; i++ {
		if before[i] == '\n' {
			from = i + 1
		}
	}
	same := 0 // bytes at the end
	for i := 0; i < min(len(before), len(after))-from && before[len(before)-1-i] == after[len(after)-1-i]; i++ {
		if at := len(before) - 1 - i; before[at] == '\n' && i > 0 {
			same = i
		}
	}
	return Edit{Span{from, len(before) - same}, after[from : len(after)-same]}
}

// paths returns the files that a path in a file can go on to: those of libraries after "@", and those beside the file. Only
// folders and files with the ending are among them. The span is in written, which begins at an offset.
func (w *Workspace) paths(from, written, ending string, at int) Completion {
	c := Completion{Span: Span{at, at + len(written)}}
	add := func(label string, kind Kind) {
		c.Items = append(c.Items, Item{Label: label, Kind: kind})
	}
	name, inner, inLibrary := library.Cut(written)
	if !inLibrary && (written == "" || strings.HasPrefix(written, "@")) {
		for _, name := range w.libraries.Names() {
			add("@"+name+"//", Folder)
		}
		if written != "" {
			return c
		}
	}
	folder := written[:strings.LastIndexByte(written, '/')+1]
	var entries []fs.DirEntry
	if inLibrary {
		files, known := w.libraries[name]
		if !known {
			return c
		}
		entries, _ = fs.ReadDir(files, path.Clean("./"+inner[:strings.LastIndexByte(inner, '/')+1]))
	} else if full, err := library.Resolve(from, folder+"x"); err == nil {
		if name, inner, inLibrary := library.Cut(full); inLibrary {
			entries, _ = fs.ReadDir(w.libraries[name], path.Dir(inner))
		} else {
			entries, _ = os.ReadDir(filepath.Dir(full))
		}
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			add(folder+e.Name()+"/", Folder)
		case path.Ext(e.Name()) == ending:
			add(folder+e.Name(), File)
		}
	}
	slices.SortStableFunc(c.Items, func(a, b Item) int { return cmp.Compare(b.Kind, a.Kind) })
	return c
}
