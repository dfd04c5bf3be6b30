// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/host"
)

// Statuses of an ExitError besides those of a process.
const (
	StillRuns     = -1 // the process is there: only the way to its monitor is lost
	StatusUnknown = -2 // it has ended, and its status was not kept
	Unreachable   = -3 // its host cannot be asked: it may run
)

// ExitError is the end of a QEMU that nobody asked to end.
type ExitError struct {
	VM, Host    string
	Status      int      // as a shell gives it: 128+n is signal n; StillRuns; StatusUnknown; Unreachable
	Log         []string // QEMU's last lines
	Sanitizer   []string // what sanitizers have complained of, in their first words
	CommandLine string   // where its command line can be read: a path on the host
	Cause       error    // why nothing is known, with Unreachable
}

// Error says how QEMU ended and in which words, and what to do when we know.
func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "QEMU of %s on %s ", e.VM, e.Host)
	switch {
	case e.Status == StillRuns:
		b.WriteString("still runs, but its monitor is closed")
	case e.Status == Unreachable:
		fmt.Fprintf(&b, "is out of reach and may still run: %v", e.Cause)
	case e.Status == StatusUnknown:
		b.WriteString("ended in an unknown way")
	case e.Status > 128:
		fmt.Fprintf(&b, "ended by signal %d (%s)", e.Status-128, syscall.Signal(e.Status-128))
	default:
		fmt.Fprintf(&b, "ended with status %d", e.Status)
	}
	if len(e.Sanitizer) > 0 {
		fmt.Fprintf(&b, "; its sanitizer complained: %s", strings.Join(e.Sanitizer, " | "))
	}
	if len(e.Log) > 0 {
		fmt.Fprintf(&b, "; it said: %s", strings.Join(e.Log, " | "))
	}
	if hint := e.hint(); hint != "" {
		fmt.Fprintf(&b, "; %s", hint)
	}
	if e.CommandLine != "" {
		fmt.Fprintf(&b, "; command line: %s", e.CommandLine)
	}
	return b.String()
}

// Unwrap gives what kept us from knowing more.
func (e *ExitError) Unwrap() error { return e.Cause }

func (e *ExitError) ended() bool { return e.Status >= 0 }

// Abnormal says whether no QEMU should end like this: with a status, by a signal,
// in an unknown way, or with a sanitizer's complaint.
func (e *ExitError) Abnormal() bool {
	return e.Status > 0 || len(e.Sanitizer) > 0 || e.Status == StatusUnknown && e.Cause == nil
}

// lostPeer are QEMU's words for a migration whose other side, or the way there, was
// lost. It has no other sign of that: its status is the same for a stream that it
// could not load.
var lostPeer = regexp.MustCompile(`Input/output error|Connection reset by peer|Unable to read from socket|Broken pipe`)

// LostPeer says whether QEMU ended because the other side of its migration was gone,
// or the way there: then that is what failed.
func (e *ExitError) LostPeer() bool { return slices.ContainsFunc(e.Log, lostPeer.MatchString) }

// sanitizers finds the first words of the complaints of a QEMU that was built
// with sanitizers: the words of grep -E, without a single quote.
const sanitizers = `(Address|HWAddress|Leak|Memory|Thread|UndefinedBehavior)Sanitizer:|: runtime error: `

// mostComplaints bounds how many of them are told.
const mostComplaints = 3

var forwardRule = regexp.MustCompile(`Could not set up host forwarding rule '?tcp:127\.0\.0\.1:(\d+)-:(\d+)`)

// hint translates the words of QEMU that leave a user helpless.
func (e *ExitError) hint() string {
	log := strings.Join(e.Log, "\n")
	if m := forwardRule.FindStringSubmatch(log); m != nil {
		return fmt.Sprintf("port %s of %s, which is to lead to the guest's port %s, is taken: set another host_port_… or none", m[1], e.Host, m[2])
	}
	return lockHint(log)
}

// lockRule is what QEMU and qemu-img say of an image that another one has open: of
// the image itself, or of one that it stands on.
var lockRule = regexp.MustCompile(`Failed to get (shared )?"[a-z ]+" lock`)

// lockHint translates their words, if they are among those of a log.
func lockHint(log string) string {
	if !lockRule.MatchString(log) {
		return ""
	}
	return "another QEMU has the image open: is a VM of an earlier run left? (mhmig cleanup)"
}

// exit finds out how QEMU ended: from the status that the script keeps, which
// comes a moment after the monitor closes, and QEMU's log.
func (i *Instance) exit(ctx context.Context) *ExitError {
	e := &ExitError{VM: i.config.Name, Host: i.placement.Host.Name(), Status: StatusUnknown, CommandLine: i.file("sh")}
	out, err := i.placement.Host.Run(ctx, host.Command{
		Script: fmt.Sprintf(`
cd %s 2>/dev/null || { echo %[6]d; exit 0; }
n=20
while [ ! -s %[2]s ] && [ $n -gt 0 ]; do n=$((n-1)); sleep 0.05; done
if [ -s %[2]s ]; then cat %[2]s
elif pid=$(cat %[3]s) && [ -n "$pid" ] && [ -d "/proc/$pid" ]; then echo %[5]d
else echo %[6]d; fi 2>/dev/null
grep -a -m %[8]d -E '%[9]s' %[4]s 2>/dev/null | cut -b 1-%[11]d
echo %[10]s
tail -c %[11]d %[4]s 2>/dev/null | tail -n %[7]d; exit 0`,
			shellescape.Quote(i.placement.RunDir), shellescape.Quote(i.file("exit")), shellescape.Quote(i.file("pid")),
			shellescape.Quote(i.file("log")), StillRuns, StatusUnknown, logTail,
			mostComplaints, sanitizers, logFollows, tailBytes),
		Timeout: askTimeout,
	})
	if err != nil {
		e.Status, e.Cause = Unreachable, err
		return e
	}
	e.read(string(out.Stdout))
	return e
}

// logFollows parts what sanitizers said from QEMU's last words.
const logFollows = "--log--"

// read takes in how QEMU ended, as scripts print it: the status, complaints of
// sanitizers, and, behind a line of its own, the end of QEMU's log.
func (e *ExitError) read(text string) {
	status, rest, _ := strings.Cut(text, "\n")
	if n, err := strconv.Atoi(strings.TrimSpace(status)); err == nil {
		e.Status = n
	}
	complaints, log, _ := strings.Cut(rest, logFollows+"\n")
	e.Sanitizer, e.Log = excerpt.Lines(complaints), excerpt.Lines(log)
}

// stateTimeout is for the question what a process does: a host that is well
// answers it at once.
const stateTimeout = 5 * time.Second

// ProcessState says what the host knows of a QEMU that does not answer its
// monitor, as "its process 4711 is T (stopped)". It is an error when the host
// does not answer either.
func (i *Instance) ProcessState(ctx context.Context) (string, error) {
	out, err := i.placement.Host.Run(ctx, host.Command{
		Script: fmt.Sprintf(`pid=$(cat %s) 2>/dev/null && [ -n "$pid" ] && echo "its process $pid is $(sed -n 's/^State:[[:space:]]*//p' "/proc/$pid/status")" ||
echo "its process has ended"`, shellescape.Quote(i.file("pid"))),
		Timeout: stateTimeout,
	})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out.Stdout)), nil
}

// LogTail returns the last lines that QEMU wrote; nil when there are none, or the
// host cannot be asked, or after Destroy.
func (i *Instance) LogTail(ctx context.Context) []string {
	out, err := i.placement.Host.Run(ctx, host.Command{
		Script:  fmt.Sprintf("tail -c %d -- %s | tail -n %d", tailBytes, shellescape.Quote(i.file("log")), logTail),
		Timeout: askTimeout,
	})
	if err != nil {
		return nil
	}
	return excerpt.Lines(string(out.Stdout))
}

// lastLines are the last n lines of text, in one line.
func lastLines(text string, n int) string {
	return strings.Join(excerpt.LastLines(text, n), " | ")
}
