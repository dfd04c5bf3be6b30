// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mhmig/mhmig/lang/printable"
)

// Event is one record of what happened: one line of events.jsonl.
type Event struct {
	Time    time.Time  `json:"time"`
	Level   slog.Level `json:"level"`
	Message string     `json:"message"`

	// The fixed keys: where it happened. Empty where it does not apply.
	Run     string `json:"run,omitempty"`
	Variant string `json:"variant,omitempty"` // the variant's folder, Variant.ID
	Task    string `json:"task,omitempty"`
	Host    string `json:"host,omitempty"`
	VM      string `json:"vm,omitempty"`
	Side    string `json:"side,omitempty"`
	Step    string `json:"step,omitempty"`

	Fields Fields `json:"fields,omitempty"` // all other keys
}

// fixed returns where the value of a fixed key is kept, nil for other keys.
func (e *Event) fixed(key string) *string {
	switch key {
	case "run":
		return &e.Run
	case "variant":
		return &e.Variant
	case "task":
		return &e.Task
	case "host":
		return &e.Host
	case "vm":
		return &e.VM
	case "side":
		return &e.Side
	case "step":
		return &e.Step
	}
	return nil
}

// AtKey is the key of the position in a scenario that logs or prints something: the
// user sees these records at every verbosity.
const AtKey = "at"

// Fields are named values in the order in which they were logged. In JSON they
// are an object.
type Fields []Field

// Field is one named value: a string, bool, int64, uint64, float64, nil,
// Fields, or JSON (json.RawMessage) of whatever else was logged. Read back
// from JSON, a number is a json.Number and other things are as encoding/json
// makes them.
type Field struct {
	Key   string
	Value any
}

// Get returns the value of key, nil when there is none.
func (fs Fields) Get(key string) any {
	for _, f := range fs {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// with returns fs with key set; the given fs does not change.
func (fs Fields) with(key string, value any) Fields {
	out := make(Fields, 0, len(fs)+1)
	for _, f := range fs {
		if f.Key != key {
			out = append(out, f)
		}
	}
	return append(out, Field{key, value})
}

// MarshalJSON writes an object whose keys have the order of the fields.
func (fs Fields) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range fs {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(f.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Key, err)
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object, keeping the order of its keys.
func (fs *Fields) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	start, err := d.Token()
	if err != nil {
		return err
	}
	if start == nil { // null
		*fs = nil
		return nil
	}
	if start != json.Delim('{') {
		return fmt.Errorf("fields: got %v, want an object", start)
	}
	*fs = nil
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		*fs = fs.with(key.(string), value) // an object's key is a string, by the decoder
	}
	return nil
}

// maxEventLine bounds the memory that one line of a broken file can take.
const maxEventLine = 64 << 20

// ReadEvents yields the events of an events.jsonl. A line that is not an
// event, as left by a killed run or a full disk, yields an error with the line's
// number, and reading goes on; an error of r ends it.
func ReadEvents(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxEventLine)
		number := 0
		for lines.Scan() {
			number++
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			var e Event
			err := json.Unmarshal(line, &e)
			if err != nil {
				e, err = Event{}, fmt.Errorf("events line %d: %w", number, err)
			}
			if !yield(e, err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Event{}, fmt.Errorf("events line %d: %w", number+1, err))
		}
	}
}

// recorder makes events of slog records; handlers embed it. It is immutable.
type recorder struct {
	bound Event  // what With has set
	group string // prefix of keys: "a.b.", set by WithGroup
}

func (r recorder) withAttrs(attrs []slog.Attr) recorder {
	for _, a := range attrs {
		r.bound.add(r.group, a)
	}
	return r
}

func (r recorder) withGroup(name string) recorder {
	if name != "" {
		r.group += name + "."
	}
	return r
}

func (r recorder) event(rec slog.Record) Event {
	e := r.bound
	e.Time, e.Level, e.Message = rec.Time, rec.Level, rec.Message
	rec.Attrs(func(a slog.Attr) bool {
		e.add(r.group, a)
		return true
	})
	return e
}

// add adds one attribute. It calls LogValue first, so that secrets are hidden here,
// for all readers.
func (e *Event) add(group string, a slog.Attr) {
	value := a.Value.Resolve()
	if a.Key == "" {
		if value.Kind() == slog.KindGroup { // slog inlines a group without a key
			for _, member := range value.Group() {
				e.add(group, member)
			}
		}
		return
	}
	if place := e.fixed(a.Key); place != nil && group == "" {
		*place = text(plain(value))
		return
	}
	e.Fields = e.Fields.with(group+a.Key, plain(value))
}

// plain turns a resolved value into one of Field's kinds.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindString:
		return v.String()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return v.Uint64()
	case slog.KindFloat64:
		if f := v.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
		return v.String()
	case slog.KindBool:
		return v.Bool()
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindGroup:
		var fields Fields
		for _, a := range v.Group() {
			fields = fields.with(a.Key, plain(a.Value.Resolve()))
		}
		return fields
	}
	switch x := v.Any().(type) {
	case nil:
		return nil
	case error:
		return x.Error()
	case json.Marshaler: // its own form, which hides what is secret
	case fmt.Stringer:
		return x.String()
	}
	data, err := json.Marshal(v.Any())
	if err != nil {
		return fmt.Sprint(v.Any())
	}
	return json.RawMessage(data)
}

// text is a field's value as text.
func text(value any) string {
	switch x := value.(type) {
	case string:
		return x
	case json.RawMessage:
		var s string
		if json.Unmarshal(x, &s) == nil {
			return s
		}
		return string(x)
	case Fields:
		parts := make([]string, len(x))
		for i, f := range x {
			parts[i] = f.String()
		}
		return "{" + strings.Join(parts, " ") + "}"
	case nil:
		return ""
	}
	return fmt.Sprint(value)
}

// String returns key=value, quoted where the value would not be one word.
func (f Field) String() string {
	value := text(f.Value)
	if _, isGroup := f.Value.(Fields); !isGroup && (value == "" || strings.IndexFunc(value, needsQuotes) >= 0) {
		value = strconv.Quote(value)
	}
	return f.Key + "=" + value
}

func needsQuotes(r rune) bool {
	return unicode.IsSpace(r) || !printable.Is(r) || r == '"' || r == '='
}

// line is the event without its time and place: the message and its fields,
// on one line and without control characters.
func (e *Event) line() string { return printable.Line(e.Message) + e.Fields.line() }

// Lines are the message and its fields, without control characters, for a terminal:
// the message keeps its line breaks, and starts with the position in the scenario.
func (e *Event) Lines() []string {
	fields, place := e.Fields, ""
	if at, _ := fields.Get(AtKey).(string); at != "" {
		fields = slices.DeleteFunc(slices.Clone(fields), func(f Field) bool { return f.Key == AtKey })
		place = printable.Line(at) + ": "
	}
	return strings.Split(place+printable.Lines(strings.TrimRight(e.Message, "\r\n"))+fields.line(), "\n")
}

func (fs Fields) line() string {
	var b strings.Builder
	for _, f := range fs {
		b.WriteByte(' ')
		b.WriteString(printable.Line(f.String()))
	}
	return b.String()
}

// logLine is the event as a line of log.txt:
//
//	15:04:05.000 INFO  [host1 vm1 src] guest started boot=2.1s
func (e *Event) logLine() []byte {
	var b bytes.Buffer
	b.WriteString(e.Time.UTC().Format("15:04:05.000"))
	fmt.Fprintf(&b, " %-5s ", e.Level)
	var where []string
	for _, word := range []string{e.Task, e.Host, e.VM, e.Side, e.Step} {
		if word != "" {
			where = append(where, printable.Line(word))
		}
	}
	if len(where) > 0 {
		fmt.Fprintf(&b, "[%s] ", strings.Join(where, " "))
	}
	b.WriteString(e.line())
	b.WriteByte('\n')
	return b.Bytes()
}

// jsonLine is the event as a line of events.jsonl.
func (e *Event) jsonLine() ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("event %q", e.Message), err)
	}
	return append(printable.JSON(data), '\n'), nil
}
