// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/host"
)

const (
	// firstAttempt is how long the first try of a login may take; the following
	// ones get longer, up to longestAttempt. A guest that boots may swallow the
	// first packets.
	firstAttempt   = 2 * time.Second
	longestAttempt = 20 * time.Second
	// attemptPause lies between two tries that were refused at once.
	attemptPause = 50 * time.Millisecond
)

// credentials are what the VM's params say of logins in its guest.
func (m *Machine) credentials() (guest.Credentials, error) {
	p := m.Params()
	prompt, err := regexp.Compile(p.Get("shell_prompt", `[#$]\s*$`))
	if err != nil {
		return guest.Credentials{}, fmt.Errorf("param shell_prompt: %w", err)
	}
	if client := p.Get("shell_client", "ssh"); client != "ssh" {
		return guest.Credentials{}, fmt.Errorf("param shell_client = %s: not supported, only ssh", client)
	}
	return guest.Credentials{
		Username: p.Get("username", "root"),
		Password: host.Secret(p.Get("password", "")),
		Prompt:   prompt,
	}, nil
}

// WaitForLogin returns a new SSH session in the guest. It tries until timeout
// is over: guests boot. It ends early when QEMU ends, or when the guest refuses
// the username and password.
func (m *Machine) WaitForLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if session := m.takeProof(ctx); session != nil {
		return session, nil
	}
	return m.newLogin(ctx, timeout)
}

func (m *Machine) newLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	credentials, err := m.credentials()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("login_timeout (%v) on %s is over", timeout, m))
	defer cancel()
	stop := m.endWith(cancel)
	defer stop()
	began, limit := time.Now(), firstAttempt
	for {
		session, err := m.tryLogin(ctx, credentials, limit)
		if err == nil {
			m.log.Debug("logged in", "took", time.Since(began).Round(time.Millisecond))
			return m.opened(session), nil
		}
		if errors.Is(err, guest.ErrRefused) {
			return nil, fmt.Errorf("%s: login as %s: %w", m, credentials.Username, err)
		}
		limit = min(limit*2, longestAttempt)
		select {
		case <-time.After(attemptPause):
		case <-ctx.Done():
			return nil, m.noLogin(ctx, err)
		}
	}
}

func (m *Machine) tryLogin(ctx context.Context, credentials guest.Credentials, limit time.Duration) (*guest.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer in %v", limit))
	defer cancel()
	conn, err := m.DialShell(ctx)
	if err != nil {
		return nil, err
	}
	return guest.SSH(ctx, conn, credentials)
}

// endWith cancels a wait when QEMU ends meanwhile.
func (m *Machine) endWith(cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		select {
		case <-m.Exited():
			cancel()
		case <-done:
		}
	}()
	return func() { close(done); <-finished }
}

// noLogin is the error of a guest that cannot be logged in to: why, and what
// its console says.
func (m *Machine) noLogin(ctx context.Context, last error) error {
	select {
	case <-m.Exited():
		return fmt.Errorf("%s: no login: QEMU ended: %s", m, m.ExitReason(context.WithoutCancel(ctx)))
	default:
	}
	err := fmt.Errorf("%s: no login: %w (last try: %w)", m, context.Cause(ctx), last)
	if m.Console == nil {
		return err
	}
	tail := m.Console.Tail(consoleTail)
	if tail == "" {
		return fmt.Errorf("%w; the guest's console is empty: does it boot?", err)
	}
	return fmt.Errorf("%w; the guest's console ends:\n  %s", err, strings.ReplaceAll(tail, "\n", "\n  "))
}

// WaitForSerialLogin returns a session on the guest's serial console.
func (m *Machine) WaitForSerialLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if m.Console == nil {
		return nil, fmt.Errorf("%s: no serial console: the param serials is empty", m)
	}
	credentials, err := m.credentials()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("login_timeout (%v) on %s is over", timeout, m))
	defer cancel()
	stop := m.endWith(cancel)
	defer stop()
	session, err := m.Console.Login(ctx, credentials)
	if err != nil {
		return nil, m.noLogin(ctx, err)
	}
	return m.opened(session), nil
}

// EnsureLogin proves that the guest accepts a login: by SSH, or on the serial
// console for a VM without a NIC. The next WaitForLogin gets the session that
// the proof was made with, so that it is not made twice.
func (m *Machine) EnsureLogin(ctx context.Context, timeout time.Duration) error {
	if len(m.Params().Objects("nics")) == 0 {
		session, err := m.WaitForSerialLogin(ctx, timeout)
		if err != nil {
			return err
		}
		return session.Close()
	}
	session, err := m.newLogin(ctx, timeout)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.proof = session
	m.mu.Unlock()
	return nil
}

// opened notes a session, which then ends with the instance at the latest.
func (m *Machine) opened(session *guest.Session) *guest.Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, session)
	return session
}

// takeProof returns EnsureLogin's session if nobody had it and it still works.
func (m *Machine) takeProof(ctx context.Context) *guest.Session {
	m.mu.Lock()
	session := m.proof
	m.proof = nil
	m.mu.Unlock()
	if session == nil || session.IsResponsive(ctx, firstAttempt) {
		return session
	}
	_ = session.Close()
	return nil
}
