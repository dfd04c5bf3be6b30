// SPDX-License-Identifier: Apache-2.0

package assist

import (
	"path/filepath"

	"github.com/mhmig/mhmig/lang/library"
)

// Statement returns what the last word of a statement can be that is to be applied after a config, such as that of
// --filter: variants are those of the config and of what it includes. The span is in the statement.
func Statement(libraries library.Set, config, statement string) Completion {
	if _, _, inLibrary := library.Cut(config); !inLibrary {
		full, err := filepath.Abs(config)
		if err != nil {
			return Completion{}
		}
		config = full
	}
	const name = "statement.cfg" // in no folder: nothing is beside it
	before := "include " + config + "\n"
	w := New(libraries, map[string]string{name: before + statement})
	w.alone = true
	c := w.Complete(name, len(before)+len(statement))
	c.From, c.To = c.From-len(before), c.To-len(before)
	return c
}

// Paths returns the files and folders that a path can go on to: those of libraries after "@", and those of this machine.
// Of the files there are those with one of the endings.
func Paths(libraries library.Set, written string, endings ...string) []Item {
	var items []Item
	w := New(libraries, nil)
	for _, ending := range endings {
		items = append(items, w.paths("", written, ending, 0).Items...)
	}
	return unique(items)
}

// Params are the names of mhmig's params.
func Params() []Item { return paramItems() }

// Values are what a param can be set to, as far as there are only few values.
func Values(libraries library.Set, param string) []Item { return New(libraries, nil).values(param) }
