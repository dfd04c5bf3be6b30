// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	// quitTimeout is how long QEMU may take to answer quit.
	quitTimeout = 2 * time.Second
	// destroyTimeout limits all of Destroy, KILL included: the waits of endQEMU are 22 s.
	destroyTimeout = time.Minute
	// logTail is how many lines of QEMU's log an error shows.
	logTail = 8
	// tailBytes limits their size: a line may be endless.
	tailBytes = 4 << 10
)

// Instance is one QEMU process: a VM on one host. Two instances of one VM on one host
// have different files there, and share the VM's disks.
type Instance struct {
	config    Config
	placement Placement
	shape     Shape
	spec      Spec
	log       *slog.Logger
	monitor   *qmp.Conn // set by Start

	shellPort atomic.Int32              // the cached result of forwarded, or 0
	neighbour atomic.Pointer[string]    // the guest's address that was found last, or nil
	killed    atomic.Bool               // Kill was called
	destroyed atomic.Pointer[ExitError] // how QEMU ended in Destroy, which removes the files that say so; nil: not known

	lock chan struct{} // capacity 1; a mutex for the fields below that a context can end the wait for
	// launched is set when a process may exist.
	launched   bool
	entry      int // of the process in the ledger
	taps       []addedTap
	transcript io.Closer
	fault      *ExitError
}

// Name is the VM's name, such as vm1.
func (i *Instance) Name() string { return i.config.Name }

// ID is the instance's number among those of the VM on its host, from 1.
func (i *Instance) ID() int { return max(1, i.placement.ID) }

// Config is the VM's config on this host.
func (i *Instance) Config() Config { return i.config }

// Monitor is its QMP connection, open until Destroy.
func (i *Instance) Monitor() *qmp.Conn { return i.monitor }

// Spec is its command line and the sockets that it names.
func (i *Instance) Spec() Spec { return i.spec }

// Status returns QEMU's run state: prelaunch, running, paused, inmigrate,
// postmigrate …
func (i *Instance) Status(ctx context.Context) (string, error) {
	var reply struct {
		Status string `json:"status"`
	}
	err := i.monitor.Execute(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

// Cont resumes the guest. It is refused if the guest has migrated to another host: two
// copies of it would use one disk.
func (i *Instance) Cont(ctx context.Context) error {
	status, err := i.Status(ctx)
	if err != nil {
		return err
	}
	if status == "postmigrate" || status == "finish-migrate" {
		return fmt.Errorf("%s on %s: cont refused: its guest has migrated (%s), it would run twice",
			i.config.Name, i.placement.Host.Name(), status)
	}
	return i.monitor.Execute(ctx, "cont", nil, nil)
}

// Stop pauses the guest.
func (i *Instance) Stop(ctx context.Context) error { return i.monitor.Execute(ctx, "stop", nil, nil) }

// Reset resets the guest (system_reset).
func (i *Instance) Reset(ctx context.Context) error {
	return i.monitor.Execute(ctx, "system_reset", nil, nil)
}

// quit tells QEMU to quit and waits until its monitor closes. A QEMU that has ended
// already is not an error.
func (i *Instance) quit(ctx context.Context) error {
	err := i.monitor.Execute(ctx, "quit", nil, nil)
	if err != nil && !errors.Is(err, qmp.ErrGone) {
		return err
	}
	select {
	case <-i.monitor.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s on %s: quit: %w", i.config.Name, i.placement.Host.Name(), context.Cause(ctx))
	}
}

// Exited is closed when QEMU has ended, or the connection to it is lost; [Instance.Exit]
// says which.
func (i *Instance) Exited() <-chan struct{} { return i.monitor.Done() }

// Exit returns how QEMU ended, with the end of its log; or that it still runs.
func (i *Instance) Exit(ctx context.Context) *ExitError { return i.exit(ctx) }

// Fault is the error of a QEMU that did not end normally in Destroy; nil before. It waits
// for a running Destroy.
func (i *Instance) Fault() *ExitError {
	i.lock <- struct{}{}
	defer func() { <-i.lock }()
	return i.fault
}

// DialConsole connects to the first serial port. QEMU serves one client at a time
// and drops the guest's output while there is none.
func (i *Instance) DialConsole(ctx context.Context) (net.Conn, error) {
	conn, err := i.placement.Host.Dial(ctx, "unix", i.spec.Serials[0])
	if err != nil {
		return nil, fmt.Errorf("%s on %s: console: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return conn, nil
}

// DialClock connects to the port for the guest's clock stamps, if the VM has one: see
// [Spec]. Like the console, it serves one client at a time; while there is none, the
// guest sends no stamps.
func (i *Instance) DialClock(ctx context.Context) (net.Conn, error) {
	conn, err := i.placement.Host.Dial(ctx, "unix", i.spec.Clock)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: clock port: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return conn, nil
}

// DialShell connects to the guest's shell_port: through QEMU's port forwarding with a
// user NIC, from the host to the guest's address with a tap NIC. A successful
// connection does not mean that the guest listens.
func (i *Instance) DialShell(ctx context.Context) (net.Conn, error) {
	address, err := i.ShellAddress(ctx)
	if err == nil {
		var conn net.Conn
		if conn, err = i.placement.Host.Dial(ctx, "tcp", address); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("%s on %s: shell: %w", i.config.Name, i.placement.Host.Name(), err)
}

// ShellAddress is the address of the guest's shell_port on its host.
func (i *Instance) ShellAddress(ctx context.Context) (string, error) {
	switch {
	case len(i.spec.Forwards) > 0:
		hostPort, err := i.forwarded(ctx, i.spec.Forwards[0].Guest)
		return net.JoinHostPort(loopback, strconv.Itoa(hostPort)), err
	case len(i.spec.Taps) > 0:
		address, err := i.guestAddress(ctx, i.spec.Taps[0])
		if err == nil {
			i.neighbour.Store(&address)
		}
		return net.JoinHostPort(address, strconv.Itoa(i.config.Login.Port)), err
	default:
		return "", errors.New("no NIC; use the serial console")
	}
}

// KnownAddress is how the guest is reached, as far as that is known without asking: with a
// tap the guest's own address, the param nic_ip or the one that a login has found; in user
// mode ADDRESS:PORT of the host, where QEMU forwards the shell_port, after a login. Else "".
func (i *Instance) KnownAddress() string {
	port, found := i.shellPort.Load(), i.neighbour.Load()
	switch {
	case port != 0:
		return net.JoinHostPort(loopback, strconv.Itoa(int(port)))
	case found != nil:
		return *found
	case len(i.spec.Forwards) == 0 && len(i.spec.Taps) > 0:
		return i.spec.Taps[0].Address
	}
	return ""
}

// loopback is where QEMU forwards the guest's ports.
const loopback = "127.0.0.1"

// hostForward is a line of "info usernet":
//
//	TCP[HOST_FORWARD]  11       127.0.0.1 44851       10.0.2.15    22     0     0
var hostForward = regexp.MustCompile(`(?m)^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)\s`)

// forwarded returns the port of the host's loopback that QEMU forwards to a port of the
// guest. QEMU picks it, so that VMs do not conflict, and keeps it: it is queried once,
// not by each login attempt.
func (i *Instance) forwarded(ctx context.Context, guestPort int) (int, error) {
	if known := i.shellPort.Load(); known != 0 {
		return int(known), nil
	}
	text, err := i.monitor.Human(ctx, "info usernet")
	if err != nil {
		return 0, err
	}
	for _, m := range hostForward.FindAllStringSubmatch(text, -1) {
		if m[2] != strconv.Itoa(guestPort) {
			continue
		}
		hostPort, err := strconv.ParseUint(m[1], 10, 16)
		if err != nil {
			return 0, fmt.Errorf("QEMU reports an invalid forwarded port: %q: %w", m[0], err)
		}
		i.shellPort.Store(int32(hostPort))
		return int(hostPort), nil
	}
	return 0, fmt.Errorf("QEMU forwards no port to the guest's port %d: %q", guestPort, text)
}

// endQEMU ends a QEMU by its pid, after checking that the pid is still that of QEMU, and
// waits until it has ended. %[1]s is the folder, %[2]s the path of the VM's files
// without the ending, %[3]d the centiseconds that QEMU gets to end by itself, %[9]t
// whether it is killed at once. It
// prints what ended QEMU, none if there was no process, and the input of
// [ExitError.parse]. Its waits go by the clock, and look without processes but sleep:
// on a host under load each process takes long.
const endQEMU = `
cd %[1]s 2>/dev/null || exit 0
vm=%[2]s
now() { read -r now _ </proc/uptime; now=${now%%.*}${now#*.}; }
alive() { { read -r pid <"$vm.pid" && tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF -e %[1]s/; } 2>/dev/null; }
running() { { read -r stat <"/proc/$pid/stat"; } 2>/dev/null && stat=${stat##*) } && [ "${stat%%%% *}" != Z ]; }
within() { now; end=$((now + $1)); }
passed() { now; [ "$now" -ge "$end" ]; }
gone() { alive || return 0; within $1; while running; do ! passed || return 1; sleep 0.05; done; }
within 100 # an interrupted launch may not have written the pid yet
while [ -e "$vm.sh" ] && [ ! -s "$vm.pid" ] && [ ! -e "$vm.exit" ] && ! passed; do sleep 0.05; done
by=itself
{ ! %[9]t && { gone %[3]d || { by=TERM; kill -TERM "$pid"; gone 100; }; }; } || ! alive || { by=KILL; kill -KILL "$pid"; gone 1000; } || { echo "process $pid cannot be ended" >&2; exit 1; }
within 500 # the script that started QEMU still has to write the status
while [ -s "$vm.pid" ] && [ ! -s "$vm.exit" ] && ! passed; do sleep 0.05; done
[ -s "$vm.pid" ] || by=none
echo $by
if [ -s "$vm.exit" ]; then cat "$vm.exit"; else echo; fi
grep -a -m %[4]d -E '%[5]s' "$vm.log" 2>/dev/null | cut -b 1-%[8]d
echo %[6]s
tail -c %[8]d "$vm.log" 2>/dev/null | tail -n %[7]d; exit 0
`

// grace is for a QEMU that has answered quit, in centiseconds.
const grace = 500

// Destroy ends QEMU in any state: by quit, by TERM, by KILL. It waits until the process
// has ended, saves QEMU's log, removes the instance's files from the host and marks its
// ledger entry done. It may be called more than once; after an error it can be retried.
func (i *Instance) Destroy(ctx context.Context) error {
	select {
	case i.lock <- struct{}{}:
		defer func() { <-i.lock }()
	case <-ctx.Done():
		return fmt.Errorf("destroy %s on %s: %w", i.config.Name, i.placement.Host.Name(), context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, destroyTimeout, fmt.Errorf("not gone within %s", destroyTimeout))
	defer cancel()

	err := i.endProcess(ctx)
	if err == nil { // a tap that QEMU has open cannot be removed
		err = i.removeTaps(ctx)
	}
	if err != nil {
		return fmt.Errorf("destroy %s on %s: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return nil
}

// Kill is a Destroy by KILL, at once: QEMU can do nothing more, as after the loss of its
// host.
func (i *Instance) Kill(ctx context.Context) error {
	i.killed.Store(true)
	return i.Destroy(ctx)
}

func (i *Instance) endProcess(ctx context.Context) error {
	if !i.launched {
		return nil
	}
	ownEnd, kill := 0, i.killed.Load()
	if i.monitor != nil {
		if !kill {
			quitCtx, cancel := context.WithTimeout(ctx, quitTimeout)
			if i.quit(quitCtx) == nil {
				ownEnd = grace
			}
			cancel()
		}
		_ = i.monitor.Close()
	}
	h := i.placement.Host
	stem := strings.TrimSuffix(i.file("pid"), ".pid")
	out, err := h.Run(ctx, host.Command{
		Script: fmt.Sprintf(endQEMU, shellescape.Quote(i.placement.RunDir), shellescape.Quote(stem), ownEnd,
			maxReports, sanitizers, logFollows, logTail, tailBytes, kill),
	})
	if err != nil {
		return err
	}
	by, rest, _ := strings.Cut(string(out.Stdout), "\n")
	exit := &ExitError{VM: i.Name(), Host: h.Name(), Status: StatusUnknown}
	exit.parse(rest)
	exit.Killed = kill && exit.Status == killedStatus
	if exit.ended() {
		i.destroyed.Store(exit)
	}
	i.classifyExit(exit, by)
	errs := []error{i.saveLog(ctx)}
	if i.transcript != nil {
		errs = append(errs, i.transcript.Close())
		i.transcript = nil
	}
	files := slices.Clone(i.spec.Serials)
	for _, kind := range fileKinds {
		files = append(files, i.file(kind))
	}
	if _, err := h.Run(ctx, host.Command{Args: append([]string{"rm", "-f", "--"}, files...)}); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, i.placement.Ledger.Done(i.entry))
	i.launched = false
	return errors.Join(errs...)
}

// classifyExit logs how QEMU ended, and records an abnormal end as the fault. by is what
// ended it: itself, TERM or KILL when it did not end in time, or none when there was
// no process. One that crashes may not have ended in time either: it is in the kernel for
// as long as its core file is written.
func (i *Instance) classifyExit(exit *ExitError, by string) {
	if by == "none" || by == "" {
		return
	}
	expected := []int{0}
	if by != "itself" {
		expected = append(expected, 128+int(syscall.SIGTERM), killedStatus) // KILL may be that of a Destroy before
		if !i.killed.Load() {
			i.log.Warn("QEMU did not quit", "ended_by", by)
		}
	}
	i.log.Info("QEMU ended", "status", strconv.Itoa(exit.Status))
	if !slices.Contains(expected, exit.Status) || len(exit.Sanitizer) > 0 {
		i.fault = exit
	}
}

// savedLog is how many bytes of QEMU's log are saved from its beginning, and from its
// end.
const savedLog = 4 << 20

// printLog prints the log %[1]s, without the middle if it has more than twice %[2]d
// bytes.
const printLog = `
[ -e %[1]s ] || exit 0
size=$(wc -c <%[1]s)
left=$((size - 2 * %[2]d))
[ $left -le 0 ] && exec cat %[1]s
head -c %[2]d %[1]s
printf '\n[%%s bytes omitted]\n' "$left"
tail -c %[2]d %[1]s`

// saveLog saves QEMU's log in the results.
func (i *Instance) saveLog(ctx context.Context) error {
	out, err := i.placement.Host.Run(ctx, host.Command{Script: fmt.Sprintf(printLog, shellescape.Quote(i.file("log")), savedLog)})
	if err != nil {
		return fmt.Errorf("save QEMU's log: %w", err)
	}
	return i.save("qemu.log", out.Stdout)
}

func (i *Instance) file(kind string) string { return i.placement.file(i.config.Name, kind) }
