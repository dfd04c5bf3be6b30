// SPDX-License-Identifier: Apache-2.0

package manual_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/doc/manual"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// odd has what roff would read as something else.
var odd = manual.Command{
	Path: "mhmig odd", Short: "Do what's odd", Use: "mhmig odd [FILE]",
	Long:  "A \\fB backslash, \"quotes\" and\n.a dot.\n\n'quoted' at the start.\n\n    .TH as it is\n      'deeper\n\nThe end.",
	Flags: []manual.Flag{{Name: "a-flag", Shorthand: "a", Value: "N", Usage: "so many", Default: "5"}, {Name: "dry", Usage: ".only look"}},
	See:   []string{"mhmig exec"}, Example: "  mhmig odd '.x' --a-flag 3\n.y\n",
}

func pages(t *testing.T) (folder string) {
	t.Helper()
	index, err := doc.New(library.Set{"std": stdlib.FS, "scenarios": scenarios.FS})
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(t.TempDir(), "man")
	all := []manual.Page{odd.Page(), manual.Scenario(index), manual.Config(index)}
	if err := manual.Write(folder, manual.Source{Version: "v1.2.3", Date: "2026-11-28"}, all); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestCommand(t *testing.T) {
	t.Parallel()
	got, err := os.ReadFile(filepath.Join(pages(t), "man1", "mhmig-odd.1"))
	if err != nil {
		t.Fatal(err)
	}
	want := `.TH "MHMIG\-ODD" 1 "2026\-11\-28" "mhmig v1.2.3" "mhmig manual"
.SH NAME
mhmig\-odd \- Do what\(aqs odd
.SH SYNOPSIS
mhmig odd [FILE]
.SH "DESCRIPTION"
A \efB backslash, "quotes" and .a dot.
.PP
\(aqquoted\(aq at the start.
.PP
.nf
    .TH as it is
      \(aqdeeper
.fi
.PP
The end.
.SH "OPTIONS"
.TP
\fB\-a, \fR\fB\-\-a\-flag\fR\fB \fR\fIN\fR
so many (default: 5)
.TP
\fB\-\-dry\fR
\&.only look
.SH "EXAMPLES"
.nf
  mhmig odd \(aq.x\(aq \-\-a\-flag 3
\&.y
.fi
.SH "SEE ALSO"
mhmig\-exec(1), mhmig\-scenario(7), mhmig\-config(5)
`
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// What formatters say about the pages is nothing, and all topics are in what they show.
func TestFormatted(t *testing.T) {
	t.Parallel()
	folder := pages(t)
	for name, want := range map[string][]string{
		"mhmig-odd.1":      {`A \fB backslash`, "    .TH as it is", "-a, --a-flag N"},
		"mhmig-scenario.7": {"def migration_scenario(env):", "mig.join(", "start_memory_work(", "barrier(tag"},
		"mhmig-config.5":   {"KEY = VALUE", "variants NAME:", "${NAME}", "mem = SIZE"},
	} {
		file := filepath.Join(folder, "man"+name[len(name)-1:], name)
		for _, formatter := range [][]string{{"groff", "-man", "-Tutf8", "-Kutf8", "-P-cbou", "-ww", file}, {"mandoc", "-Tlint", "-Werror", file}} {
			path, err := exec.LookPath(formatter[0])
			if err != nil {
				t.Logf("%s: NOT TRIED WITH %s, which is not installed", name, formatter[0])
				continue
			}
			var stdout, stderr strings.Builder
			c := exec.CommandContext(t.Context(), path, formatter[1:]...)
			c.Stdout, c.Stderr = &stdout, &stderr
			if err := c.Run(); err != nil || stderr.Len() > 0 {
				t.Errorf("%s: %s: %v\n%s", name, formatter[0], err, stderr.String())
			}
			if formatter[0] == "mandoc" {
				continue
			}
			for _, text := range want {
				if !strings.Contains(stdout.String(), text) {
					t.Errorf("%s: does not show %q:\n%.3000s", name, text, stdout.String())
				}
			}
		}
	}
}
