// SPDX-License-Identifier: Apache-2.0

package project

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteChanges writes a line for each change, and below it what users of the library must
// adapt to.
func WriteChanges(w io.Writer, changes []Change) {
	for _, change := range changes {
		switch {
		case change.From == "":
			fmt.Fprintf(w, "added @%s %s", change.Name, change.To)
		case change.To == "":
			fmt.Fprintf(w, "removed @%s %s", change.Name, change.From)
		case change.From == change.To:
			fmt.Fprintf(w, "changed @%s %s", change.Name, change.To)
		default:
			fmt.Fprintf(w, "changed @%s %s -> %s", change.Name, change.From, change.To)
		}
		if change.By != "" {
			fmt.Fprintf(w, ", which %s needs", change.By)
		}
		fmt.Fprintln(w)
		for _, line := range change.Breaks {
			fmt.Fprintln(w, "  "+line)
		}
	}
	if len(changes) == 0 {
		fmt.Fprintln(w, "nothing to change")
	}
}

// WriteList writes a table of the libraries: those that are locked, and folders in place of
// others.
func (p *Project) WriteList(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LIBRARY\tVERSION\tCOMMIT\tSOURCE\tSIGNER")
	for _, l := range p.Locked() {
		signer, _, _ := strings.Cut(l.Signer, " ")
		fmt.Fprintf(t, "@%s\t%s\t%s\t%s\t%s\n", l.Name, l.Version, cmp.Or(short(l.Commit), "-"), l.Source, cmp.Or(signer, "-"))
	}
	replaced := p.Replaced()
	for _, name := range slices.Sorted(maps.Keys(replaced)) {
		fmt.Fprintf(t, "@%s\t-\t-\t%s (replaced, not verified)\t-\n", name, replaced[name])
	}
	return t.Flush()
}

// short is the beginning of a commit, or of a digest.
func short(commit string) string {
	commit = strings.TrimPrefix(commit, "sha256:")
	return commit[:min(12, len(commit))]
}
