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
	StillRuns     = -1 // the process exists: only the connection to its monitor is lost
	StatusUnknown = -2 // it has ended, and its status is not known
	Unreachable   = -3 // its host cannot be reached: it may still run
)

// killedStatus is the status of a QEMU that was ended by KILL.
const killedStatus = 128 + int(syscall.SIGKILL)

// ExitError is the unexpected end of a QEMU.
type ExitError struct {
	VM, Host    string
	Status      int      // as in a shell: 128+n is signal n; StillRuns; StatusUnknown; Unreachable
	Log         []string // QEMU's last lines
	Sanitizer   []string // the first lines of sanitizer reports
	CommandLine string   // a path on the host of a file with its command line
	Cause       error    // with Unreachable
	Killed      bool     // by Kill: as requested
}

// Error says how QEMU ended, with its log, and a hint if there is one.
func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "QEMU of %s on %s ", e.VM, e.Host)
	switch {
	case e.Status == StillRuns:
		b.WriteString("still runs, but its monitor is closed")
	case e.Status == Unreachable:
		fmt.Fprintf(&b, "is unreachable and may still run: %v", e.Cause)
	case e.Status == StatusUnknown:
		b.WriteString("ended with an unknown status")
	case e.Status > 128:
		fmt.Fprintf(&b, "ended by signal %d (%s)", e.Status-128, syscall.Signal(e.Status-128))
	default:
		fmt.Fprintf(&b, "ended with status %d", e.Status)
	}
	if len(e.Sanitizer) > 0 {
		fmt.Fprintf(&b, "; sanitizer: %s", strings.Join(e.Sanitizer, " | "))
	}
	if len(e.Log) > 0 {
		fmt.Fprintf(&b, "; log: %s", strings.Join(e.Log, " | "))
	}
	if hint := e.hint(); hint != "" {
		fmt.Fprintf(&b, "; %s", hint)
	}
	if e.CommandLine != "" {
		fmt.Fprintf(&b, "; command line: %s", e.CommandLine)
	}
	return b.String()
}

// Unwrap returns why the status is not known.
func (e *ExitError) Unwrap() error { return e.Cause }

func (e *ExitError) ended() bool { return e.Status >= 0 }

// Abnormal says whether QEMU ended abnormally: with a status other than 0, by a signal,
// with an unknown status, or with a sanitizer report. One that was killed on request ended
// as it was to.
func (e *ExitError) Abnormal() bool {
	return e.Status > 0 && !e.Killed || len(e.Sanitizer) > 0 || e.Status == StatusUnknown && e.Cause == nil
}

// crashes are the signals by which a program that is broken ends.
var crashes = []syscall.Signal{syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV, syscall.SIGSYS, syscall.SIGTRAP}

// Crashed says whether QEMU ended because it is broken: by a signal such as SIGSEGV, or
// with a sanitizer report.
func (e *ExitError) Crashed() bool {
	return len(e.Sanitizer) > 0 || e.Status > 128 && slices.Contains(crashes, syscall.Signal(e.Status-128))
}

// lostPeer matches QEMU's messages about a migration whose other side, or the connection
// to it, was lost. Only the log tells: the exit status is the same for a stream that
// QEMU could not load.
var lostPeer = regexp.MustCompile(`Input/output error|Connection reset by peer|Unable to read from socket|Broken pipe`)

// LostPeer says whether QEMU ended because the other side of its migration, or the
// connection to it, was lost: then that failed first.
func (e *ExitError) LostPeer() bool { return slices.ContainsFunc(e.Log, SaysLostPeer) }

// SaysLostPeer says whether an error of a destination is that the source, or the
// connection to it, was lost.
func SaysLostPeer(message string) bool { return lostPeer.MatchString(message) }

// sanitizers matches the first lines of the reports of a QEMU that was built with
// sanitizers: a pattern of grep -E, without a single quote.
const sanitizers = `(Address|HWAddress|Leak|Memory|Thread|UndefinedBehavior)Sanitizer:|: runtime error: `

// maxReports is the maximum number of reports in an error.
const maxReports = 3

var forwardRule = regexp.MustCompile(`Could not set up host forwarding rule '?tcp:127\.0\.0\.1:(\d+)-:(\d+)`)

// hint explains messages of QEMU that do not say what to do.
func (e *ExitError) hint() string {
	log := strings.Join(e.Log, "\n")
	if m := forwardRule.FindStringSubmatch(log); m != nil {
		return fmt.Sprintf("port %s of %s, forwarded to the guest's port %s, is in use: set another host_port_… or none", m[1], e.Host, m[2])
	}
	return lockHint(log)
}

// lockError matches the messages of QEMU and qemu-img about an image that another
// process has open: the image itself, or one of its backing files.
var lockError = regexp.MustCompile(`Failed to get (shared )?"[a-z ]+" lock`)

// lockHint explains such a message, if the log has one.
func lockHint(log string) string {
	if !lockError.MatchString(log) {
		return ""
	}
	return "another QEMU has the image open: does a VM of an earlier run still exist? (mhmig cleanup)"
}

// exit determines how QEMU ended: from the status that its script writes shortly after
// the monitor closes, and QEMU's log.
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
			maxReports, sanitizers, logFollows, tailBytes),
		Timeout: queryTimeout,
	})
	if err != nil {
		e.Status, e.Cause = Unreachable, err
		return e
	}
	e.parse(string(out.Stdout))
	e.Killed = i.killed.Load() && e.Status == killedStatus
	if known := i.destroyed.Load(); known != nil && e.Status == StatusUnknown {
		return known
	}
	return e
}

// logFollows separates the sanitizer reports from the end of QEMU's log.
const logFollows = "--log--"

// parse parses the output of scripts about QEMU's end: the status, sanitizer reports,
// a separator line, and the end of QEMU's log.
func (e *ExitError) parse(text string) {
	status, rest, _ := strings.Cut(text, "\n")
	if n, err := strconv.Atoi(strings.TrimSpace(status)); err == nil {
		e.Status = n
	}
	reports, log, _ := strings.Cut(rest, logFollows+"\n")
	e.Sanitizer, e.Log = excerpt.Lines(reports), excerpt.Lines(log)
}

// stateTimeout is for reading the state of a process, which a working host does at once.
const stateTimeout = 5 * time.Second

// ProcessState returns the state of the process of a QEMU that does not answer its
// monitor, such as "its process 4711 is T (stopped)". It is an error when the host
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

// LogTail returns the last lines of QEMU's log; nil when there are none, or the host
// cannot be reached, or after Destroy.
func (i *Instance) LogTail(ctx context.Context) []string {
	out, err := i.placement.Host.Run(ctx, host.Command{
		Script:  fmt.Sprintf("tail -c %d -- %s | tail -n %d", tailBytes, shellescape.Quote(i.file("log")), logTail),
		Timeout: queryTimeout,
	})
	if err != nil {
		return nil
	}
	return excerpt.Lines(string(out.Stdout))
}

// lastLines joins the last n lines of text.
func lastLines(text string, n int) string {
	return strings.Join(excerpt.LastLines(text, n), " | ")
}
