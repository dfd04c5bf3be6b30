// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Session is an open login in a guest: one shell, which runs one command at a
// time. It ends with Close, with its connection, or when the shell exits.
type Session struct {
	wire wire
	in   *inbox
	lock chan struct{} // holds one token; its holder may use the session

	// Guarded by lock.
	fresh bool   // the shell has not been set up yet
	sent  string // a line given to Sendline that the shell may still be busy with
	busy  bool   // a command was abandoned: the shell may still be running it
}

// wire is the connection to a session's shell.
type wire interface {
	send(ctx context.Context, p []byte) error
	interrupt(ctx context.Context) error // Ctrl-C; errors.ErrUnsupported where there is none
	close(s *Session) error
}

const (
	silenceAfterSend = 200 * time.Millisecond // without output after Sendline before the next command
	interruptTimeout = 5 * time.Second        // for a shell to react to Ctrl-C
	signalDelay      = 50 * time.Millisecond  // from Ctrl-C until its signal reaches the shell
	probeInterval    = 2 * time.Second
)

// ErrEnded is matched by the errors of a session that has ended.
var ErrEnded = errors.New("session has ended")

// Those of a session, which are ErrEnded too, that its user has ended: the guest is not to
// blame.
var (
	ErrClosed    = fmt.Errorf("%w: it was closed", ErrEnded)
	ErrTakenOver = fmt.Errorf("%w: another login took the serial console over", ErrEnded)
)

// errNoAnswer is the error of a shell that was started and does not answer.
var errNoAnswer = errors.New("logged in, but the shell does not answer")

func newSession(w wire, in *inbox) *Session {
	s := &Session{wire: w, in: in, lock: make(chan struct{}, 1)}
	s.lock <- struct{}{}
	return s
}

// Cmd runs a command and returns its output, stdout and stderr together. A
// status other than 0 is a *CmdError. A timeout of 0 is defaultTimeout; when it
// passes, the command is interrupted (Ctrl-C) and the error is a *TimeoutError,
// which may take some seconds more.
func (s *Session) Cmd(ctx context.Context, cmd string, timeout time.Duration) (string, error) {
	status, out, err := s.CmdStatusOutput(ctx, cmd, timeout)
	if err == nil && status != 0 {
		err = &CmdError{Command: cmd, Status: status, Output: out}
	}
	return out, err
}

// CmdStatus runs a command as Cmd does and returns its status.
func (s *Session) CmdStatus(ctx context.Context, cmd string, timeout time.Duration) (int, error) {
	status, _, err := s.CmdStatusOutput(ctx, cmd, timeout)
	return status, err
}

// CmdOutput runs a command as Cmd does and returns its output, whatever its
// status.
func (s *Session) CmdOutput(ctx context.Context, cmd string, timeout time.Duration) (string, error) {
	_, out, err := s.CmdStatusOutput(ctx, cmd, timeout)
	return out, err
}

// CmdStatusOutput runs a command as Cmd does and returns its status and its
// output. With an error, the output is what came so far.
func (s *Session) CmdStatusOutput(ctx context.Context, cmd string, timeout time.Duration) (int, string, error) {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	limit := &TimeoutError{Command: cmd, Limit: timeout}
	limited, cancel := context.WithTimeoutCause(ctx, timeout, limit)
	defer cancel()
	if err := s.acquire(limited); err != nil {
		if errors.Is(err, limit) && !errors.Is(err, errNoAnswer) {
			limit.Before, limit.Usable = "another command of this session", true
			return 0, "", limit
		}
		return 0, "", fmt.Errorf("command %q: %w", cmd, err)
	}
	defer s.release()

	status, out, err := s.run(limited, cmd)
	switch {
	case err == nil:
		return status, out, nil
	case s.in.ended() != nil:
		err = s.in.ended()
	case errors.Is(err, limit):
		limit.Output, limit.Before = out, s.sent
		limit.Usable = s.giveUp(ctx)
		return 0, out, limit
	default: // ctx, or too much output
		s.giveUp(ctx)
	}
	return 0, out, fmt.Errorf("command %q: %w%s", cmd, err, shownOutput(out))
}

// run types the command and waits for its end. The output comes with an error
// too.
func (s *Session) run(ctx context.Context, cmd string) (int, string, error) {
	if err := s.ready(ctx); err != nil {
		return 0, "", err
	}
	before, word := typed(cmd)
	for _, line := range before {
		if err := s.wire.send(ctx, []byte(line)); err != nil {
			return 0, "", err
		}
		if err := s.sync(ctx); err != nil { // the guest takes it at its own pace
			return 0, "", err
		}
	}
	s.in.take(maxOutput)
	n := newNonce()
	if err := s.wire.send(ctx, []byte(n.line(word))); err != nil {
		s.in.take(idleOutput)
		return 0, "", err
	}
	end := &endMarkerFinder{n: n}
	err := s.in.watch(ctx, end.find)
	buf := s.in.take(idleOutput)
	if err != nil {
		return 0, output(buf, n), err
	}
	return end.status, output(buf[:end.at], n), nil
}

// ready waits until the shell waits for a command.
func (s *Session) ready(ctx context.Context) error {
	if s.busy {
		err := s.interruptUntilAnswer(ctx)
		if errors.Is(err, errors.ErrUnsupported) {
			err = s.probeUntilAnswer(ctx, "")
		}
		if err != nil {
			return err
		}
		s.busy, s.sent = false, ""
	}
	if s.sent != "" {
		if err := s.sync(ctx); err != nil {
			return err
		}
		// A line like "nohup dd &" is done when the shell has forked; there is
		// no event for when dd runs. Waiting for silence gives it time, as in
		// virt-test; a job that never stops printing gets a second.
		quiet, cancel := context.WithTimeout(ctx, time.Second)
		err := s.in.quiet(quiet, silenceAfterSend)
		cancel()
		if err != nil && quiet.Err() == nil {
			return err
		}
		s.sent = ""
	}
	return nil
}

// sync waits until the shell has done all that was typed.
func (s *Session) sync(ctx context.Context) error {
	n := newNonce()
	if err := s.wire.send(ctx, []byte(n.probe())); err != nil {
		return err
	}
	return s.in.watch(ctx, markerIn(n.synced()))
}

// markerIn returns a predicate for watch that finds marker.
func markerIn(marker []byte) func([]byte) bool {
	return func(buf []byte) bool { return bytes.Contains(buf, marker) }
}

// endedMarkerIn is markerIn for a marker together with the end of its line.
func endedMarkerIn(marker []byte) func([]byte) bool {
	return func(buf []byte) bool {
		i := bytes.Index(buf, marker)
		return i >= 0 && len(buf) > i+len(marker)
	}
}

// giveUp interrupts the shell's command and reports whether the shell can be
// used again. If ctx has ended, it does not wait: the next command will.
func (s *Session) giveUp(ctx context.Context) bool {
	s.busy = true
	grace := interruptTimeout
	if ctx.Err() != nil {
		grace = silenceAfterSend
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.interruptUntilAnswer(ctx) != nil {
		return false
	}
	s.busy, s.sent = false, ""
	return true
}

// interruptUntilAnswer types Ctrl-C and a probe, again and again, until the shell
// answers. One Ctrl-C is not always enough: bash goes on with a loop if it came
// between two of the loop's commands. As Ctrl-C also discards what the shell has
// not read yet, the probe before it too, a slow shell gets more time each time.
//
// A probe may get lost as well: what is typed behind Ctrl-C before the signal has
// reached the shell ends the shell's read together with the signal, whose handler
// discards it. So the probe comes a little later, and once more before the next Ctrl-C.
func (s *Session) interruptUntilAnswer(ctx context.Context) error {
	for limit := probeInterval; ; limit *= 2 {
		if err := s.wire.interrupt(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(signalDelay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		n := newNonce() // an answer to an older probe does not tell that this Ctrl-C has passed
		for range 2 {
			if again, err := s.probe(ctx, n, "", limit/2); !again {
				return err
			}
		}
	}
}

// probeUntilAnswer types the lines and a probe, again and again, until the shell
// answers: input may get lost while a shell starts.
func (s *Session) probeUntilAnswer(ctx context.Context, lines string) error {
	n := newNonce()
	for {
		if again, err := s.probe(ctx, n, lines, probeInterval); !again {
			return err
		}
	}
}

// probe types the lines and a probe, and waits for the answer, limit at most. It
// reports whether nothing has come and to probe again makes sense.
func (s *Session) probe(ctx context.Context, n nonce, lines string, limit time.Duration) (again bool, err error) {
	if err := s.wire.send(ctx, []byte(lines+n.probe())); err != nil {
		return false, err
	}
	step, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = s.in.watch(step, endedMarkerIn(n.synced()))
	return err != nil && step.Err() != nil && ctx.Err() == nil && s.in.ended() == nil, err
}

// quietTerminal switches a terminal's echo off. Over SSH the pty request does
// that; running stty there would take half of the login time of a guest without
// KVM.
const quietTerminal = "stty -echo -opost 2>/dev/null\n"

// setup switches off what a new login's shell prints by itself; each line is a
// command of its own, so that one that a shell does not know does not affect the
// others.
const setup = "command set +o emacs 2>/dev/null\n" +
	"command set +o vi 2>/dev/null\n" +
	"command set +o histexpand 2>/dev/null\n" +
	"exec 2>&1\n" +
	"unset PROMPT_COMMAND MAIL MAILPATH; PS1='mhmig# '; PS2=; TERM=dumb; PAGER=cat; SYSTEMD_PAGER=cat; export TERM PAGER SYSTEMD_PAGER\n"

func (s *Session) setUp(ctx context.Context) error {
	err := s.probeUntilAnswer(ctx, setup)
	if err == nil && s.isCooked() {
		err = s.probeUntilAnswer(ctx, quietTerminal)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%w: %w%s", errNoAnswer, err, shownLogin(s.in.peek()))
	}
	return nil
}

// isCooked reports whether the terminal does output processing although the pty
// request switched it off: the answer to the setup's probe then ends with CR LF.
func (s *Session) isCooked() bool {
	buf := s.in.peek()
	i := bytes.LastIndex(buf, []byte("<mhs:"))
	return i >= 0 && bytes.Contains(buf[i:], []byte(">\r"))
}

// shownLogin is the end of a terminal's output at login, without the echo of our
// input, for an error message.
func shownLogin(buf []byte) string {
	var shown strings.Builder
	for line := range strings.Lines(visible(buf)) {
		if !strings.Contains(quietTerminal+setup, strings.TrimSpace(line)) && !strings.Contains(line, " mhs: ") { //nolint:gocritic // the line is searched in our input
			shown.WriteString(line)
		}
	}
	if text := lastLines(shown.String(), shownLines); text != "" {
		return "; the guest showed:\n" + text
	}
	return ""
}

// Sendline sends a line and does not wait for its end or its output. The next
// command waits until the shell is done with it.
func (s *Session) Sendline(ctx context.Context, line string) error {
	if err := s.acquire(ctx); err != nil {
		return fmt.Errorf("sendline %q: %w", line, err)
	}
	defer s.release()
	if s.sent == "" {
		s.in.take(idleOutput)
	}
	if err := s.wire.send(ctx, []byte(line+"\n")); err != nil {
		return fmt.Errorf("sendline %q: %w", line, err)
	}
	if line != "" {
		s.sent = line
	}
	return nil
}

// Output returns and clears what was printed since the last command or Sendline,
// at most the last MiB; nothing while a command runs.
func (s *Session) Output() string {
	select {
	case <-s.lock:
		defer s.release()
		return string(crlf.ReplaceAll(s.in.take(idleOutput), []byte("\n")))
	default:
		return ""
	}
}

// IsResponsive reports whether the shell answers within timeout (0 is 5 s). It
// interrupts nothing: a shell that is busy is not responsive.
func (s *Session) IsResponsive(ctx context.Context, timeout time.Duration) bool {
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.acquire(ctx) != nil {
		return false
	}
	defer s.release()
	return s.sync(ctx) == nil
}

// Close ends the session; commands that run in it fail. Processes that the shell
// has started in the guest are not stopped. Closing twice is allowed.
func (s *Session) Close() error {
	s.in.end(ErrClosed)
	return s.wire.close(s)
}

// Done is closed when the session has ended; Err then returns why.
func (s *Session) Done() <-chan struct{} { return s.in.done }

// Err returns why the session ended, an ErrEnded; nil while it is open.
func (s *Session) Err() error { return s.in.ended() }

// acquire locks the session, and waits until its shell has answered for the first
// time.
func (s *Session) acquire(ctx context.Context) error {
	if err := s.in.ended(); err != nil {
		return err
	}
	select {
	case <-s.lock:
	case <-s.in.done:
		return s.in.ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.fresh {
		if err := s.setUp(ctx); err != nil {
			s.release()
			return err
		}
		s.fresh = false
	}
	return nil
}

func (s *Session) release() { s.lock <- struct{}{} }
