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

// mark marks a command of the scenario.
func (h *Host) mark(c host.Command) (host.Command, error) {
	mark, err := h.NewMark()
	c.Mark = mark
	return c, err
}

// NewMark returns a new mark, see [host.Command]: it has a prefix that is common to all
// marks of the bed on this host and recorded in the ledger. It is used to find and kill
// the marked processes and their background processes, at the bed's end and after a
// crash.
func (h *Host) NewMark() (string, error) {
	h.marking.Lock()
	defer h.marking.Unlock()
	if h.commands == 0 {
		entry, err := h.bed.ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Commands, Path: h.ownName()})
		if err != nil {
			return "", err
		}
		h.commands = entry
	}
	return fmt.Sprintf("%s/%d/", h.ownName(), h.NextNumber()), nil
}

// EndMarked kills the processes that have a mark of [Host.NewMark]: SIGTERM, two seconds
// of grace, SIGKILL. It returns when they are gone; that there are none is no error.
func (h *Host) EndMarked(ctx context.Context, mark string) error {
	_, err := h.Run(ctx, host.Command{Script: host.KillMarked(host.MarkVariable, mark), Timeout: commandTimeout})
	return err
}

// Record records in the ledger what is about to be made on the host. The caller calls
// done when it is gone.
func (h *Host) Record(kind ledger.Kind, path string) (done func() error, err error) {
	entry, err := h.bed.ledger.Record(ledger.Entry{Host: h.Name(), Kind: kind, Path: path})
	if err != nil {
		return nil, err
	}
	return func() error { return h.bed.ledger.Done(entry) }, nil
}

// RunCommand runs a command of the scenario like [host.Host.Run]. Its background
// processes are killed at the bed's end.
func (h *Host) RunCommand(ctx context.Context, c host.Command) (host.Output, error) {
	c, err := h.mark(c)
	if err != nil {
		return host.Output{Status: -1}, err
	}
	return h.Run(ctx, c)
}

// endCommands kills the remaining processes of the scenario's commands.
func (h *Host) endCommands(ctx context.Context) error {
	h.marking.Lock()
	defer h.marking.Unlock()
	if h.commands == 0 {
		return nil
	}
	out, err := h.Run(ctx, host.Command{Script: host.KillMarked(host.MarkVariable, h.ownName()+"/"), Timeout: commandTimeout})
	for line := range strings.Lines(string(out.Stdout)) {
		h.bed.log.Info("killed a process that a command left running", "host", h.Name(), "what", strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("%s: kill the remaining processes of commands: %w", h.Name(), err)
	}
	return h.bed.ledger.Done(h.commands)
}

// Process is a command of the scenario that runs in the background.
type Process struct {
	*host.Process
	command  string
	killed   atomic.Bool // by Kill
	reported atomic.Bool // that it was killed because it wrote too much
}

func (p *Process) String() string { return p.command }

// StartCommand starts a command, and collects its output up to [host.MaxOutput]. It is
// killed with the connection to the host, and its background processes at the bed's
// end. ctx limits the start only.
func (h *Host) StartCommand(ctx context.Context, c host.Command) (*Process, error) {
	c, err := h.mark(c)
	if err != nil {
		return nil, err
	}
	running, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { kill(context.Cause(ctx)) })
	started, err := h.Start(running, c)
	if !stop() && err == nil { // it has started, and is being killed
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	started.Collect()
	return &Process{Process: started, command: c.Script}, nil
}

// Wait waits for the command's end and returns its output. An exit status other than 0
// is not an error here, nor is an end by Kill.
func (p *Process) Wait(ctx context.Context) (host.Output, error) {
	out, err := p.Process.Wait(ctx)
	if _, full := errors.AsType[*host.OutputError](err); full {
		p.reported.Store(true)
	}
	_, exited := errors.AsType[*host.ExitError](err)
	killed, byForce := errors.AsType[*host.KilledError](err)
	wanted := byForce && killed.KillErr == nil && p.killed.Load()
	if err != nil && !exited && !wanted {
		return out, err
	}
	return out, nil
}

// Kill kills the command and its child processes. If the command was killed before
// because it wrote too much, and Wait has not reported that, it returns that error.
func (p *Process) Kill(ctx context.Context) error {
	p.killed.Store(true)
	if err := p.Process.Kill(ctx); err != nil {
		return err
	}
	_, err := p.Process.Wait(ctx)
	if _, full := errors.AsType[*host.OutputError](err); full && p.reported.CompareAndSwap(false, true) {
		return err
	}
	return nil
}
