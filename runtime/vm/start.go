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
	// undoTimeout is for taking back a start that did not succeed.
	undoTimeout = 30 * time.Second
)

// Ledger is where everything made on a host is written down before it is made,
// and struck out when it is gone. *ledger.Ledger is one.
type Ledger interface {
	Record(ledger.Entry) (id int, err error)
	Done(id int) error
}

// Placement is where an instance of a VM runs, and where what it leaves goes.
type Placement struct {
	Host       Host
	ID         int      // of the instance among those of the VM on Host that are there, from 1; 0 is 1
	RunDir     string   // this variant's own folder on Host, for sockets and logs; must exist; short
	Variant    string   // the variant's ID in the results, for people who look for the VM
	ImageDir   string   // this variant's folder on the shared storage, as Host sees it; must exist where images are made
	ShippedDir string   // mhmig's own files as Host sees them: jeos:kernel is the file kernel there
	BaseDir    string   // images_base_dir as Host sees it: image_name, kernel and initrd are relative to it
	Cache      *Cache   // of the run, or of the bed alone
	Kept       []string // the VM's images that create_image found there, and keeps: see Images.Kept
	Ledger     Ledger
	Log        *slog.Logger
	// Artifacts opens a file of the results for this VM on this host, to append to:
	// qemu.cmdline, qemu.log and qmp.jsonl.
	Artifacts func(name string) (io.WriteCloser, error)
}

// logOf writes with the VM and the host, and with the instance if it is not the only one.
func (pl Placement) logOf(vm string) *slog.Logger {
	log := pl.Log.With("vm", vm, "host", pl.Host.Name())
	if pl.ID > 1 {
		log = log.With("instance", pl.ID)
	}
	return log
}

// fileKinds are the files that each instance has in the run folder, or may have, beside
// the sockets of its serial ports.
var fileKinds = []string{"qmp", "spare", "mig", "clock", "vnc", "sh", "log", "exit", "pid"}

// file is a file of an instance in the run folder, as vm1.qmp, or vm1+2.qmp beside
// another instance of that VM. No VM's name has a plus sign.
func (pl Placement) file(vm, kind string) string {
	return path.Join(pl.RunDir, fileName(InstanceName(vm, pl.ID), kind))
}

// InstanceName tells an instance from others of the same VM on its host: vm1, vm1+2.
func InstanceName(vm string, id int) string {
	if id <= 1 {
		return vm
	}
	return fmt.Sprintf("%s+%d", vm, id)
}

func fileName(vm, kind string) string { return vm + "." + kind }

// Start runs QEMU for a VM. It returns when QEMU answers on its
// monitor. The guest does not run yet: it waits for [Instance.Cont], so that a
// console can be attached before the first word; or, if launch says so, for a
// migration. QEMU outlives the connection to the host until [Instance.Destroy].
// After an error nothing is left on the host. A QEMU that ended by itself is an
// [*ExitError] with its last words.
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
	for _, f := range spec.Files {
		if err := checkFile(ctx, placement.Host, f); err != nil {
			return nil, err
		}
	}

	i := &Instance{
		config: c, placement: placement, shape: shape, spec: spec,
		turn: make(chan struct{}, 1),
		log:  placement.logOf(c.Name),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%w within %s of its start", qmp.ErrSilent, startTimeout))
	defer cancel()
	defer func() {
		if err != nil {
			err = errors.Join(err, i.undo(ctx))
		}
	}()
	for _, t := range spec.Taps {
		if err := i.addTap(ctx, t); err != nil {
			return nil, err
		}
	}
	if err := i.launch(ctx); err != nil {
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
	i.log.Info("QEMU runs", "incoming", launch.Incoming, "qemu", i.monitor.Version().String(), "accel", shape.Accel)
	return i, nil
}

// undo takes back a start that failed, though ctx may have ended.
func (i *Instance) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return i.Destroy(ctx)
}

// launchQEMU waits until QEMU has made its last socket or ended. The process gets
// a session of its own, so that neither the end of this command nor that of the
// SSH connection ends it.
const launchQEMU = `
cd %[1]s || exit
setsid sh %[2]s </dev/null >/dev/null 2>&1 &
until [ -S %[3]s ] || [ -e %[4]s ]; do sleep 0.02; done
`

// launch writes QEMU's command line to the host as a script and runs that. The
// script keeps what QEMU says, its pid, and the status that it ends with.
func (i *Instance) launch(ctx context.Context) error {
	h := i.placement.Host
	script := i.script()
	if err := i.keep("qemu.cmdline", []byte(script)); err != nil {
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
	if err := h.WriteFile(ctx, i.file("sh"), []byte(script), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", i.file("sh"), err)
	}
	_, err = h.Run(ctx, host.Command{Script: fmt.Sprintf(launchQEMU, shellescape.Quote(i.placement.RunDir),
		shellescape.Quote(i.file("sh")), shellescape.Quote(i.spec.SpareQMP), shellescape.Quote(i.file("exit")))})
	return err
}

// The keys of a QEMU's entry in the ledger, which say how people get at the VM.
const (
	DataVM      = "vm"
	DataVariant = "variant"
	DataQMP     = "qmp"     // the socket of its monitor for people
	DataConsole = "console" // the socket of its first serial port
)

// endpoints is how people get at the VM, also when this process has died.
func (i *Instance) endpoints() map[string]string {
	return map[string]string{
		DataVM: i.config.Name, DataVariant: i.placement.Variant, DataQMP: i.spec.SpareQMP, DataConsole: i.spec.Serials[0],
	}
}

// script is the command line as the user can read and repeat it.
func (i *Instance) script() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# %s on %s\n", i.config.Name, i.placement.Host.Name())
	for n, argument := range i.spec.Argv {
		if n > 0 {
			b.WriteString(" ")
			if strings.HasPrefix(argument, "-") {
				b.WriteString("\\\n  ")
			}
		}
		b.WriteString(shellescape.Quote(argument))
	}
	fmt.Fprintf(&b, " \\\n  </dev/null >>%s 2>&1 &\necho $! >%s\nwait $!\necho $? >%s\n",
		shellescape.Quote(i.file("log")), shellescape.Quote(i.file("pid")), shellescape.Quote(i.file("exit")))
	return b.String()
}

// attach opens the monitor, each exchange on which has a limit.
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

// keep writes a file of the results.
func (i *Instance) keep(name string, data []byte) error {
	w, err := i.placement.Artifacts(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}
