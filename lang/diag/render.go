// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"fmt"
	"io"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
)

// The terminal styles of the parts of a diagnostic.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	plain  = "\x1b[0m"
)

const margin = "    "

// Render writes each diagnostic of l: the position and the message, the source line, a caret below the position, and the
// hint. With color it uses ANSI escapes. Control characters of the user's text are escaped.
func Render(w io.Writer, l List, color bool) error {
	var b strings.Builder
	for _, d := range l {
		render(&b, d, color)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func render(b *strings.Builder, d Diagnostic, color bool) {
	paint := func(style, text string) string {
		if !color {
			return text
		}
		return style + text + plain
	}
	if pos := d.Pos.String(); pos != "" {
		b.WriteString(paint(bold, printable.Line(pos)+":") + " ")
	}
	if d.Severity == Warning {
		b.WriteString(paint(yellow, "warning:") + " ")
	}
	fmt.Fprintln(b, printable.Line(d.Message))

	if source, col := window(d.Shown()); source != "" {
		fmt.Fprintln(b, margin+source)
		if col > 0 {
			style := red
			if d.Severity == Warning {
				style = yellow
			}
			// A caret may be at most one after the end of the line.
			before := min(col-1, len([]rune(source)))
			fmt.Fprintln(b, margin+strings.Repeat(" ", before)+paint(style, "^"))
		}
	}
	if d.Hint != "" {
		fmt.Fprintln(b, margin+paint(cyan, "hint:")+" "+printable.Line(d.Hint))
	}
}

// The maximum shown part of a source line, in characters, and how much of it is before the position.
const (
	windowWidth  = 160
	windowBefore = 60
)

// window cuts a long line around the character col, counted from 1, and returns the new col.
func window(source string, col int) (string, int) {
	runes := []rune(source)
	if len(runes) <= windowWidth {
		return source, col
	}
	start := min(max(0, col-1-windowBefore), len(runes)-windowWidth)
	cut := string(runes[start : start+windowWidth])
	if start+windowWidth < len(runes) {
		cut += "…"
	}
	if start > 0 {
		return "…" + cut, col - start + 1
	}
	return cut, col
}

// Shown is the source line, safe for a terminal, and the character of it, counted from 1, at d.Pos; 0 without a column.
func (d Diagnostic) Shown() (source string, col int) {
	runes := []rune(d.Source)
	if d.Pos.Col < 1 {
		return printable.Line(d.Source), 0
	}
	at := min(d.Pos.Col-1, len(runes))
	before := printable.Line(string(runes[:at]))
	return before + printable.Line(string(runes[at:])), len([]rune(before)) + 1
}
