// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
)

// TAP writes the Test Anything Protocol, version 14: a test point for each
// variant, and details of a failure as a YAML block. A variant in quarantine is a
// TODO.
func TAP(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "TAP version 14"); err != nil {
		return err
	}
	number := 0
	for o, err := range outcomesAndRun(run, dir) {
		if err != nil {
			return err
		}
		number++
		if _, err := io.WriteString(w, testPoint(number, o)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "1..%d\n", number)
	return err
}

func testPoint(number int, o result.Outcome) string {
	var b strings.Builder
	word, directive := "ok", ""
	switch {
	case o.Quarantine != nil:
		word, directive = "not ok", "TODO "+o.Quarantine.Reason+" "+o.Quarantine.Tracker
	case !o.Status.OK():
		word = "not ok"
	case o.Status == result.Skip, o.Status == result.Cancel:
		directive = "SKIP " + o.Message
	}
	fmt.Fprintf(&b, "%s %d - %s", word, number, tapText(label(o)))
	if directive != "" {
		fmt.Fprintf(&b, " # %s", tapText(directive))
	}
	b.WriteByte('\n')
	var lines []string
	add := func(key, value string) {
		if value != "" {
			quoted, _ := marshal(value) // of a string never fails, and is YAML too
			lines = append(lines, fmt.Sprintf("  %s: %s\n", key, quoted))
		}
	}
	if o.Status != result.Pass {
		add("status", o.Status.String())
		add("message", o.Message)
		add("at", o.Position)
		add("host", o.Host)
		add("vm", o.VM)
		add("side", o.Side)
		add("phase", o.Phase)
		add("backtrace", o.Backtrace)
	}
	for i, warning := range o.Warnings {
		add(fmt.Sprintf("warning_%d", i+1), warning)
	}
	if len(lines) > 0 {
		lines = append(lines, fmt.Sprintf("  duration_ms: %.0f\n", o.Seconds*1000))
		b.WriteString("  ---\n" + strings.Join(lines, "") + "  ...\n")
	}
	return b.String()
}

// tapText is text for the line of a test point: on one line, with "#" escaped.
func tapText(text string) string {
	text = printable.Line(strings.Join(strings.Fields(text), " "))
	return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(text)
}
