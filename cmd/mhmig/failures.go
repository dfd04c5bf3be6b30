// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/stdlib"
)

// showFailures writes, for each variant that went wrong, what the table has no
// room for: the line of the scenario, how it came there, and what both hosts
// had to say. Lines have at most width columns.
func showFailures(w io.Writer, outcomes []result.Outcome, width int) {
	for _, o := range outcomes {
		if o.Status.OK() {
			continue
		}
		for i, f := range append([]result.Failure{o.Failure}, o.Further...) {
			if f.Position == "" && f.Evidence == "" {
				continue // the table has said it all
			}
			title := strings.TrimSpace(f.Status.String() + " " + o.ShortName)
			if i > 0 {
				title = "and then " + f.Status.String()
			}
			fmt.Fprintf(w, "\n%s\n", title)
			writeLines(w, "  ", describeFailure(f), width)
		}
	}
}

// describeFailure says all that is known of a failure, in lines.
func describeFailure(f result.Failure) string {
	if f.Position == "" {
		return f.Message + "\n" + f.Evidence
	}
	text := f.Position + ": " + f.Message + "\n"
	if source := strings.TrimSpace(sourceLine(f.Position)); source != "" {
		text += "    " + source + "\n"
	}
	text += strings.Replace(f.Backtrace, "Traceback (most recent call last):", "called from, innermost last:", 1)
	return text + f.Evidence
}

func writeLines(w io.Writer, indent, text string, width int) {
	for line := range strings.Lines(text) {
		for _, part := range result.Wrap(indent+strings.TrimRight(line, "\n"), width) {
			fmt.Fprintln(w, part)
		}
	}
}

var position = regexp.MustCompile(`^(.+):(\d+):(\d+)$`)

// sourceLine returns the line of a .star file that a position FILE:LINE:COLUMN is
// in, "" if it cannot be read any more.
func sourceLine(at string) string {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return ""
	}
	read := os.ReadFile
	file, shipped := strings.CutPrefix(m[1], "@std//")
	if shipped {
		read = func(name string) ([]byte, error) { return fs.ReadFile(stdlib.FS, name) }
	}
	text, err := read(file)
	number, _ := strconv.Atoi(m[2]) // digits only; too many are beyond the end
	lines := strings.Split(string(text), "\n")
	if err != nil || number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// version is the module's version, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
