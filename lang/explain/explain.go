// SPDX-License-Identifier: Apache-2.0

// Package explain writes the variants of a config, and as text: where a variant's params
// come from, why no variant matches a filter, and how the variants of two configs differ.
//
//	explain.Params(os.Stdout, explanation, false)
//	explain.Absence(os.Stdout, absence)
//
// The texts have at most 80 columns, except for names and values, which are not wrapped.
package explain

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
)

// pageWidth is the width of the texts in columns.
const pageWidth = 80

// Params writes where params come from. A removed param is written only if it was
// requested.
func Params(w io.Writer, e *cartesian.Explanation, one bool) {
	if e.Duplicate {
		fmt.Fprintf(w, "# several variants are called %s; this is the first\n", printable.Line(e.Name))
	}
	first := true
	for i := range e.Params {
		p := &e.Params[i]
		if p.Removed && !one {
			continue
		}
		if !first {
			fmt.Fprintln(w)
		}
		first = false
		writeHistory(w, p, one)
	}
}

func writeHistory(w io.Writer, p *cartesian.ParamHistory, one bool) {
	key := printable.Line(p.Key)
	columns := pageWidth - len([]rune(key)) - 3
	if one {
		columns = len(p.Value)*10 + 2 // not cut
	}
	switch {
	case p.Removed:
		fmt.Fprintf(w, "%s is not set\n", key)
	case p.Reserved:
		fmt.Fprintf(w, "%s = %s\n  set by the config language from the variants\n", key, showValue(p.Value, columns))
		if !one {
			return
		}
	default:
		fmt.Fprintf(w, "%s = %s\n", key, showValue(p.Value, columns))
	}
	const widest = 30
	column := 0
	for _, s := range p.Steps {
		if n := len([]rune(s.Location.String())); n <= widest {
			column = max(column, n)
		}
	}
	indent := strings.Repeat(" ", column+4)
	for _, s := range p.Steps {
		at := printable.Line(s.Location.String())
		text := cut(printable.Line(s.Text), pageWidth-len(indent))
		if len([]rune(at)) > column {
			fmt.Fprintf(w, "  %s\n%s%s", at, indent, text)
		} else {
			fmt.Fprintf(w, "  %-*s  %s", column, at, text)
		}
		used := len(indent) + len([]rune(text))
		if place := variantsOf(s.Variants); place != "" {
			place = "in " + cut(place, pageWidth-len(indent)-3)
			const placeColumn = 48 // preferred start of the place
			switch free := pageWidth - len([]rune(place)); {
			case used+2 <= min(placeColumn, free):
				fmt.Fprint(w, strings.Repeat(" ", min(placeColumn, free)-used), place)
			case used+2 <= free:
				fmt.Fprint(w, "  ", place)
			default:
				fmt.Fprintf(w, "\n%s%s", indent, place)
			}
		}
		fmt.Fprintln(w)
		for _, c := range s.Conditions {
			fmt.Fprintf(w, "%sif %s (%s)\n", indent, printable.Line(c.Text), printable.Line(c.String()))
		}
		for _, line := range effect(s, p.Reserved) {
			fmt.Fprintf(w, "%s%s\n", indent, line)
		}
	}
}

// effect describes what a step did, unless its text shows it.
func effect(s cartesian.Step, reserved bool) []string {
	const arrow = "-> "
	const room = pageWidth - 40
	var lines []string
	if s.Factor > 0 {
		lines = append(lines, fmt.Sprintf("of factor %d of the join", s.Factor))
	}
	if s.Written != "" {
		lines = append(lines, fmt.Sprintf("%s becomes %s", showValue(s.Written, room/2), showValue(s.Operand, room/2)))
	}
	switch {
	case s.Kept:
		return append(lines, "no effect: "+s.Note)
	case s.Op == "del":
		return append(lines, arrow+"removed")
	case s.Op == "suffix":
		return append(lines, "its key gets the suffix "+s.Operand)
	case s.Op == "dep":
		return append(lines, "adds "+showValue(s.Operand, 10*room))
	case reserved && s.Op == "variants":
		return lines
	case s.Op == "_min" || s.Op == "_max" || s.Op == "_fixed":
		return append(lines, fmt.Sprintf("%s corrects it %s%s", s.Op, arrow, showValue(*s.After, room)))
	case s.Op == "=" && s.Written == "" && !reserved:
		return lines
	case s.Before != nil && s.Op != "variants":
		return append(lines, showValue(*s.Before, room/2)+" "+arrow+showValue(*s.After, room))
	}
	return append(lines, arrow+showValue(*s.After, room))
}

// variantsOf returns the names of nested variants, from their heads.
func variantsOf(heads []cartesian.Location) string {
	names := make([]string, len(heads))
	for i, h := range heads {
		name, _, _ := strings.Cut(strings.TrimPrefix(h.Text, "-"), ":")
		names[i] = printable.Line(strings.TrimPrefix(strings.TrimSpace(name), "@"))
	}
	return strings.Join(names, ".")
}

// Absence writes why no variant matches a filter.
func Absence(w io.Writer, a *cartesian.Absence) {
	filter := printable.Line(a.Filter)
	if a.Count > 0 {
		more := ""
		if a.More {
			more = "more than "
		}
		fmt.Fprintf(w, "%s%s:\n", more, counted(a.Count, "variant matches "+filter, "variants match "+filter))
		for _, name := range a.Present {
			fmt.Fprintf(w, "  %s\n", printable.Line(name))
		}
		if a.Count > len(a.Present) {
			fmt.Fprintln(w, "  ...")
		}
		return
	}
	fmt.Fprintf(w, "no variant matches %s\n", filter)
	for _, d := range a.Impossible {
		fmt.Fprintf(w, "  %s\n", printable.Line(d.Message))
		if d.Source != "" && d.Pos.Col > 0 {
			source, col := d.Shown()
			fmt.Fprintf(w, "      %s\n      %s^\n", source, strings.Repeat(" ", col-1))
		}
		if d.Hint != "" {
			fmt.Fprintf(w, "      hint: %s\n", printable.Line(d.Hint))
		}
	}
	for i, d := range a.Drops {
		fmt.Fprintf(w, "\n%d. %s\n     %s\n", i+1, counted(len(d.Statements), "statement drops", "statements together drop"), printable.Line(d.Variant))
		for _, s := range d.Statements {
			fmt.Fprintf(w, "   %s:%d%s\n       %s\n       ^\n", printable.Line(s.Location.String()), s.Col, because(s), cut(printable.Line(s.Text), pageWidth-7))
			for _, c := range s.Conditions {
				fmt.Fprintf(w, "       if %s (%s)\n", printable.Line(c.Text), printable.Line(c.String()))
			}
		}
	}
	if len(a.Drops) > 0 {
		fmt.Fprintln(w)
		size := counted(len(a.Drops[0].Statements), "statement", "statements")
		switch {
		case a.Partial:
			fmt.Fprintf(w, "there may be more sets of %s; larger ones are not looked for\n", size)
		case a.Others > 0:
			fmt.Fprintf(w, "%s of %s not shown; larger ones are not looked for\n", counted(a.Others, "more set", "more sets"), size)
		default:
			fmt.Fprintf(w, "no other set of %s does; larger ones are not looked for\n", size)
		}
	}
}

func because(s cartesian.Culprit) string {
	if s.Keyword == "default" {
		return ": with --defaults, this variant is taken instead"
	}
	return ""
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// showValue formats a value in at most columns columns: quoted if it would be unclear
// without quotes.
func showValue(value string, columns int) string {
	shown := value
	if value == "" || strings.TrimSpace(value) != value || printable.Line(value) != value {
		shown = strconv.Quote(value)
	}
	return cut(shown, columns)
}

// cut shortens text to a number of columns.
func cut(text string, columns int) string {
	const least = 12
	r := []rune(text)
	columns = max(columns, least)
	if len(r) <= columns {
		return text
	}
	return string(r[:columns-3]) + "..."
}
