// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/mhmig/mhmig/lang/printable"
)

// shortSecret is the number of letters below which a secret is only masked as a whole
// word: "root" is not masked in "rootfs", nor 1 in a number.
const shortSecret = 6

// minSymbols is the minimum length of a secret without letters and digits to be masked.
const minSymbols = 2

// secrets are the values of params that are passwords or other secrets. They are
// masked in all output and results of a run, also when a scenario has put them into a
// command or a guest prints them, quoted or not.
type secrets struct {
	mu       sync.Mutex // guards what follows
	public   []string   // not secret, though a param for passwords has them
	known    []string   // to be masked
	reported map[Unhidden]bool

	forms atomic.Pointer[forms] // nil: nothing to mask
}

// Unhidden is where a secret param cannot be masked.
type Unhidden struct{ Param, Where string }

// Warn tells log of it.
func (u Unhidden) Warn(log *slog.Logger) {
	log.Warn("a password cannot be hidden everywhere", "param", u.Param, "not_hidden", u.Where)
}

// form is one encoding of a secret.
type form struct {
	text  string
	whole bool // only as a whole word
}

// forms are all encodings, by their first byte, the longest first.
type forms [256][]form

// add adds the secrets among params. It returns where they cannot be masked, each
// once; names are the names in records and of files, which are not masked.
func (s *secrets) add(params map[string]string, names []string) []Unhidden {
	s.mu.Lock()
	defer s.mu.Unlock()
	var added []Unhidden
	for _, key := range slices.Sorted(maps.Keys(params)) {
		value := params[key]
		if value == "" || !secretKey.MatchString(key) || slices.Contains(s.public, value) {
			continue
		}
		if !slices.Contains(s.known, value) && isMaskable(value) {
			s.known = append(s.known, value)
			s.forms.Store(formsOf(s.known))
		}
		for _, where := range unhidden(value, names) {
			one := Unhidden{key, where}
			if s.reported == nil {
				s.reported = map[Unhidden]bool{}
			}
			if !s.reported[one] {
				s.reported[one] = true
				added = append(added, one)
			}
		}
	}
	return added
}

// long are the secrets that are masked in numbers too.
func (s *secrets) long() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.known), isShort)
}

func isShort(value string) bool { return utf8.RuneCountInString(value) < shortSecret }

// isMaskable reports whether masking a value leaves other text readable.
func isMaskable(value string) bool {
	switch value {
	case "yes", "no", "on", "off", "true", "false": // values of a switch
		return false
	}
	return strings.ContainsFunc(value, isWordRune) || utf8.RuneCountInString(strings.TrimSpace(value)) >= minSymbols
}

// unhidden returns where a value is not masked.
func unhidden(value string, names []string) []string {
	if !isMaskable(value) {
		return []string{"anywhere but in its own param: it is too common"}
	}
	var where []string
	if isShort(value) {
		where = append(where, "inside words, and in numbers")
	}
	own := formsOf([]string{value})
	if slices.ContainsFunc(names, func(name string) bool { return own.mask(name) != name }) {
		where = append(where, "in names of hosts, VMs and variants")
	}
	return where
}

func formsOf(values []string) *forms {
	var all forms
	for _, value := range values {
		for _, text := range encodings(value) {
			f := form{text, isShort(value)}
			if same := all[text[0]]; !slices.Contains(same, f) {
				all[text[0]] = append(same, f)
			}
		}
	}
	for _, same := range all {
		slices.SortStableFunc(same, func(a, b form) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return &all
}

// encodings are the forms of a value inside other text: as it is, in a string of
// JSON, Go or Starlark, in XML and HTML, in shell quotes, in a URL, in a QEMU option;
// and each of those inside another.
func encodings(value string) []string {
	all := []string{value}
	const depth = 2
	for range depth {
		for _, text := range all {
			for _, encode := range encoders {
				if other := encode(text); other != "" && !slices.Contains(all, other) {
					all = append(all, other)
				}
			}
		}
	}
	return all
}

var encoders = []func(string) string{
	func(text string) string { return jsonString(text, true) },
	func(text string) string { return jsonString(text, false) },
	func(text string) string { return inner(strconv.Quote(text)) },
	func(text string) string { return inner(strconv.QuoteToASCII(text)) },
	printable.Line,
	html.EscapeString,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#x27;").Replace,
	strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace,
	strings.NewReplacer("'", `'\''`).Replace,
	strings.NewReplacer("'", `'"'"'`).Replace,
	strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace,
	strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace,
	strings.NewReplacer(",", ",,").Replace,
	url.QueryEscape,
	url.PathEscape,
}

func jsonString(text string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	_ = e.Encode(text) // a string always can be
	return inner(strings.TrimSuffix(b.String(), "\n"))
}

// inner is the text between quotes.
func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// mask masks secrets in text.
func (s *secrets) mask(text string) string { return s.forms.Load().mask(text) }

// mask masks secrets in text; a nil forms does nothing.
func (f *forms) mask(text string) string {
	if f == nil {
		return text
	}
	shown, _ := f.maskPart(text, 0, len(text))
	return shown
}

// maskPart is text[from:to] with secrets masked, including one that begins there and
// ends after to. It returns the end of that one, else to.
func (f *forms) maskPart(text string, from, to int) (shown string, end int) {
	var b strings.Builder
	begin := from
	for i := from; i < to; {
		n := f.at(text, i)
		if n == 0 {
			i++
			continue
		}
		b.WriteString(text[begin:i])
		b.WriteString(masked)
		i += n
		begin = i
	}
	if begin >= to {
		return b.String(), begin
	}
	b.WriteString(text[begin:to])
	return b.String(), to
}

// at is the length of the secret at text[i]; 0: none.
func (f *forms) at(text string, i int) int {
	for _, form := range f[text[i]] {
		if strings.HasPrefix(text[i:], form.text) && (!form.whole || isWhole(text, i, i+len(form.text))) {
			return len(form.text)
		}
	}
	return 0
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// isWhole reports whether text[i:j] is not part of a longer word.
func isWhole(text string, i, j int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:i])
	first, _ := utf8.DecodeRuneInString(text[i:])
	if isWordRune(before) && isWordRune(first) && !escapeBefore.MatchString(text[max(0, i-longestEscape):i]) {
		return false
	}
	last, _ := utf8.DecodeLastRuneInString(text[:j])
	after, _ := utf8.DecodeRuneInString(text[j:])
	return !isWordRune(after) || !isWordRune(last)
}

// escapeBefore matches an escape sequence that ends with a letter or digit: in a
// string, as the n of \nroot, in a URL, or of a terminal.
var escapeBefore = regexp.MustCompile(`(?:\\[abefnrtv0]|\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|\x1b\[[0-9;?]*[A-Za-z])$`)

const longestEscape = 24

// tail is how many bytes at the end of text may be the beginning of a secret.
func (f *forms) tail(text string) int {
	longest := 0
	for _, same := range f {
		for _, form := range same {
			n := len(form.text)
			if !form.whole {
				n-- // a complete one is masked whatever follows
			}
			for n = min(n, len(text)); n > longest; n-- {
				if strings.HasSuffix(text, form.text[:n]) {
					longest = n
				}
			}
		}
	}
	return longest
}

// maskJSON masks secrets in the strings of JSON text, but not in member names, which
// come from mhmig.
func (s *secrets) maskJSON(text string) string {
	f := s.forms.Load()
	if f == nil {
		return text
	}
	return jsonStrings.ReplaceAllStringFunc(text, func(found string) string {
		var value string
		if !strings.HasSuffix(found, `"`) || json.Unmarshal([]byte(found), &value) != nil {
			return found // a member's name
		}
		if hidden := f.mask(value); hidden != value {
			return `"` + jsonString(hidden, false) + `"`
		}
		return found
	})
}

var jsonStrings = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(?:\s*:)?`)

func (s *secrets) maskFailure(f Failure) Failure {
	for _, text := range []*string{&f.Message, &f.Backtrace, &f.Source, &f.Evidence} {
		*text = s.mask(*text)
	}
	return f
}

func (s *secrets) maskOutcome(o Outcome) Outcome {
	o.Failure = s.maskFailure(o.Failure)
	o.Further, o.Warnings, o.Notices = slices.Clone(o.Further), s.maskAll(o.Warnings), s.maskAll(o.Notices)
	for i, f := range o.Further {
		o.Further[i] = s.maskFailure(f)
	}
	return o
}

// maskAll returns a copy of texts with secrets masked.
func (s *secrets) maskAll(texts []string) []string {
	shown := slices.Clone(texts)
	for i, text := range texts {
		shown[i] = s.mask(text)
	}
	return shown
}

// maskParams returns a copy of params in which secrets are masked in all values.
func (s *secrets) maskParams(params map[string]string) map[string]string {
	shown := make(map[string]string, len(params))
	for key, value := range params {
		if value != "" && secretKey.MatchString(key) && !s.isPublic(value) {
			value = masked
		}
		shown[key] = s.mask(value)
	}
	return shown
}

func (s *secrets) isPublic(value string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.public, value)
}

// maskingFile masks secrets in what is written to a file. What may be the start of a
// secret is held back until more is written.
type maskingFile struct {
	file    io.WriteCloser
	secrets *secrets
	lines   bool // of JSON, one per Write

	mu     sync.Mutex // guards what follows
	before string     // the end of what was written, unmasked
	held   string
}

func (f *Folder) maskingFile(file io.WriteCloser, name string) io.WriteCloser {
	return &maskingFile{file: file, secrets: &f.secrets, lines: filepath.Ext(name) == ".jsonl"}
}

func (w *maskingFile) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines {
		_, err := io.WriteString(w.file, w.secrets.maskJSON(string(p)))
		return len(p), err
	}
	text := w.held + string(p)
	w.held = ""
	forms := w.secrets.forms.Load()
	if forms == nil {
		return len(p), w.write(text, text)
	}
	all := w.before + text
	shown, now := forms.maskPart(all, len(w.before), len(all)-min(forms.tail(all), len(text)))
	w.held = all[now:]
	return len(p), w.write(all[:now], shown)
}

// write writes shown, the masked end of text.
func (w *maskingFile) write(text, shown string) error {
	w.before = text[max(0, len(text)-longestEscape):]
	_, err := io.WriteString(w.file, shown)
	return err
}

func (w *maskingFile) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all := w.before + w.held; w.held != "" {
		w.held, _ = w.secrets.forms.Load().maskPart(all, len(w.before), len(all))
	}
	_, err := io.WriteString(w.file, w.held)
	w.held = ""
	return errors.Join(err, w.file.Close())
}

// Public declares values that are not secret though params for passwords have them,
// such as documented defaults. Call it before the first variant.
func (f *Folder) Public(values ...string) {
	f.secrets.mu.Lock()
	defer f.secrets.mu.Unlock()
	f.secrets.public = append(f.secrets.public, values...)
}

// Hide masks the secrets among params from now on, in all output and results of the
// run. Start does so itself; this is for output before. It returns where that is not
// possible, each once.
func (f *Folder) Hide(params map[string]string) []Unhidden {
	return f.hide(params, nil)
}

func (f *Folder) hide(params map[string]string, names []string) []Unhidden {
	added := f.secrets.add(params, names)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.maskRun() {
		if err := writeJSON(filepath.Join(f.dir, RunFile), f.run); err != nil {
			f.onError(fmt.Errorf("results are incomplete: %w", err))
		}
	}
	return added
}

// maskRun masks the secrets known now in f.run, and reports whether that has changed
// it. The lock is held.
func (f *Folder) maskRun() (changed bool) {
	command, filters, because := f.secrets.maskAll(f.run.Command), f.secrets.maskAll(f.run.Filters), f.secrets.mask(f.run.Because)
	changed = !slices.Equal(command, f.run.Command) || !slices.Equal(filters, f.run.Filters) || because != f.run.Because
	f.run.Command, f.run.Filters, f.run.Because = command, filters, because
	return changed
}

// Mask is text with the secrets of the run's variants masked.
func (f *Folder) Mask(text string) string { return f.secrets.mask(text) }

// Masked returns a handler that passes records to h with the secrets of the run's
// variants masked.
func (f *Folder) Masked(h slog.Handler) slog.Handler { return maskingHandler{h, &f.secrets} }

type maskingHandler struct {
	slog.Handler
	secrets *secrets
}

func (h maskingHandler) Handle(ctx context.Context, rec slog.Record) error {
	if h.secrets.forms.Load() == nil {
		return h.Handler.Handle(ctx, rec)
	}
	clean := slog.NewRecord(rec.Time, rec.Level, h.secrets.mask(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.secrets.maskAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

func (h maskingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.secrets.maskAttr(a)
	}
	return maskingHandler{h.Handler.WithAttrs(clean), h.secrets}
}

func (h maskingHandler) WithGroup(name string) slog.Handler {
	return maskingHandler{h.Handler.WithGroup(name), h.secrets}
}

// maskAttr masks secrets in text values; another value that contains a long one is
// converted to text. The keys that identify the record's place are not masked.
func (s *secrets) maskAttr(a slog.Attr) slog.Attr {
	if (&Event{}).fixed(a.Key) != nil || a.Key == statusKey {
		return a
	}
	value := a.Value.Resolve()
	switch value.Kind() {
	case slog.KindGroup:
		group := slices.Clone(value.Group())
		for i, member := range group {
			group[i] = s.maskAttr(member)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(group...)}
	case slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindBool, slog.KindDuration, slog.KindTime:
		if shown := text(plain(value)); !slices.ContainsFunc(s.long(), func(secret string) bool { return strings.Contains(shown, secret) }) {
			return slog.Attr{Key: a.Key, Value: value}
		}
	}
	shown := text(plain(value))
	if hidden := s.mask(shown); hidden != shown {
		value = slog.StringValue(hidden)
	}
	return slog.Attr{Key: a.Key, Value: value}
}

// statusKey is the key of how a variant or run has ended.
const statusKey = "status"
