// SPDX-License-Identifier: Apache-2.0

package capability

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteText writes the map for people.
func (m *Map) WriteText(w io.Writer) error {
	var b bytes.Buffer
	accepted := 0
	for _, c := range m.Capabilities {
		if c.Alone.Accepted() {
			accepted++
		}
	}
	fmt.Fprintf(&b, "QEMU %s, %s: migration capabilities: %d, of which are accepted alone: %d\n\n", m.Version, m.Binary, len(m.Capabilities), accepted)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range m.Capabilities {
		text := c.Alone.String()
		if c.Default {
			text += " (on by default)"
		}
		fmt.Fprintf(t, "%s\t%s\n", c.Name, text)
	}
	t.Flush()
	if len(m.Pairs) == 0 {
		fmt.Fprintf(&b, "\npairs tried: %d; all are accepted where both parts are alone\n", m.Tried)
	} else {
		fmt.Fprintf(&b, "\npairs tried: %d; accepted where both parts are alone, but for:\n\n", m.Tried)
	}
	for _, p := range m.Pairs {
		fmt.Fprintf(t, "%s\t%s\n", p.names(), p.Verdict)
	}
	t.Flush()
	fmt.Fprintf(&b, "\nmigration parameters: %d, with their defaults and values:\n\n", len(m.Parameters))
	for _, p := range m.Parameters {
		line := p.Name + "\t" + p.defaultText()
		if len(p.Values) > 0 {
			line += "\t" + strings.Join(p.Values, " ")
		}
		fmt.Fprintln(t, line)
	}
	t.Flush()
	_, err := w.Write(b.Bytes())
	return err
}

// String is the verdict in words.
func (v Verdict) String() string {
	switch {
	case v.Accepted():
		return "accepted"
	case v.Source == v.Destination:
		return "refused: " + v.Source
	case v.Source == "":
		return "refused by the destination: " + v.Destination
	case v.Destination == "":
		return "refused by the source: " + v.Source
	}
	return "refused by the source: " + v.Source + "; by the destination: " + v.Destination
}

func (p Pair) names() string { return p.First + " + " + p.Second }

func (p Parameter) defaultText() string {
	switch d := p.Default.(type) {
	case nil:
		return "-"
	case float64: // as JSON has it; QEMU's numbers are whole
		return fmt.Sprintf("%.0f", d)
	case string:
		return fmt.Sprintf("%q", d)
	default:
		return fmt.Sprint(d)
	}
}

// Change is something that another QEMU accepts in another way. Old and New are the verdict,
// values or default of each, "" where that QEMU does not know it.
type Change struct {
	What Aspect `json:"what"`
	Name string `json:"name"` // of a pair: FIRST + SECOND
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Aspect is what has changed.
type Aspect string

// The aspects.
const (
	OneCapability Aspect = "capability"
	OnePair       Aspect = "pair"
	OneParameter  Aspect = "parameter"
	Values        Aspect = "values"  // of a parameter
	Default       Aspect = "default" // of a capability or parameter
)

// Compare returns what the newer QEMU accepts in another way than the older one. Reasons
// in other words are no change, and a pair is not compared if one of both does not know
// its parts.
func Compare(older, newer *Map) []Change {
	var all []Change
	add := func(what Aspect, name, before, after string) {
		if before != after {
			all = append(all, Change{what, name, before, after})
		}
	}
	ofCapability := func(c Capability) string { return c.Name }
	before, after := byKey(older.Capabilities, ofCapability), byKey(newer.Capabilities, ofCapability)
	for _, name := range union(older.Capabilities, newer.Capabilities, ofCapability) {
		o, was := before[name]
		n, is := after[name]
		switch {
		case !was:
			add(OneCapability, name, "", n.Alone.String())
		case !is:
			add(OneCapability, name, o.Alone.String(), "")
		default:
			if o.Alone.differs(n.Alone) {
				add(OneCapability, name, o.Alone.String(), n.Alone.String())
			}
			add(Default, name, onOff(o.Default), onOff(n.Default))
		}
	}
	for _, p := range union(older.Pairs, newer.Pairs, func(p Pair) Pair { return Pair{First: p.First, Second: p.Second} }) {
		if !known(before, p) || !known(after, p) {
			continue
		}
		if o, n := older.together(p), newer.together(p); o.differs(n) {
			add(OnePair, p.names(), o.String(), n.String())
		}
	}
	ofParameter := func(p Parameter) string { return p.Name }
	had, has := byKey(older.Parameters, ofParameter), byKey(newer.Parameters, ofParameter)
	for _, name := range union(older.Parameters, newer.Parameters, ofParameter) {
		o, was := had[name]
		n, is := has[name]
		if !was || !is {
			add(OneParameter, name, o.presence(was), n.presence(is))
			continue
		}
		add(Values, name, strings.Join(o.Values, " "), strings.Join(n.Values, " "))
		add(Default, name, o.defaultText(), n.defaultText())
	}
	return all
}

// differs says whether one of two verdicts is to accept where the other is not.
func (v Verdict) differs(o Verdict) bool {
	return (v.Source == "") != (o.Source == "") || (v.Destination == "") != (o.Destination == "")
}

func known(capabilities map[string]Capability, p Pair) bool {
	_, first := capabilities[p.First]
	_, second := capabilities[p.Second]
	return first && second
}

// together is the verdict on two capabilities together: unless they are among the pairs
// it follows from those of both alone.
func (m *Map) together(p Pair) Verdict {
	for _, listed := range m.Pairs {
		if listed.First == p.First && listed.Second == p.Second || listed.First == p.Second && listed.Second == p.First {
			return listed.Verdict
		}
	}
	var v Verdict
	for _, c := range m.Capabilities {
		if c.Name == p.First || c.Name == p.Second {
			v.Source, v.Destination = first(v.Source, c.Alone.Source), first(v.Destination, c.Alone.Destination)
		}
	}
	return v
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (p Parameter) presence(there bool) string {
	if !there {
		return ""
	}
	text := "default " + p.defaultText()
	if len(p.Values) > 0 {
		text += ", values " + strings.Join(p.Values, " ")
	}
	return text
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// byKey are the elements of a list by their keys.
func byKey[T any](all []T, key func(T) string) map[string]T {
	found := map[string]T{}
	for _, x := range all {
		found[key(x)] = x
	}
	return found
}

// union is the keys of two lists, in the order of the first, then of the second.
func union[T any, K comparable](a, b []T, key func(T) K) []K {
	var keys []K
	for _, x := range slices.Concat(a, b) {
		if k := key(x); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// WriteChanges writes what Compare has found, for people.
func WriteChanges(w io.Writer, older, newer *Map, changes []Change) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old: QEMU %s, %s\nnew: QEMU %s, %s\n", older.Version, older.Binary, newer.Version, newer.Binary)
	for _, c := range changes {
		fmt.Fprintf(&b, "\n%s %s\n  old: %s\n  new: %s\n", c.What, c.Name, c.side(c.Old), c.side(c.New))
	}
	if len(changes) == 0 {
		b.WriteString("\nno difference\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c Change) side(text string) string {
	switch {
	case text != "":
		return text
	case c.What == Values:
		return "no list of values"
	}
	return "unknown"
}
