// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// drainTimeout limits the wait for a killed command's outputs to end, and for the
// report that the connection is lost.
const drainTimeout = 2 * time.Second

// Output is the result of a command.
type Output struct {
	Stdout, Stderr []byte
	Status         int // 128 plus the number if a signal ended it; -1 if unknown
	Duration       time.Duration
}

// Run runs c and returns when it has ended. The error is an [*ExitError] when its
// status is not zero, a [*KilledError] when it was killed because of c.Timeout,
// ctx or [MaxOutput] (after its group is gone), a [*LostError] when the connection
// was lost (the command may still run there). The Output is filled in any case.
func (h *Host) Run(ctx context.Context, c Command) (Output, error) {
	p, err := h.Start(ctx, c)
	if err != nil {
		return Output{Status: -1}, err
	}
	p.Collect()
	<-p.done
	p.collected()
	out := p.output()
	return out, p.failure(out)
}

// Process is a command that was started on a host.
type Process struct {
	// Stdout and Stderr are the command's outputs. They end with it. After Collect
	// the caller must not read them.
	Stdout, Stderr io.Reader
	// Group is the id of the command's process group on the host, which is
	// also that of its first process.
	Group int

	host    *Host
	command string
	mark    string
	cancel  context.CancelCauseFunc
	shell   *shell
	started time.Time
	outputs *outputs // nil before Collect

	done      chan struct{} // closed when what follows is set
	abandoned chan struct{} // closed when its outputs are not waited for any longer
	err       error         // why it did not end by itself
	status    int
	duration  time.Duration
}

// Start starts c and returns while it runs. ctx and c.Timeout limit it, as with
// [Host.Run]. The caller must read Stdout and Stderr, or let
// [Process.Collect] do so, or the command will block when it has written much.
func (h *Host) Start(ctx context.Context, c Command) (*Process, error) {
	script, err := c.script(h.config.Env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name(), err)
	}
	var stopTimer context.CancelFunc = func() {}
	if c.Timeout > 0 {
		ctx, stopTimer = context.WithTimeoutCause(ctx, c.Timeout, &TimeoutError{c.Timeout})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	p := &Process{
		host: h, command: c.String(), mark: c.Mark, cancel: cancel,
		done: make(chan struct{}), abandoned: make(chan struct{}),
	}
	end := func() {
		cancel(nil)
		stopTimer()
		h.unregister(p)
		close(p.done)
	}
	if !h.register(p) {
		err = ErrClosed
	} else {
		p.shell, err = h.openShell(ctx, ordinary)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("%s: start %s: %w", h.Name(), c, err)
	}
	p.Stdout, p.Stderr, p.Group = p.shell.stdout, p.shell.stderr, p.shell.pid
	p.started = time.Now()
	exited := p.shell.run(script, c.Stdin)
	supervise := func() {
		p.supervise(ctx, exited)
		p.shell.close()
		h.log.Debug("remote command", "command", p.command, "status", p.status, "duration", p.duration)
		end()
	}
	if !p.shell.conn.spawn(supervise) {
		supervise() // the connection is closed, so it ends at once
	}
	return p, nil
}

// Wait blocks until the command has ended or ctx is over, which leaves the
// command alone. It returns errors as [Host.Run] does; without
// [Process.Collect], Stdout and Stderr in them are empty.
func (p *Process) Wait(ctx context.Context) (Output, error) {
	select {
	case <-p.done:
		p.collected()
		out := p.output()
		return out, p.failure(out)
	case <-ctx.Done():
		return Output{Status: -1}, fmt.Errorf("%s: wait for %s: %w", p.host.Name(), p.command, context.Cause(ctx))
	}
}

// Kill kills the command's process group and all processes with its mark: SIGTERM,
// two seconds of grace, SIGKILL. It blocks until they are gone or ctx ends, and
// returns why they may still run. A command that has ended already is no error;
// its background processes are not killed then.
func (p *Process) Kill(ctx context.Context) error {
	p.cancel(errors.New("killed on request"))
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s: kill %s: %w", p.host.Name(), p.command, context.Cause(ctx))
	}
	if killed, ok := p.err.(*KilledError); ok {
		return killed.KillErr
	}
	return p.err
}

// Done returns a channel that is closed when the command has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) output() Output {
	out := Output{Status: p.status, Duration: p.duration}
	if p.outputs != nil {
		out.Stdout, out.Stderr = p.outputs.stdout.bytes(), p.outputs.stderr.bytes()
	}
	return out
}

// failure returns the error of a command that has ended.
func (p *Process) failure(out Output) error {
	if killed, ok := p.err.(*KilledError); ok {
		withOutput := *killed
		withOutput.Output = out
		return &withOutput
	}
	if p.err != nil {
		return p.err
	}
	if p.status != 0 {
		return &ExitError{Host: p.host.Name(), Command: p.command, Output: out}
	}
	return nil
}

// supervise waits for the command's end, or kills it when ctx ends.
func (p *Process) supervise(ctx context.Context, exited <-chan error) {
	select {
	case err := <-exited:
		p.recordExit(err)
		return
	case <-ctx.Done():
	}
	killed := &KilledError{Host: p.host.Name(), Command: p.command, Cause: context.Cause(ctx)}
	killed.KillErr = p.host.killProcesses(context.WithoutCancel(ctx), p.Group, p.mark)
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case err := <-exited:
		p.recordExit(err)
		if killed.KillErr != nil && p.err != nil {
			return // the connection is lost: the command's state is unknown
		}
	case <-timer.C:
		p.status, p.duration = -1, time.Since(p.started)
		close(p.abandoned)
	}
	p.err = killed
}

// recordExit records the exit status that the session reported.
func (p *Process) recordExit(err error) {
	p.duration = time.Since(p.started)
	if err == nil {
		return
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		p.status = exit.ExitStatus()
		return
	}
	p.status, p.err = -1, fmt.Errorf("%s: %s: %w", p.host.Name(), p.command, p.shell.conn.reason(err))
}

// register adds p to the processes that Close kills. It reports false when the Host was closed.
func (h *Host) register(p *Process) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.processes[p] = struct{}{}
	return true
}

func (h *Host) unregister(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.processes, p)
}
