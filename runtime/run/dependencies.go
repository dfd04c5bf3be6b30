// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"slices"
	"strings"
)

// MissingDependencies returns a message for each dependency that no earlier variant satisfies, which is
// ignored.
func MissingDependencies(variants Sequence) ([]string, error) {
	wanted, err := dependencies(variants)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	var notes []string
	reported := map[string]bool{}
	for v, err := range variants {
		if err != nil {
			return nil, err
		}
		for _, dependency := range v.Dep {
			if wanted[dependency] == "" && !reported[dependency] {
				reported[dependency] = true
				notes = append(notes, fmt.Sprintf("%s depends on %s, but no earlier variant has that name: the dependency is ignored", v.ShortName, dependency))
			}
		}
		for dependency := range wanted {
			if satisfies(v.Name, dependency) {
				wanted[dependency] = v.Name
			}
		}
	}
	return notes, nil
}

// dependencies returns all dependencies of variants, as keys.
func dependencies(variants Sequence) (map[string]string, error) {
	all := map[string]string{}
	for v, err := range variants {
		if err != nil {
			return nil, err
		}
		for _, dependency := range v.Dep {
			all[dependency] = ""
		}
	}
	return all, nil
}

// dependsOnRunning says whether a variant depends on one that has not ended.
func (q *queue) dependsOnRunning(w *waiting, place int) bool {
	for _, dependency := range w.Dep {
		for _, other := range slices.Concat(q.runs, q.waits[:place]) {
			if other.repeat == w.repeat && satisfies(other.Name, dependency) {
				return true
			}
		}
	}
	return false
}

// satisfies says whether a variant satisfies a dependency: the dependency's labels occur
// in the variant's name, consecutively. virt-test searches for the text instead.
func satisfies(name, dependency string) bool {
	return dependency != "" && strings.Contains("."+name+".", "."+dependency+".")
}
