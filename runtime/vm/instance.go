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
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	// quitTimeout is how long QEMU may take to answer quit.
	quitTimeout = 2 * time.Second
	// destroyTimeout is for the whole end of a process, KILL included.
	destroyTimeout = 30 * time.Second
	// logTail is how many of QEMU's last lines an error shows.
	logTail = 8
	// tailBytes is where they are looked for: lines may have no end.
	tailBytes = 4 << 10
)

// Instance is one QEMU process: a VM on one host. Two of one VM on one host have
// files of their own there, and the VM's disks in common.
type Instance struct {
	config    Config
	placement Placement
	shape     Shape
	spec      Spec
	log       *slog.Logger
	monitor   *qmp.Conn // set by Start

	shellPort atomic.Int32 // what forwarded has found, or 0

	turn chan struct{} // capacity 1; guards all below: who has put something in may use them
	// launched is set when a process may exist.
	launched   bool
	entry      int // of the process in the ledger
	taps       []addedTap
	transcript io.Closer
	fault      *ExitError
}

// Name is the VM's name, as vm1.
func (i *Instance) Name() string { return i.config.Name }

// ID tells it from other instances of the VM on its host: from 1.
func (i *Instance) ID() int { return max(1, i.placement.ID) }

// Host is the host that it runs on.
func (i *Instance) Host() Host { return i.placement.Host }

// Config is the VM's config on this host.
func (i *Instance) Config() Config { return i.config }

// Monitor is its QMP connection, open until Destroy.
func (i *Instance) Monitor() *qmp.Conn { return i.monitor }

// Spec is its command line and the sockets that it names.
func (i *Instance) Spec() Spec { return i.spec }

// RAMBytes is the guest's memory, which the dirty guard may have made a little
// smaller than the param mem.
func (i *Instance) RAMBytes() int64 { return i.shape.MemoryKiB << 10 }

// Notices are what was chosen otherwise than the params say, and why.
func (i *Instance) Notices() []string { return slices.Clone(i.shape.Notices) }

// Status returns QEMU's run state: prelaunch, running, paused, inmigrate,
// postmigrate …
func (i *Instance) Status(ctx context.Context) (string, error) {
	var reply struct {
		Status string `json:"status"`
	}
	err := i.monitor.Execute(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

// Cont lets the guest run. It refuses where the guest has moved away: there cont
// would run it twice on one disk.
func (i *Instance) Cont(ctx context.Context) error {
	status, err := i.Status(ctx)
	if err != nil {
		return err
	}
	if status == "postmigrate" || status == "finish-migrate" {
		return fmt.Errorf("%s on %s: cont refused: its guest has moved away (%s), it would run twice",
			i.config.Name, i.placement.Host.Name(), status)
	}
	return i.monitor.Execute(ctx, "cont", nil, nil)
}

// Stop pauses the guest.
func (i *Instance) Stop(ctx context.Context) error { return i.monitor.Execute(ctx, "stop", nil, nil) }

// Reset is the reset button.
func (i *Instance) Reset(ctx context.Context) error {
	return i.monitor.Execute(ctx, "system_reset", nil, nil)
}

// Powerdown is the power button; what follows is the guest's choice.
func (i *Instance) Powerdown(ctx context.Context) error {
	return i.monitor.Execute(ctx, "system_powerdown", nil, nil)
}

// Quit asks QEMU to end and waits until its monitor closes. A QEMU that is gone
// already is no error.
func (i *Instance) Quit(ctx context.Context) error {
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

// Exited is closed when QEMU has ended, or can no longer be reached;
// [Instance.Exit] tells which.
func (i *Instance) Exited() <-chan struct{} { return i.monitor.Done() }

// Exit says how QEMU ended, with its last words; or that it still runs. It knows
// nothing after Destroy.
func (i *Instance) Exit(ctx context.Context) *ExitError { return i.exit(ctx) }

// Fault is how QEMU ended, if that is not as one ends that was told to: known
// after Destroy, which it waits for; nil before.
func (i *Instance) Fault() *ExitError {
	i.turn <- struct{}{}
	defer func() { <-i.turn }()
	return i.fault
}

// DialConsole connects to the first serial port. QEMU serves one client at a time
// and drops what the guest writes while there is none.
func (i *Instance) DialConsole(ctx context.Context) (net.Conn, error) {
	conn, err := i.placement.Host.Dial(ctx, "unix", i.spec.Serials[0])
	if err != nil {
		return nil, fmt.Errorf("%s on %s: console: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return conn, nil
}

// DialClock connects to the port on which the guest stamps its clock, where the
// VM has one: see [Spec]. As the console, it has one reader at a time; while there
// is none, the guest does not stamp.
func (i *Instance) DialClock(ctx context.Context) (net.Conn, error) {
	conn, err := i.placement.Host.Dial(ctx, "unix", i.spec.Clock)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: the guest's clock: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return conn, nil
}

// DialShell connects to the guest's shell_port: through QEMU's forwarding with a
// user NIC, from the host to the guest's address with a tap NIC. That a
// connection is made does not mean that the guest listens.
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

// ShellAddress is where its host reaches the guest's shell_port.
func (i *Instance) ShellAddress(ctx context.Context) (string, error) {
	switch {
	case len(i.spec.Forwards) > 0:
		hostPort, err := i.forwarded(ctx, i.spec.Forwards[0].Guest)
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(hostPort)), err
	case len(i.spec.Taps) > 0:
		address, err := i.guestAddress(ctx, i.spec.Taps[0])
		return net.JoinHostPort(address, strconv.Itoa(i.config.Login.Port)), err
	default:
		return "", errors.New("it has no NIC; use the serial console")
	}
}

// hostForward is a line of "info usernet":
//
//	TCP[HOST_FORWARD]  11       127.0.0.1 44851       10.0.2.15    22     0     0
var hostForward = regexp.MustCompile(`(?m)^\s*TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)\s`)

// forwarded asks QEMU for the port of the host's loopback that leads to a port of
// the guest. QEMU picks it, so no two VMs can want the same, and keeps it: it is
// asked once, not by each try of a login.
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
			return 0, fmt.Errorf("QEMU forwards from no port: %q: %w", m[0], err)
		}
		i.shellPort.Store(int32(hostPort))
		return int(hostPort), nil
	}
	return 0, fmt.Errorf("QEMU forwards no port to the guest's port %d: %q", guestPort, text)
}

// endQEMU ends a QEMU by its pid, after making sure that the pid is still its own,
// and waits until it is gone. %[1]s folder, %[2]s path of the VM's files without
// the ending, %[3]d how many steps of 20 ms QEMU gets to end by itself. It prints
// what ended it, none if there was no process, and what [ExitError.read] reads.
const endQEMU = `
cd %[1]s 2>/dev/null || exit 0
vm=%[2]s
alive() { pid=$(cat "$vm.pid" 2>/dev/null); [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -e %[1]s/; }
gone() { n=$1; while alive; do [ $n -gt 0 ] || return 1; n=$((n-1)); sleep 0.02; done; }
n=50 # a launch that was cut short may not have got to the pid yet
while [ -e "$vm.sh" ] && [ ! -s "$vm.pid" ] && [ ! -e "$vm.exit" ] && [ $n -gt 0 ]; do n=$((n-1)); sleep 0.02; done
by=itself
gone %[3]d || { by=TERM; kill -TERM "$pid"; gone 50; } || { by=KILL; kill -KILL "$pid"; gone 500; } || { echo "process $pid cannot be ended" >&2; exit 1; }
n=250 # the script that started it still writes the status
while [ -s "$vm.pid" ] && [ ! -s "$vm.exit" ] && [ $n -gt 0 ]; do n=$((n-1)); sleep 0.02; done
[ -s "$vm.pid" ] || by=none
echo $by
if [ -s "$vm.exit" ]; then cat "$vm.exit"; else echo; fi
grep -a -m %[4]d -E '%[5]s' "$vm.log" 2>/dev/null
echo %[6]s
tail -n %[7]d "$vm.log" 2>/dev/null; exit 0
`

// graceSteps is for a QEMU that has promised to quit.
const graceSteps = 250

// Destroy ends QEMU whatever its state: by quit, by TERM, by KILL. It waits until
// the process is gone, saves QEMU's log, removes what the instance made on the
// host and strikes it from the ledger. It may be called more than once; after an
// error it can be tried again.
func (i *Instance) Destroy(ctx context.Context) error {
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
		return fmt.Errorf("destroy %s on %s: %w", i.config.Name, i.placement.Host.Name(), context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, destroyTimeout, fmt.Errorf("not gone within %s", destroyTimeout))
	defer cancel()

	err := i.endProcess(ctx)
	if err == nil { // a tap that QEMU has open would come back to life
		err = i.removeTaps(ctx)
	}
	if err != nil {
		return fmt.Errorf("destroy %s on %s: %w", i.config.Name, i.placement.Host.Name(), err)
	}
	return nil
}

func (i *Instance) endProcess(ctx context.Context) error {
	if !i.launched {
		return nil
	}
	grace := 0
	if i.monitor != nil {
		quit, cancel := context.WithTimeout(ctx, quitTimeout)
		if i.Quit(quit) == nil {
			grace = graceSteps
		}
		cancel()
		_ = i.monitor.Close()
	}
	h := i.placement.Host
	stem := strings.TrimSuffix(i.file("pid"), ".pid")
	out, err := h.Run(ctx, host.Command{
		Script: fmt.Sprintf(endQEMU, shellescape.Quote(i.placement.RunDir), shellescape.Quote(stem), grace,
			mostComplaints, sanitizers, logFollows, logTail),
	})
	if err != nil {
		return err
	}
	by, rest, _ := strings.Cut(string(out.Stdout), "\n")
	exit := &ExitError{VM: i.Name(), Host: h.Name(), Status: StatusUnknown}
	exit.read(rest)
	i.classifyExit(exit, by)
	errs := []error{i.keepLog(ctx)}
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

// classifyExit tells how QEMU ended, and notes it when none should end so. by is what
// ended it: itself, TERM or KILL when it did not do so in time, or none when
// there was nothing to end.
func (i *Instance) classifyExit(exit *ExitError, by string) {
	if by == "none" || by == "" {
		return
	}
	expected := exit.Status == 0
	if by != "itself" {
		i.log.Warn("QEMU did not end when it was told to", "ended_by", by)
		expected = expected || exit.Status > 128 // by that signal
	}
	i.log.Info("QEMU ended", "status", strconv.Itoa(exit.Status))
	if !expected || len(exit.Sanitizer) > 0 {
		i.fault = exit
	}
}

// logKept is how many bytes of QEMU's log are saved from its begin, and as many
// from its end.
const logKept = 4 << 20

// takeLog writes the log %[1]s, without the middle if there is more than twice
// %[2]d bytes of it.
const takeLog = `
[ -e %[1]s ] || exit 0
size=$(wc -c <%[1]s)
left=$((size - 2 * %[2]d))
[ $left -le 0 ] && exec cat %[1]s
head -c %[2]d %[1]s
printf '\n[%%s bytes left out]\n' "$left"
tail -c %[2]d %[1]s`

// keepLog saves what QEMU said.
func (i *Instance) keepLog(ctx context.Context) error {
	out, err := i.placement.Host.Run(ctx, host.Command{Script: fmt.Sprintf(takeLog, shellescape.Quote(i.file("log")), logKept)})
	if err != nil {
		return fmt.Errorf("save QEMU's log: %w", err)
	}
	return i.keep("qemu.log", out.Stdout)
}

func (i *Instance) file(kind string) string { return i.placement.file(i.config.Name, kind) }
