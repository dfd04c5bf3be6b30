// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Scenario returns the scenario of a walk on so many hosts, formatted as by mhmig fmt, and
// the line of each step in it. Steps that are not possible are left out. about is the text
// that it begins with, in lines.
func Scenario(about string, hosts int, steps []Step) (source []byte, lines []int) {
	steps = Possible(hosts, steps)
	m := newModel(hosts)
	functions := []string{"begin", "end"}
	calls := make([]string, len(steps))
	for i, s := range steps {
		calls[i] = s.call(m)
		s.apply(m)
		name, _, _ := strings.Cut(calls[i], "(")
		functions = append(functions, name)
	}
	slices.Sort(functions)
	functions = slices.Compact(functions)
	for i, name := range functions {
		functions[i] = strconv.Quote(name)
	}

	var b strings.Builder
	about = strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(about), `\`, `\\`), `"""`, `\"\"\"`)
	fmt.Fprintf(&b, "\"\"\"%s\n\"\"\"\n\nload(\"@std//walk.star\", %s)\n\n", about, strings.Join(functions, ", "))
	fmt.Fprintf(&b, "hosts_needed = %d\n\ndef migration_scenario(env):\n    walk = begin(env)\n", max(m.furthest, 2))
	line := strings.Count(b.String(), "\n")
	for i, call := range calls {
		b.WriteString("    " + call + "\n")
		lines = append(lines, line+i+1)
	}
	b.WriteString("    end(walk)\n")
	return []byte(b.String()), lines
}

// Text returns the steps as their statements, in order.
func Text(hosts int, steps []Step) []string {
	m := newModel(hosts)
	var texts []string
	for _, s := range steps {
		texts = append(texts, s.call(m))
		s.apply(m)
	}
	return texts
}

// FailedStep returns the number of steps up to the one that a backtrace of the scenario
// file is of, all if it is of none.
func FailedStep(backtrace, file string, lines []int) int {
	for _, found := range regexp.MustCompile(regexp.QuoteMeta(file)+`:(\d+)`).FindAllStringSubmatch(backtrace, -1) {
		line, err := strconv.Atoi(found[1])
		if i := slices.Index(lines, line); err == nil && i >= 0 {
			return i + 1
		}
	}
	return len(lines)
}
