// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strings"
	"time"
)

// shownLines is how much of an output an error message shows.
const shownLines = 10

// CmdError is a command in a guest that ended with a status other than 0.
type CmdError struct {
	Command string
	Status  int
	Output  string // all of it
}

func (e *CmdError) Error() string {
	return fmt.Sprintf("command %q ended with status %d%s", e.Command, e.Status, shownOutput(e.Output))
}

// TimeoutError is a command in a guest that did not end in time.
type TimeoutError struct {
	Command string
	Limit   time.Duration
	Output  string // what came so far
	Before  string // what the shell was busy with before it could begin, if known
	Usable  bool   // the shell reacted to Ctrl-C: the session can be used
}

func (e *TimeoutError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "command %q did not end within %s", e.Command, e.Limit)
	if e.Before != "" {
		fmt.Fprintf(&b, "; the shell was still busy with %q", e.Before)
	}
	if !e.Usable {
		b.WriteString("; the shell does not react to Ctrl-C")
	}
	b.WriteString(shownOutput(e.Output))
	return b.String()
}

// Timeout reports true, as net.Error wants it.
func (e *TimeoutError) Timeout() bool { return true }

func shownOutput(out string) string {
	out = lastLines(visible([]byte(out)), shownLines)
	if len(out) > 2000 {
		out = "…" + strings.ToValidUTF8(out[len(out)-2000:], "")
	}
	switch {
	case out == "":
		return ", no output"
	case strings.Contains(out, "\n"):
		return ", output:\n" + out
	}
	return ", output: " + out
}
