// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SecretWords is a regular expression for what the names of passwords and other secrets have in them, in lower case.
const SecretWords = `passw(?:or)?d|passphrase|secret|token`

// Masked stands for a secret.
const Masked = "***"

var (
	secretName   = regexp.MustCompile(`(?i)` + SecretWords)
	secretNouns  = []string{"password", "passwd", "passphrase", "secret", "token"}
	secretAssign = regexp.MustCompile(`^[\s:+?<~]*=?\s*`) // between a key and its value, also where it is mistyped
)

// IsSecret reports whether a param of that name seems to be a password or another secret, also if the name is misspelt. It
// may say so too often.
func IsSecret(name string) bool {
	return secretName.MatchString(name) || slices.ContainsFunc(strings.FieldsFunc(name, isNoLetter), func(word string) bool {
		return word != "secure" && Nearest(word, secretNouns) != ""
	})
}

func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// maxKey is how many bytes of a line are searched for a key: there may be a thousand diagnostics of one long line.
const maxKey = 1 << 10

// secretIn returns what an assignment gives to a param that is a secret: the end of the line, "" if it is no such
// assignment. A line without "=" may be meant as one.
func secretIn(line string) string {
	keys, _, assigns := strings.Cut(line, "=")
	at := 0
	if assigns {
		at = max(0, len(keys)-maxKey)
	} else {
		keys = keys[:min(len(keys), maxKey)]
	}
	for {
		from := strings.IndexFunc(keys[at:], isNameRune)
		if from < 0 {
			return ""
		}
		from += at
		name := keys[from:]
		if i := strings.IndexFunc(name, func(r rune) bool { return !isNameRune(r) }); i >= 0 {
			name = name[:i]
		}
		if at = from + len(name); IsSecret(name) {
			return line[at+len(secretAssign.FindString(line[at:])):]
		}
	}
}

func isNameRune(r rune) bool { return isWordRune(r) || r == '-' || r == '.' }

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// WithoutSecret returns d without what its line gives to a param that is a secret.
func (d Diagnostic) WithoutSecret() Diagnostic { return d.Without(secretIn(d.Source)) }

// Without returns d without the end of its line, wherever d has it: [Masked] stands there. A place in it becomes the place
// where it begins.
func (d Diagnostic) Without(end string) Diagnostic {
	if end == "" {
		return d
	}
	shown := strings.TrimSuffix(d.Source, end)
	d.Source = shown + Masked
	d.Pos.Col = min(d.Pos.Col, utf8.RuneCountInString(shown)+1)
	bare := strings.Trim(end, `"' `)
	for _, text := range append([]string{end, bare}, strings.Fields(bare)...) {
		d.Message, d.Hint = maskWord(d.Message, text), maskWord(d.Hint, text)
	}
	return d
}

// maskWord masks a secret in a text, as it is or in quotes, where it is not a part of a word.
func maskWord(text, secret string) string {
	for _, form := range []string{secret, strings.Trim(strconv.Quote(secret), `"`)} {
		for at := 0; form != ""; {
			i := strings.Index(text[at:], form)
			if i < 0 {
				break
			}
			before, _ := utf8.DecodeLastRuneInString(text[:at+i])
			after, _ := utf8.DecodeRuneInString(text[at+i+len(form):])
			if isWordRune(before) || isWordRune(after) {
				at += i + len(form)
				continue
			}
			text = text[:at+i] + Masked + text[at+i+len(form):]
			at += i + len(Masked)
		}
	}
	return text
}
