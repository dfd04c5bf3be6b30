// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
)

// showFailures writes, for each variant that did not pass, all that is known:
// the message, where in the scenario it arose, and what both hosts had to say.
func showFailures(w io.Writer, outcomes []result.Outcome) {
	for _, o := range outcomes {
		if o.Message == "" {
			continue
		}
		fmt.Fprintf(w, "\n%s %s\n", o.Status, o.ShortName)
		showFailure(w, o.Failure)
		for _, f := range o.Further {
			fmt.Fprintf(w, "and then %s\n", f.Status)
			showFailure(w, f)
		}
	}
}

func showFailure(w io.Writer, f result.Failure) {
	fmt.Fprintf(w, "  %s\n", indent(f.Message))
	if f.Backtrace != "" {
		fmt.Fprintf(w, "  %s\n", indent("called from, innermost last:\n"+strings.TrimSpace(f.Backtrace)))
	}
	if f.Evidence != "" {
		fmt.Fprintf(w, "  %s\n", indent(strings.TrimSpace(f.Evidence)))
	}
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }

// version is the module's version, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
