// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// mark gives a command of the scenario's a mark that all of them on this host
// begin alike, and that the ledger has: by it they are found and ended, with what
// they have left in sessions of their own, at the bed's end and after a crash.
func (h *Host) mark(c host.Command) (host.Command, error) {
	h.marking.Lock()
	defer h.marking.Unlock()
	if h.commands == 0 {
		entry, err := h.bed.ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Commands, Path: h.ownName()})
		if err != nil {
			return c, err
		}
		h.commands = entry
	}
	c.Mark = fmt.Sprintf("%s/%d/", h.ownName(), h.NextNumber())
	return c, nil
}

// RunCommand runs a command of the scenario's, as [host.Host.Run] does. What it
// leaves in the background ends with the bed.
func (h *Host) RunCommand(ctx context.Context, c host.Command) (host.Output, error) {
	c, err := h.mark(c)
	if err != nil {
		return host.Output{Status: -1}, err
	}
	return h.Run(ctx, c)
}

// endCommands ends what the scenario's commands have left.
func (h *Host) endCommands(ctx context.Context) error {
	h.marking.Lock()
	defer h.marking.Unlock()
	if h.commands == 0 {
		return nil
	}
	out, err := h.Run(ctx, host.Command{Script: host.KillMarked(host.MarkVariable, h.ownName()+"/"), Timeout: commandTimeout})
	for line := range strings.Lines(string(out.Stdout)) {
		h.bed.log.Info("ended what a command had left", "host", h.Name(), "what", strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("%s: end what commands have left: %w", h.Name(), err)
	}
	return h.bed.ledger.Done(h.commands)
}

// Process is a command of the scenario's that goes on by itself.
type Process struct {
	*host.Process
	command string
	killed  atomic.Bool // by Kill
	told    atomic.Bool // that it had to be killed for what it wrote
}

func (p *Process) String() string { return p.command }

// StartCommand starts a command, whose outputs are collected up to
// [host.MaxOutput]. It ends at the latest with the connection to the host, and
// what it leaves with the bed.
func (h *Host) StartCommand(ctx context.Context, c host.Command) (*Process, error) {
	c, err := h.mark(c)
	if err != nil {
		return nil, err
	}
	started, err := h.Start(context.WithoutCancel(ctx), c)
	if err != nil {
		return nil, err
	}
	started.Collect()
	return &Process{Process: started, command: c.Script}, nil
}

// Wait waits for the command's end and returns what it wrote. An exit status
// that is not 0 is no error here, neither is an end by Kill.
func (p *Process) Wait(ctx context.Context) (host.Output, error) {
	out, err := p.Process.Wait(ctx)
	if _, full := errors.AsType[*host.OutputError](err); full {
		p.told.Store(true)
	}
	_, exited := errors.AsType[*host.ExitError](err)
	killed, byForce := errors.AsType[*host.KilledError](err)
	wanted := byForce && killed.KillErr == nil && p.killed.Load()
	if err != nil && !exited && !wanted {
		return out, err
	}
	return out, nil
}

// Kill ends the command and what it has started. That it had to be killed before,
// for what it wrote, is an error if nobody was told.
func (p *Process) Kill(ctx context.Context) error {
	p.killed.Store(true)
	if err := p.Process.Kill(ctx); err != nil {
		return err
	}
	_, err := p.Process.Wait(ctx)
	if _, full := errors.AsType[*host.OutputError](err); full && p.told.CompareAndSwap(false, true) {
		return err
	}
	return nil
}
