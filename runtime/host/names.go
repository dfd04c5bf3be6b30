// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names returns names of hosts that the user has used, for completion: the aliases in ~/.ssh/config that are no patterns,
// and the names in ~/.ssh/known_hosts that are not hashed. Files that cannot be read have none. No host is asked.
func Names() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var names []string
	for line := range lines(filepath.Join(home, ".ssh", "config")) {
		words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n=\"", r) })
		if len(words) > 1 && strings.EqualFold(words[0], "Host") {
			names = append(names, words[1:]...)
		}
	}
	for line := range lines(filepath.Join(home, ".ssh", "known_hosts")) {
		words := strings.Fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "@") { // a marker
			words = words[1:]
		}
		if len(words) > 2 && !strings.HasPrefix(words[0], "#") {
			names = append(names, strings.Split(words[0], ",")...)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.ContainsAny(name, "*?!|[") })
	slices.Sort(names)
	return slices.Compact(names)
}

// lines returns the lines of a file, none if it cannot be read.
func lines(path string) func(yield func(string) bool) {
	text, _ := os.ReadFile(path) // without the file, there are no names in it
	return strings.Lines(string(text))
}
