// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteText writes the devices for people, and before them, with head, what belongs to
// none of them.
func (s *Stream) WriteText(w io.Writer, head bool) error {
	var b bytes.Buffer
	if head {
		s.writeHead(&b)
	}
	for i, d := range s.Devices {
		if head || i > 0 {
			b.WriteString("\n")
		}
		d.write(&b)
	}
	if s.Undecoded != "" {
		fmt.Fprintf(&b, "\nnot decoded from there on: %s\n", s.Undecoded)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Only removes all devices from s but those that are named: by their whole name, or by
// what follows the device's place in it. It is an error if there is no such device. Without
// names it does nothing.
func (s *Stream) Only(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	var all []*Device
	for _, name := range names {
		before := len(all)
		for _, d := range s.Devices {
			if d.Name == name || strings.HasSuffix(d.Name, "/"+name) {
				all = append(all, d)
			}
		}
		if len(all) == before {
			return fmt.Errorf("there is no device %s", name)
		}
	}
	s.Devices = all
	return nil
}

func (s *Stream) writeHead(b *bytes.Buffer) {
	if s.Kind == Dumped {
		fmt.Fprintf(b, "what QEMU's kinds of devices send, machine type %s: %d kinds\n", s.Machine, len(s.Devices))
		return
	}
	fmt.Fprintf(b, "migration stream of %d bytes, machine type %s: %s, %d devices\n", s.Size, s.Machine, plural(int64(len(s.Sections)), "section"), len(s.Devices))
	if len(s.Capabilities) > 0 {
		fmt.Fprintf(b, "capabilities: %s\n", strings.Join(s.Capabilities, ", "))
	}
	if len(s.Blocks) == 0 {
		return
	}
	b.WriteString("\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "RAM block\tbytes\tpages\tzero pages\n")
	for _, block := range s.Blocks {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", block.Name, block.Size, block.Pages, block.Zeros)
	}
	t.Flush()
}

// write writes a device: its fields with their values, or with their formats if they were
// not decoded.
func (d *Device) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s, instance %d: version %d", d.Name, d.Instance, d.Version)
	if d.MinVersion != 0 && d.MinVersion != d.Version {
		fmt.Fprintf(b, " (loads %d and later)", d.MinVersion)
	}
	if d.Bytes > 0 {
		fmt.Fprintf(b, ", %s", plural(d.Bytes, "byte"))
	}
	b.WriteString("\n")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	if len(d.Values) == 0 {
		d.State.write(t, "")
	}
	for _, v := range d.Values {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", v.Path, typeText(v.Type, v.Count), sizeText(v.Size, v.Count), v.text())
	}
	t.Flush()
}

func (s *State) write(t io.Writer, path string) {
	for _, f := range s.Fields {
		name := path + f.Name
		fmt.Fprintf(t, "  %s\t%s\t%s\n", name, typeText(f.Type, f.Count), sizeText(f.Size, f.Count))
		if f.Struct != nil {
			f.Struct.write(t, name+".")
		}
	}
	for _, sub := range s.Subsections {
		fmt.Fprintf(t, "  %s\tsubsection, version %d\n", path+sub.Type, sub.Version)
		sub.write(t, path+sub.Type+":")
	}
}

func typeText(name string, count int64) string {
	if count == 1 {
		return name
	}
	return fmt.Sprintf("%s[%d]", name, count)
}

func sizeText(size, count int64) string {
	if count == 1 {
		return fmt.Sprint(size)
	}
	return fmt.Sprintf("%d*%d", count, size)
}

// The number of elements and of bytes that a line of text shows.
const (
	shownElements = 8
	shownBytes    = 16
)

func (v Value) text() string {
	switch value := v.Value.(type) {
	case []any:
		var words []string
		for i, e := range value {
			if i == shownElements {
				words = append(words, "…")
				break
			}
			words = append(words, fmt.Sprint(e))
		}
		return strings.Join(words, " ")
	case string:
		raw, err := hex.DecodeString(value)
		if err != nil {
			return value // as it is only in JSON
		}
		if text := bytes.TrimRight(raw, "\x00"); printable(text) && v.Type == "buffer" {
			return fmt.Sprintf("%q", text)
		}
		if len(raw) > shownBytes {
			return fmt.Sprintf("% x …", raw[:shownBytes])
		}
		return fmt.Sprintf("% x", raw)
	}
	return fmt.Sprint(v.Value)
}

// printable says whether a text has several characters, and all can be printed.
func printable(text []byte) bool {
	if len(text) < 2 || !utf8.Valid(text) {
		return false
	}
	for _, r := range string(text) {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return true
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Summary counts what Compare has found in two streams.
func Summary(older, newer *Stream, differences []Difference) string {
	if len(differences) == 0 {
		return fmt.Sprintf("no difference: %s", plural(int64(len(older.Devices)), "device"))
	}
	return fmt.Sprintf("%s: %d and %s", plural(int64(len(differences)), "difference"), len(older.Devices), plural(int64(len(newer.Devices)), "device"))
}

// Text is the difference in a sentence; older and newer are the names of both sides.
func (d Difference) Text(older, newer string) string {
	switch d.What {
	case MachineType:
		return fmt.Sprintf("machine type: %s in %s, %s in %s", d.Old.Name, older, d.New.Name, newer)
	case RAMBlock:
		return fmt.Sprintf("RAM block %s: %s", d.Field, d.sides(older, newer, func(s *Side) string { return plural(s.Size, "byte") }))
	case WholeDevice:
		return d.where() + ": " + d.sides(older, newer, func(s *Side) string {
			text := fmt.Sprintf("%s version %d", s.Name, s.Version)
			if s.Size > 0 {
				text += ", " + plural(s.Size, "byte")
			}
			return text
		})
	case StateVersion:
		return d.where() + ": " + d.sides(older, newer, func(s *Side) string { return fmt.Sprintf("version %d", s.Version) })
	case Subsection:
		return d.where() + ": subsection: " + d.sides(older, newer, func(s *Side) string { return fmt.Sprintf("version %d, %s", s.Version, plural(s.Size, "byte")) })
	case FieldName:
		return fmt.Sprintf("%s: is called %s in %s, with the same format: %s", d.where(), d.New.Name, newer, d.New.format())
	case FieldOrder:
		return d.where() + ": the fields from here on have another order"
	}
	return d.where() + ": " + d.sides(older, newer, (*Side).format)
}

// format is the format of a field.
func (s *Side) format() string {
	text := plural(s.Size, "byte")
	if s.Count != 1 {
		text = fmt.Sprintf("%d times %s", s.Count, text)
	}
	if s.Type != "" {
		text = s.Type + ", " + text
	}
	return fmt.Sprintf("%s (version %d)", text, s.Version)
}

func (d Difference) where() string {
	text := fmt.Sprintf("%s, instance %d", d.Device, d.Instance)
	switch {
	case d.What == StateVersion && d.Field != "":
		text += ", " + strings.TrimRight(d.Field, ".:")
	case d.Field != "":
		text += ", " + d.Field
	}
	return text
}

func (d Difference) sides(older, newer string, text func(*Side) string) string {
	switch {
	case d.Old == nil:
		return fmt.Sprintf("only in %s: %s", newer, text(d.New))
	case d.New == nil:
		return fmt.Sprintf("only in %s: %s", older, text(d.Old))
	}
	return fmt.Sprintf("%s in %s, %s in %s", text(d.Old), older, text(d.New), newer)
}
