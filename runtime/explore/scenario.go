// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
)

// Scenario returns the scenario of a walk on so many hosts, formatted as by mhmig fmt. Steps
// that are not possible are left out. about is the text that it begins with, in lines.
func Scenario(about string, hosts int, steps []Step) []byte {
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
	for _, call := range calls {
		b.WriteString("    " + call + "\n")
	}
	b.WriteString("    end(walk)\n")
	return []byte(b.String())
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

// Begun returns how many steps of a walk have begun, by the events of its run.
func Begun(events iter.Seq2[result.Event, error]) (int, error) {
	begun := 0
	for e, err := range events {
		if err != nil {
			return 0, err
		}
		if e.Message == "step" && e.Fields.Get("what") != nil { // @std//walk.star logs it
			begun++
		}
	}
	return begun, nil
}
