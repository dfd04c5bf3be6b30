// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	// startTimeout is for QEMU to set up its devices and answer on its monitor.
	startTimeout = 60 * time.Second
	// handoverTimeout is for a QEMU to get the descriptors of the guest's QEMU, and to set
	// up its devices with them.
	handoverTimeout = 30 * time.Second
	// undoTimeout is for cleaning up after a failed start.
	undoTimeout = 30 * time.Second
)

// Ledger records everything created on a host before it is created, until it is
// removed. *ledger.Ledger is one.
type Ledger interface {
	Record(ledger.Entry) (id int, err error)
	Done(id int) error
}

// Placement is the host and the folders of an instance, and where its results go.
type Placement struct {
	Host       Host
	ID         int      // of the instance among those of the VM on Host, from 1; 0 is 1
	RunDir     string   // the variant's folder on Host, for sockets and logs; must exist; short
	Variant    string   // the variant's ID in the results
	ImageDir   string   // the variant's folder on the shared storage, as a path on Host; must exist if images are created
	ShippedDir string   // the folder of mhmig's files, as a path on Host: jeos:kernel is the file jeos-kernel there
	BaseDir    string   // images_base_dir on Host: image_name, kernel and initrd are relative to it
	Cache      *Cache   // of the run, or of the bed alone
	Kept       []string // the VM's images that create_image has found and not replaced: see Images.Kept
	Ledger     Ledger
	Log        *slog.Logger
	// Artifacts opens a file of the results of this VM on this host, to append to:
	// qemu.cmdline, qemu.log and qmp.jsonl.
	Artifacts func(name string) (io.WriteCloser, error)
}

// logOf is the log with the VM and the host, and the instance's ID if it is not 1.
func (pl Placement) logOf(vm string) *slog.Logger {
	log := pl.Log.With("vm", vm, "host", pl.Host.Name())
	if pl.ID > 1 {
		log = log.With("instance", pl.ID)
	}
	return log
}

// fileKinds are the files that an instance may have in the run folder, besides the
// sockets of its serial ports.
var fileKinds = []string{"qmp", "spare", "mig", "cpr", "state", "vmstate", "exec", "prog", "clock", "vnc", "sh", "log", "exit", "pid"}

// file is the path of an instance's file in the run folder, such as vm1.qmp, or
// vm1+2.qmp for a second instance of that VM. VM names have no plus sign.
func (pl Placement) file(vm, kind string) string {
	return path.Join(pl.RunDir, fileName(InstanceName(vm, pl.ID), kind))
}

// InstanceName is unique among the instances of a VM on a host: vm1, vm1+2.
func InstanceName(vm string, id int) string {
	if id <= 1 {
		return vm
	}
	return fmt.Sprintf("%s+%d", vm, id)
}

func fileName(vm, kind string) string { return vm + "." + kind }

// Start starts QEMU for a VM. It returns when QEMU answers on its monitor, and has loaded
// the saved state that launch names, if any. The guest does not run yet: it waits for [Instance.Cont], so that a console can be attached
// before the guest's first output; or, if launch says so, for a migration. QEMU keeps
// running when the connection to the host is lost, until [Instance.Destroy]. After an
// error nothing remains on the host. The error of a QEMU that has ended is an
// [*ExitError] with the end of its log.
func Start(ctx context.Context, placement Placement, c Config, shape Shape, launch Launch) (*Instance, error) {
	i, err := start(ctx, placement, c, shape, launch)
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", c.Name, placement.Host.Name(), err)
	}
	return i, nil
}

func start(ctx context.Context, placement Placement, c Config, shape Shape, launch Launch) (_ *Instance, err error) {
	spec, err := CommandLine(c, placement, shape, launch)
	if err != nil {
		return nil, err
	}
	if launch.Descriptors != "" {
		if err := placement.Cache.checkMode(ctx, placement.Host, c.QEMU, launch.Descriptors); err != nil {
			return nil, err
		}
	}
	for _, f := range spec.Files {
		if err := CheckFile(ctx, placement.Host, f); err != nil {
			return nil, err
		}
	}

	i := &Instance{
		config: c, placement: placement, shape: shape, spec: spec,
		lock: make(chan struct{}, 1),
		log:  placement.logOf(c.Name),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.undo(ctx))
		}
	}()
	if err := i.prepare(ctx, launch); err != nil {
		return nil, err
	}
	if launch.executed() {
		launch.Handover(spec)
		if err := i.await(ctx, "-e", i.file("pid")); err != nil { // which the script writes
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%w within %s of its start", qmp.ErrSilent, startTimeout))
	defer cancel()
	if err := i.launch(ctx, launch); err != nil {
		return nil, err
	}
	if err := i.attach(ctx); err != nil {
		if errors.Is(err, qmp.ErrGone) {
			if exit := i.exit(ctx); exit.ended() {
				return nil, exit
			}
		}
		return nil, err
	}
	if launch.Restore != "" {
		if err := i.restore(ctx, launch.Restore); err != nil {
			return nil, err
		}
	}
	i.log.Info("QEMU started", "incoming", launch.Incoming, "qemu", i.monitor.Version().String(), "accel", shape.Accel)
	return i, nil
}

// undo cleans up after a failed start, even if ctx has ended.
func (i *Instance) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return i.Destroy(ctx)
}

// launchQEMU waits until QEMU has created its last socket or ended. The process has
// its own session, so that it survives the end of this command and of the SSH
// connection.
const launchQEMU = `
cd %[1]s || exit
setsid sh %[2]s </dev/null >/dev/null 2>&1 &
until [ -S %[3]s ] || [ -e %[4]s ]; do sleep 0.05; done
`

// prepare makes what QEMU needs on the host: its taps, and its command line as a script,
// which saves QEMU's output, its pid, and its exit status.
func (i *Instance) prepare(ctx context.Context, launch Launch) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, t := range i.spec.Taps {
		if err := i.addTap(ctx, t); err != nil {
			return err
		}
	}
	h := i.placement.Host
	script := i.script(launch)
	if err := i.save("qemu.cmdline", []byte(script)); err != nil {
		return err
	}
	var err error
	i.entry, err = i.placement.Ledger.Record(ledger.Entry{
		Host:    h.Name(),
		Kind:    ledger.Process,
		Path:    i.placement.RunDir, // its command line contains it
		PIDFile: i.file("pid"),
		Data:    i.endpoints(),
	})
	if err != nil {
		return err
	}
	i.launched = true
	if err := h.WriteFile(ctx, i.spec.Script, []byte(script), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", i.spec.Script, err)
	}
	return nil
}

// launch runs the script, but for one that the guest's QEMU executes. It returns when QEMU
// has created its last socket, or has ended.
func (i *Instance) launch(ctx context.Context, launch Launch) error {
	if launch.executed() {
		return i.awaitMonitor(ctx)
	}
	awaited := i.spec.SpareQMP
	if launch.Handover != nil {
		awaited = i.spec.Handover
	}
	_, err := i.placement.Host.Run(ctx, host.Command{Script: fmt.Sprintf(launchQEMU, shellescape.Quote(i.placement.RunDir),
		shellescape.Quote(i.spec.Script), shellescape.Quote(awaited), shellescape.Quote(i.file("exit")))})
	if err != nil || launch.Handover == nil {
		return err
	}
	if exit := i.exit(ctx); exit.ended() {
		return exit
	}
	launch.Handover(i.spec)
	late := fmt.Errorf("%w: it has no monitor, %v after it began to wait for the descriptors of the guest's QEMU on %s", qmp.ErrSilent, handoverTimeout, i.spec.Handover)
	ctx, cancel := context.WithTimeoutCause(ctx, handoverTimeout, late)
	defer cancel()
	return i.awaitMonitor(ctx)
}

// awaitMonitor waits until QEMU has created its last socket or ended.
func (i *Instance) awaitMonitor(ctx context.Context) error {
	return i.await(ctx, "-S", i.spec.SpareQMP)
}

// await waits, for as long as ctx allows, until a test of the shell is true of a path, or
// QEMU has ended.
func (i *Instance) await(ctx context.Context, test, path string) error {
	const script = `until [ %s %s ] || [ -e %s ]; do sleep 0.05; done`
	_, err := i.placement.Host.Run(ctx, host.Command{Script: fmt.Sprintf(script, test, shellescape.Quote(path), shellescape.Quote(i.file("exit")))})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// The keys of a QEMU's ledger entry, for the commands that attach to the VM.
const (
	DataVM      = "vm"
	DataVariant = "variant"
	DataQMP     = "qmp"     // the socket of its second monitor
	DataConsole = "console" // the socket of its first serial port
)

// endpoints is the VM's sockets, to attach to it even when this process has ended.
func (i *Instance) endpoints() map[string]string {
	return map[string]string{
		DataVM: i.config.Name, DataVariant: i.placement.Variant, DataQMP: i.spec.SpareQMP, DataConsole: i.spec.Serials[0],
	}
}

// script is the command line as a shell script that the user can read and run.
func (i *Instance) script(launch Launch) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# %s on %s\n", i.config.Name, i.placement.Host.Name())
	if launch.executed() {
		fmt.Fprintf(&b, takeProcess, shellescape.Quote(i.file("pid")))
	}
	for n, argument := range i.spec.Argv {
		if n > 0 {
			b.WriteString(" ")
			if strings.HasPrefix(argument, "-") {
				b.WriteString("\\\n  ")
			}
		}
		b.WriteString(shellescape.Quote(argument))
	}
	fmt.Fprintf(&b, " \\\n  </dev/null >>%s 2>&1", shellescape.Quote(i.file("log")))
	if launch.executed() {
		b.WriteString("\n")
		return b.String()
	}
	fmt.Fprintf(&b, " &\necho $! >%s\nwait $!\n", shellescape.Quote(i.file("pid")))
	if launch.Descriptors == ExecMode {
		b.WriteString(saveStatusOfLast)
	} else {
		fmt.Fprintf(&b, "echo $? >%s\n", shellescape.Quote(i.file("exit")))
	}
	return b.String()
}

// attach opens the monitor, with a time limit for each command.
func (i *Instance) attach(ctx context.Context) error {
	conn, err := i.placement.Host.Dial(ctx, "unix", i.spec.QMP)
	if err != nil {
		if exit := i.exit(ctx); exit.ended() {
			return exit
		}
		return fmt.Errorf("monitor: %w", err)
	}
	transcript, err := i.placement.Artifacts("qmp.jsonl")
	if err != nil {
		_ = conn.Close()
		return err
	}
	i.transcript = transcript
	i.monitor, err = qmp.New(ctx, conn, qmp.Options{
		Name:       i.config.Name + "@" + i.placement.Host.Name(),
		Transcript: transcript,
		Logger:     i.log,
		Timeout:    i.config.MonitorTimeout,
	})
	return err
}

// save writes a file of the results.
func (i *Instance) save(name string, data []byte) error {
	w, err := i.placement.Artifacts(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}
