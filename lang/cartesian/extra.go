// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// extra parses an extra statement. It returns nil if that is none, and keeps the errors.
func (b *builder) extra(e Extra) *parsedFile {
	src, err := newSource(e.Name, extraName, e.Text)
	if err != nil {
		b.errs = append(b.errs, diag.Of(err)...)
		return nil
	}
	src.extra, src.param = true, e.Param
	if e.Param {
		return b.param(src, e.Text)
	}
	file := b.parse(src, "")
	if len(file.body.Statements) == 0 && len(file.body.found) == 0 && len(b.errs) == 0 {
		// --filter "$UNSET" gives it.
		b.keep(oddity{place: place{src, lexerStart}, message: "the statement is empty, and does nothing", harmless: true})
	}
	return file
}

// param parses an extra statement that is one assignment.
func (b *builder) param(src *source, text string) *parsedFile {
	fail := func(pos lexer.Position, message, hint string) *parsedFile {
		b.errs = append(b.errs, src.diagnostic(pos, message, hint))
		return nil
	}
	if len(src.lines) > 1 || strings.ContainsRune(text, '\t') {
		return fail(lexerStart, "a param has no tab and only one line", "")
	}
	const form = "want KEY=VALUE"
	at, end := leftmostOperator(text)
	key := strings.TrimFunc(text[:at], isBlank)
	word := text[:skipLabel(text, 0)]
	switch {
	case end == 0 && isKeyword(word):
		return fail(lexerStart, form, fmt.Sprintf("a statement is given by --filter '%s'", strings.TrimSpace(text)))
	case end == 0 && strings.ContainsRune(text, ':') && strings.ContainsRune(text, '='):
		return fail(lexerStart, "a key has no colon in it; "+form, "for a condition, use --filter")
	case key == "":
		return fail(lexerStart, form, "")
	}
	op, behind := text[at:end], lexer.Position{Line: 1, Column: utf8.RuneCountInString(text[:end]) + 1}
	spaced := hasBlankAt(text, at-1)
	exact := op == "=" && !spaced && !hasBlankAt(text, end)
	switch {
	case !exact && strings.HasPrefix(text[end:], ":"): // no assignment of the language
		return fail(behind, fmt.Sprintf("a colon directly after %q", op), fmt.Sprintf("write '%s %s %s'", key, op, text[end:]))
	case isKeyword(key) && !operatorOf[op].onPattern():
		return fail(lexerStart, fmt.Sprintf("%q is a keyword, not a key", key),
			insteadOfKey(key, op, strings.TrimFunc(text[end:], isBlank)))
	case isReserved(key) && !operatorOf[op].onPattern():
		return fail(lexerStart, reservedKey(key), reservedHint)
	case limitsReserved(key) && !operatorOf[op].onPattern():
		return fail(lexerStart, reservedLimit(key), reservedHint)
	}
	if !exact {
		if value := strings.TrimFunc(text[end:], isBlank); op == "+=" && !spaced && len(value) < len(text)-end && value[:min(1, len(value))] != `"` {
			b.keep(oddity{
				place:    place{src, behind},
				message:  fmt.Sprintf("the blank after %q is not part of the value", op),
				hint:     fmt.Sprintf(`to append it too, write %s+=" %s"`, key, value),
				harmless: true,
			})
		}
		return b.parse(src, "")
	}
	// In a file, a value like this could begin with a quote that is none.
	tokens := lex(&source{name: src.name, lines: []string{key + " = x"}, ascii: isASCII(key)}).all()
	if len(tokens) == 0 || tokens[0].Type != tokKey || tokens[0].Value != key {
		return fail(lexerStart, fmt.Sprintf("%q cannot be a key; %s", key, form), "a key has no colon in it, and does not begin with a keyword, a dash or a comment")
	}
	set := &assignment{Pos: lexerStart, Key: key, Op: op, Value: text[end:]}
	return &parsedFile{src: src, body: &block{Statements: []clause{set}}}
}

func hasBlankAt(text string, at int) bool {
	return 0 <= at && at < len(text) && isBlank(rune(text[at]))
}

// ParamKey returns the key that the text of an [Extra] with Param sets; "" if it sets those that a pattern names, or is no
// assignment.
func ParamKey(text string) string {
	at, end := leftmostOperator(text)
	if end == 0 || operatorOf[text[at:end]].onPattern() {
		return ""
	}
	return strings.TrimFunc(text[:at], isBlank)
}

func isKeyword(word string) bool {
	for _, k := range keywords {
		if k.word == word {
			return true
		}
	}
	return false
}

// insteadOfKey says what to write when a keyword was not meant as a key.
func insteadOfKey(keyword, op, value string) string {
	switch keyword {
	case "variants":
		return `a set of variants begins with a line "variants:"`
	case "only", "no", "join", "include", "del", "suffix":
		if op == "=" && value != "" {
			return fmt.Sprintf("write %q", keyword+" "+value)
		}
		return fmt.Sprintf("the form is %q", keyword+" "+strings.ToUpper(formOf[keyword]))
	}
	return ""
}

// formOf is what follows keywords.
var formOf = map[string]string{"only": "filter", "no": "filter", "join": "filter", "include": "path", "del": "key", "suffix": "name"}

func reservedKey(key string) string {
	return fmt.Sprintf("the key %q is set by the language and cannot be changed", key)
}

// limitsReserved reports whether a key such as name_fixed limits one that is set by the language.
func limitsReserved(key string) bool {
	target, _ := limitOf(key)
	return isReserved(target)
}

func reservedLimit(key string) string {
	target, _ := limitOf(key)
	return fmt.Sprintf("the key %q changes %q, which is set by the language: variants with one name cannot be told apart", key, target)
}

var reservedHint = func() string {
	keys := []string{keyName, keyShortName, keyDep, keyNames, keyShorts}
	return "such keys are " + strings.Join(keys[:len(keys)-1], ", ") + " and " + keys[len(keys)-1]
}()

// checkAssignment warns of an assignment that can hardly be meant so.
func (b *builder) checkAssignment(a *assignment, op operator, src *source) {
	switch {
	case op.onPattern():
	case isReserved(a.Key):
		b.warn(src, a.Pos, reservedHint, "%s: this does nothing", reservedKey(a.Key))
	case limitsReserved(a.Key):
		b.keep(oddity{place: place{src, a.Pos}, message: reservedLimit(a.Key), hint: reservedHint, strict: true})
	case isKeyword(a.Key):
		b.warn(src, a.Pos, insteadOfKey(a.Key, a.Op, a.Value), "this sets the key %q to %q; it is not the statement %q", a.Key, a.Value, a.Key)
	}
	if hasOpenQuote(a.Value) {
		b.warn(src, a.Pos, "quotes are removed only if the value ends with the quote that it begins with",
			"the value of %q begins with a quote that nothing closes", a.Key)
	}
}

// insteadOfEmpty says what to write for a condition without content.
func insteadOfEmpty(stmt *condition) string {
	keyword := "only"
	if stmt.Negated {
		keyword = "no"
	}
	return fmt.Sprintf("to select, write %q", keyword+" "+stmt.Filter.String())
}

// hasOpenQuote reports whether a value begins with a quote that has no partner.
func hasOpenQuote(value string) bool {
	for _, quote := range []string{`"`, "'"} {
		if strings.HasPrefix(value, quote) && strings.Count(value, quote)%2 == 1 {
			return true
		}
	}
	return false
}

// An oddity is a statement that has a meaning, but hardly the one that was meant.
type oddity struct {
	place
	message, hint string
	harmless      bool // it may well be meant so
	strict        bool // in a file, only strict warnings have it
}

func (o oddity) warning() diag.Diagnostic {
	d := o.diagnostic(o.message, o.hint)
	d.Severity = diag.Warning
	return d
}

// warn keeps an oddity.
func (b *builder) warn(src *source, pos lexer.Position, hint, format string, args ...any) {
	b.keep(oddity{place: place{src, pos}, message: fmt.Sprintf(format, args...), hint: hint})
}

// keep keeps an oddity; like errors, there can be too many to read.
func (b *builder) keep(o oddity) {
	if len(b.oddities) < maxErrors {
		b.oddities = append(b.oddities, o)
	}
}
