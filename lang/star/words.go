// SPDX-License-Identifier: Apache-2.0

package star

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/diag"
)

// Starlark's parser describes errors by names of tokens, as text, and mostly at the end
// position of the token. Users who know Python often use words that Starlark reserves
// but does not support, and keywords as names: these are found in the source at that
// position.

// pythonWords are the words of Python that Starlark reserves but does not support, and
// what to use instead.
var pythonWords = map[string]string{
	"as":       "",
	"async":    "spawn(fn) and parallel([fn, ...]) run functions at the same time",
	"await":    "spawn(fn) returns a task, whose join() waits for it",
	"class":    "use functions, and a dict for grouped values",
	"del":      "remove an element by its list's or dict's pop(key)",
	"except":   exceptions,
	"finally":  "cleanup(fn) runs a function at the end, whatever happened",
	"from":     loading,
	"global":   "a function cannot assign to names outside of it; change a list or a dict there",
	"import":   loading,
	"is":       `compare by "==" and "!="`,
	"nonlocal": "a function cannot assign to names outside of it; change a list or a dict there",
	"raise":    `fail("...") ends the scenario as FAIL, error("...") as ERROR`,
	"try":      exceptions,
	"with":     "call the function, and cleanup(fn) for what must be undone at the end",
	"yield":    "return a list",
}

const (
	exceptions = "an error cannot be caught; ask before it happens, such as by session.cmd_status(), and leave cleaning up to cleanup(fn)"
	loading    = `load("@std//work.star", "name") takes a name of another file`
)

// keywords are Starlark's keywords.
var keywords = map[string]bool{
	"and": true, "break": true, "continue": true, "def": true, "elif": true, "else": true, "for": true, "if": true,
	"in": true, "lambda": true, "load": true, "not": true, "or": true, "pass": true, "return": true, "while": true,
}

// tokens are plain names of the parser's tokens.
var tokens = map[string]string{
	"identifier":         "a name",
	"int literal":        "a number",
	"float literal":      "a number",
	"string literal":     "a string",
	"bytes literal":      "a string",
	"newline":            "the end of the line",
	"indent":             "an indented line",
	"outdent":            "the end of the block",
	"end of file":        "the end of the file",
	"primary expression": "a value",
}

var gotWant = regexp.MustCompile(`^got (.+), want (.+)$`)

// Explain rewrites a syntax error of Starlark's parser as a [diag.List] with a clearer
// message; other errors are returned unchanged.
func Explain(err error, source []byte) error {
	var fault syntax.Error
	if !errors.As(err, &fault) {
		return err
	}
	return diag.List{explain(fault, source)}
}

// explain rewrites a syntax error with a clearer message.
func explain(e syntax.Error, source []byte) diag.Diagnostic {
	d := at(e.Pos, source, e.Msg)
	got, want := "", ""
	if m := gotWant.FindStringSubmatch(e.Msg); m != nil {
		got, want = m[1], m[2]
		d.Message = fmt.Sprintf("got %s, want %s", plain(got), plain(want))
	}
	if got == "newline" && d.Pos.Col == 1 && d.Pos.Line > 1 { // it ends the line before
		d.Source = line(source, d.Pos.Line-1)
		d.Pos.Line, d.Pos.Col = d.Pos.Line-1, utf8.RuneCountInString(d.Source)+1
		return d
	}
	parts := split(d.Source)
	if chained.MatchString(e.Msg) {
		return explainChain(d, parts)
	}
	atEnd := got != "" && want != "primary expression" || e.Msg == "not an identifier" || strings.HasPrefix(e.Msg, "load operand")
	i := slices.IndexFunc(parts, func(p part) bool {
		return atEnd && p.end == d.Pos.Col-1 || !atEnd && p.begin == d.Pos.Col-1
	})
	if i < 0 {
		d.Hint = hintAtEnd(d.Source, parts, got)
		return d
	}
	if textAt(parts, i) == "=" && isReserved(textAt(parts, i-1)) { // pass = 1
		i--
	}
	d.Pos.Col = parts[i].begin + 1
	word := parts[i].text
	switch hint, isForeign := pythonWords[word]; {
	case isReserved(word) && isName(parts, i):
		d.Message = fmt.Sprintf("%q is a reserved word and cannot be a name", word)
		d.Hint = fmt.Sprintf("choose another one, such as %s_", word)
	case isForeign:
		d.Message, d.Hint = fmt.Sprintf("there is no %q: scenarios are Starlark, which is like Python but smaller", word), hint
	case word == "if" && textAt(parts, i-1) == "else":
		d.Message, d.Hint = `got "else if"`, `write "elif"`
	case keywords[word] && want != "":
		d.Message = fmt.Sprintf("the keyword %q is not allowed here, want %s", word, plain(want))
	case i == 0 && got == "string literal" && isString(lastText(line(source, d.Pos.Line-1))):
		d.Hint = adjacentStrings
	default:
		d.Hint = pythonHint(parts, i, got)
	}
	return d
}

// plain is the plain name of a token.
func plain(token string) string {
	if words, ok := tokens[token]; ok {
		return words
	}
	return token
}

func isReserved(word string) bool {
	_, isForeign := pythonWords[word]
	return isForeign || keywords[word]
}

// isName reports whether a part of a line is at the place of a name.
func isName(parts []part, i int) bool {
	switch textAt(parts, i-1) {
	case ".", "def", "lambda", "for":
		return true
	case "(", ",", "*", "**":
		if textAt(parts, 0) == "def" || slices.ContainsFunc(parts[:i], func(p part) bool { return p.text == "lambda" }) {
			return true // a parameter
		}
	}
	return textAt(parts, i+1) == "="
}

// pythonHint is a hint for syntax of other languages; "" if there is none.
func pythonHint(parts []part, i int, got string) string {
	word, before := textAt(parts, i), textAt(parts, i-1)
	switch {
	case i == 0 && word == "@":
		return "functions have no decorators"
	case word == "!", word == "&" && before == "&", word == "|" && before == "|":
		return `write "and", "or" and "not"`
	case before == "assert":
		return `write: if not CONDITION: fail("...")`
	case before == "print":
		return "print is a function: print(...)"
	case got == "string literal" && strings.EqualFold(before, "f"):
		return `write "%s" % x, or "{}".format(x)`
	case got == "string literal" && isString(before):
		return adjacentStrings
	case word == "**":
		return "there is no power operator: write x * x, or math.pow(x, y), which returns a float"
	case (before == "+" || before == "-") && before == textAt(parts, i-2):
		return fmt.Sprintf(`there is no "%s%[1]s": write "%[1]s= 1", in a line of its own`, before)
	}
	return ""
}

const adjacentStrings = `strings do not join by themselves: write "+" between them, or a comma`

func isString(text string) bool { return strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "'") }

// lastText is the last part of a line.
func lastText(line string) string {
	parts := split(line)
	return textAt(parts, len(parts)-1)
}

// hintAtEnd is a hint for a line that ends where a value is wanted, "" if there is none.
func hintAtEnd(line string, parts []part, got string) string {
	end := len(parts)
	hint := pythonHint(parts, end, got)
	if got != "newline" || hint == "" || end < 3 {
		return ""
	}
	changed := strings.TrimSpace(string([]rune(line)[:parts[end-2].begin]))
	if !isOperand.MatchString(changed) || parts[end-2].end != parts[end-1].begin {
		return hint
	}
	return fmt.Sprintf("write %q", changed+" "+parts[end-1].text+"= 1")
}

// isOperand matches what x++ increments, where that is all of a statement.
var isOperand = regexp.MustCompile(`^[\pL_][\pL\pN_]*(?:\.[\pL_][\pL\pN_]*|\[[^\]]*\])*$`)

// A part of a line is a word, a string, or a symbol. Positions are in characters.
type part struct {
	text       string
	begin, end int
}

var onePart = regexp.MustCompile(`[\pL_][\pL\pN_]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\*\*|[=!<>]=|[^\s]`)

func split(line string) []part {
	var parts []part
	counted, chars := 0, 0 // of the line, in bytes and in characters
	for _, at := range onePart.FindAllStringIndex(line, -1) {
		text := line[at[0]:at[1]]
		if text == "#" {
			break
		}
		begin := chars + utf8.RuneCountInString(line[counted:at[0]]) // from the line's begin it would be quadratic
		counted, chars = at[1], begin+utf8.RuneCountInString(text)
		parts = append(parts, part{text, begin, chars})
	}
	return parts
}

// textAt returns the text of a part, "" if there is none.
func textAt(parts []part, i int) string {
	if i < 0 || i >= len(parts) {
		return ""
	}
	return parts[i].text
}
