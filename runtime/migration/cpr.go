// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/vm"
)

// cprReboot moves a guest from one QEMU to another on its host, such as a new version,
// without its RAM: that stays in a file which both QEMUs map (checkpoint and restart,
// mode=cpr-reboot). Only the devices' state goes through a file.
type cprReboot struct {
	*file

	mode string
	ram  int64 // bytes that are not sent
}

const cprRebootMode = "cpr-reboot"

func newCPRReboot(o options) Transport {
	return &cprReboot{mode: cprRebootMode, file: &file{form: o.form(), offset: o.fileOffset}}
}

// Traits are those of a file, and that the RAM is not sent.
func (t *cprReboot) Traits() Traits {
	traits := t.file.Traits()
	traits.SharedRAM = true
	return traits
}

func (*cprReboot) Launch(Role) vm.Launch { return vm.Launch{SharedMemory: true} }

// Check checks that the guest stays on its host.
func (t *cprReboot) Check(_ context.Context, source, destination Machine) error {
	if source.Name() == destination.Name() {
		return nil
	}
	return fmt.Errorf("param mig_protocol: %s leaves the guest's RAM where it is, but %s and %s are two hosts: migrate from a host to itself, or use another transport", t.mode, source.Name(), destination.Name())
}

// Send is refused if the source's RAM is not in the shared file: QEMU would send it.
func (t *cprReboot) Send(ctx context.Context, source, destination Peer) error {
	var devices []struct {
		Size  int64 `json:"size"`
		Share bool  `json:"share"`
	}
	if err := source.Execute(ctx, "query-memdev", nil, &devices); err != nil {
		return err
	}
	t.ram = 0
	for _, d := range devices {
		if d.Share {
			t.ram += d.Size
		}
	}
	if t.ram == 0 {
		return errors.New(source.String() + ": its RAM is not in a shared file, as its guest was started for another transport: let migrate start it anew")
	}
	return t.file.Send(ctx, source, destination)
}

// Sent checks that the RAM was not sent.
func (t *cprReboot) Sent(ctx context.Context, source Peer) error {
	if err := t.file.Sent(ctx, source); err != nil {
		return err
	}
	f := t.made.at(SourceRole)
	out, err := f.machine.Run(ctx, host.Command{Args: []string{"stat", "-c", "%s", "--", f.path}, Timeout: programTimeout})
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(out.Stdout)), 10, 64)
	if err != nil {
		return fmt.Errorf("the size of %s: %w", f.path, err)
	}
	if size -= t.offset; size > t.ram/2 { // what is before the guest is a hole
		return fmt.Errorf("%s: the file has %d bytes: QEMU has sent RAM (of %d bytes) that was to stay where it is", t.mode, size, t.ram)
	}
	return nil
}

// cpr is the feature of the transports that are modes of migrations: the mode, and RAM that
// is not sent.
type cpr struct {
	switched

	mode string // "": another transport
}

func newCPR(o options, _ Traits) Feature {
	return cpr{switched: switched{ignoreSharedCapability, o.protocol == cprRebootMode}, mode: cprMode(o)}
}

// modeParameter is the migration parameter that a transport may be a value of.
const modeParameter = "mode"

// cprMode is the mode that the transport is; "" if it is none.
func cprMode(o options) string {
	if o.protocol == cprRebootMode || o.protocol == vm.TransferMode || o.protocol == vm.ExecMode {
		return o.protocol
	}
	return ""
}

func (f cpr) Parameters(role Role) []string {
	if f.mode == "" {
		return nil
	}
	if f.mode == vm.ExecMode && role == SourceRole {
		return []string{modeParameter + "/" + f.mode, execCommand}
	}
	return []string{modeParameter + "/" + f.mode}
}

func (f cpr) Set(ctx context.Context, _ Role, p Peer) error { return f.setMode(ctx, p, f.mode) }

func (f cpr) Reset(ctx context.Context, _ Role, p Peer) error { return f.setMode(ctx, p, "normal") }

func (f cpr) setMode(ctx context.Context, p Peer, mode string) error {
	if f.mode == "" {
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", map[string]any{modeParameter: mode}, nil)
}

// Check checks that the guest has moved in that mode, on both ends, and that QEMU has sent
// none of the RAM.
func (f cpr) Check(ctx context.Context, o *Outcome) error {
	if f.mode == "" {
		return nil
	}
	ends := []Role{SourceRole, DestinationRole}
	if f.mode == vm.ExecMode {
		ends = ends[1:] // the source has become the destination
	}
	for _, role := range ends {
		mode, err := o.Parameter(ctx, role, modeParameter)
		if err != nil {
			return err
		}
		if mode != f.mode {
			return unused("the migration was to have the mode %s, but the mode of %s is %v", f.mode, o.End(role), mode)
		}
	}
	switch f.mode {
	case vm.TransferMode:
		return f.checkHandedOver(o)
	case vm.ExecMode: // cprReboot.Sent has checked the size of its file
		o.Used(f.mode, "the mode of the destination, which is the process that was the source; no RAM is in the file")
	case cprRebootMode: // likewise
		o.Used(f.mode, "the mode of both ends; no RAM is in the file")
	}
	return nil
}

// checkHandedOver checks that QEMU has sent none of the RAM that it was to hand over.
func (f cpr) checkHandedOver(o *Outcome) error {
	for _, figure := range []string{"total", "normal", "duplicate"} {
		if n, _ := o.RAM(figure); n != 0 {
			return unused("%s was set, but QEMU has sent RAM that was to be handed over: %s is %d", f.mode, figure, n)
		}
	}
	sent, reported := o.RAM("transferred")
	if !reported {
		return unused("%s was set, but QEMU reports no figures of the RAM", f.mode)
	}
	o.Used(f.mode, "the mode of both ends; no RAM was sent (total is 0), %d bytes of devices' state", sent)
	return nil
}
