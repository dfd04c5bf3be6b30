// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	// minFirstByte is how long a guest may take for the first byte on a new
	// connection; after that, a login may take loginLimit. A user-mode NIC accepts
	// connections for a guest that still boots, and retries slowly, so a silent
	// connection must be closed soon.
	minFirstByte = 300 * time.Millisecond
	loginLimit   = 30 * time.Second
	// installedFirstByte is minFirstByte for an installed guest, whose SSH server starts a
	// process for each connection: more of them than it can start make it slower still.
	installedFirstByte = 5 * time.Second
	// loginLogInterval is how often the log says that there is no login yet.
	loginLogInterval = 10 * time.Second
	// attemptPause is the pause between two attempts.
	attemptPause = 50 * time.Millisecond
	// monitorCheck is how often QEMU's monitor is checked during a login.
	monitorCheck = 5 * time.Second
	// sessionCheckTimeout is for checking a session that has just worked.
	sessionCheckTimeout = 5 * time.Second
)

// credentials are the guest's credentials, from the VM's params.
func (i *Instance) credentials() guest.Credentials {
	login := i.Config().Login
	return guest.Credentials{Username: login.Username, Password: login.Password, Prompt: login.Prompt}
}

// WaitForLogin returns a new SSH session in the guest. It retries until timeout, since
// the guest may still boot. It ends early when QEMU ends, or when the guest refuses the
// username and password.
func (i *Instance) WaitForLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if session := i.takeCheckedSession(ctx); session != nil {
		return session, nil
	}
	return i.newLogin(ctx, timeout, guest.SSH)
}

// loginFunc logs in over a connection: guest.SSH, or guest.LogIn.
type loginFunc func(context.Context, net.Conn, guest.Credentials) (*guest.Session, error)

func (i *Instance) newLogin(ctx context.Context, timeout time.Duration, login loginFunc) (*guest.Session, error) {
	credentials := i.credentials()
	ctx, stop := i.loginContext(ctx, timeout)
	defer stop()
	firstByte := minFirstByte
	if config := i.Config(); config.HasInstalledDisk() {
		firstByte = installedFirstByte
	}
	began := time.Now()
	logged := began
	var last error // of an attempt that the timeout has not cut short
	for {
		// A slow guest also takes longer for the first byte.
		session, err := i.tryLogin(ctx, login, credentials, max(firstByte, time.Since(began)/8))
		if err == nil {
			i.log.Debug("logged in", "took", time.Since(began).Round(time.Millisecond))
			return i.opened(session), nil
		}
		if errors.Is(err, guest.ErrRefused) {
			return nil, fmt.Errorf("%s: %w (params username, password)", i, err)
		}
		if errors.Is(err, qmp.ErrSilent) {
			return nil, fmt.Errorf("%s: no login: %w", i, err)
		}
		if ctx.Err() == nil {
			last = err
		}
		if time.Since(logged) > loginLogInterval {
			logged = time.Now()
			i.log.Info("no login yet", "after", time.Since(began).Round(time.Second), "last_attempt", last)
		}
		select {
		case <-time.After(attemptPause):
		case <-ctx.Done():
			return nil, i.noLogin(ctx, last)
		}
	}
}

// tryLogin makes one login attempt; firstByte is how long the guest may take for the
// first byte.
func (i *Instance) tryLogin(ctx context.Context, login loginFunc, credentials guest.Credentials, firstByte time.Duration) (*guest.Session, error) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, loginLimit, fmt.Errorf("no login within %v", loginLimit))
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := i.DialShell(ctx)
	if err != nil {
		return nil, err
	}
	watched := &firstByteConn{Conn: conn}
	timer := time.AfterFunc(firstByte, func() {
		if !watched.received.Load() {
			cancel(errors.New("no answer"))
		}
	})
	defer timer.Stop()
	return login(ctx, watched, credentials)
}

// firstByteConn is a connection that records whether data was received.
type firstByteConn struct {
	net.Conn
	received atomic.Bool
}

func (c *firstByteConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.received.Store(true)
	}
	return n, err
}

// errEnded is the cause when QEMU ends during a login.
var errEnded = errors.New("QEMU has ended")

// loginContext returns the context of a login: it ends after timeout, and when QEMU
// ends or does not answer its monitor.
func (i *Instance) loginContext(ctx context.Context, timeout time.Duration) (_ context.Context, stop func()) {
	return i.guestContext(ctx, timeout, fmt.Errorf("login_timeout (%v) on %s expired", timeout, i))
}

// guestContext returns a context for the use of the guest: it ends after timeout, for
// which late is the cause, and when QEMU ends or does not answer its monitor.
func (i *Instance) guestContext(ctx context.Context, timeout time.Duration, late error) (_ context.Context, stop func()) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, timeout, late)
	ctx, cancel := context.WithCancelCause(ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		check := time.NewTicker(monitorCheck)
		defer check.Stop()
		for {
			select {
			case <-i.Exited():
				cancel(errEnded)
				return
			case <-check.C:
				if _, err := i.Status(ctx); errors.Is(err, qmp.ErrSilent) {
					cancel(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		cancelTimeout()
		<-finished
	}
}

// noLogin is the error of a failed login: the reason, and the end of the guest's
// console.
func (i *Instance) noLogin(ctx context.Context, last error) error {
	select {
	case <-i.Exited():
		return i.ended(context.WithoutCancel(ctx), fmt.Errorf("%s: %w", i, ErrNoLogin))
	default:
	}
	err := fmt.Errorf("%s: %w: %w", i, ErrNoLogin, context.Cause(ctx))
	if last != nil {
		err = fmt.Errorf("%w (last attempt: %w)", err, last)
	}
	if resets := i.describeResets(); resets != "" {
		err = fmt.Errorf("%w; %s", err, resets)
	}
	if state := i.State(); state != "running" {
		return fmt.Errorf("%w; its guest does not run: it is %s", err, state)
	}
	if i.Console == nil {
		return err
	}
	tail := i.Console.Tail(consoleTail)
	if tail == "" {
		return fmt.Errorf("%w; the guest's console is empty: does it boot?", err)
	}
	return fmt.Errorf("%w; the guest's console ends:\n  %s", err, strings.ReplaceAll(tail, "\n", "\n  "))
}

// NoAccessError is the error of a scenario that wants a way into the guest which the VM has
// not by its params: nobody has failed.
type NoAccessError struct {
	instance   *Instance
	way, param string
}

func (e *NoAccessError) Error() string {
	return fmt.Sprintf("%s: no %s: the param %s is empty", e.instance, e.way, e.param)
}

// WaitForSerialLogin returns a session on the guest's serial console.
func (i *Instance) WaitForSerialLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if i.Console == nil {
		return nil, &NoAccessError{i, "serial console", "serials"}
	}
	credentials := i.credentials()
	ctx, stop := i.loginContext(ctx, timeout)
	defer stop()
	session, err := i.Console.Login(ctx, credentials)
	if err != nil {
		return nil, i.noLogin(ctx, err)
	}
	return i.opened(session), nil
}

// logIn returns a new session: by SSH, or on the serial console for a VM without a NIC.
func (i *Instance) logIn(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if !i.Config().Login.NIC {
		return i.WaitForSerialLogin(ctx, timeout)
	}
	return i.newLogin(ctx, timeout, guest.SSH)
}

// EnsureLogin checks that the guest accepts a login: by SSH, or on the serial console
// for a VM without a NIC. The next WaitForLogin returns the session of this check, to
// avoid a second login.
func (i *Instance) EnsureLogin(ctx context.Context, timeout time.Duration) error {
	if !i.Config().Login.NIC {
		session, err := i.logIn(ctx, timeout)
		if err != nil {
			return err
		}
		return session.Close()
	}
	session, err := i.newLogin(ctx, timeout, guest.LogIn)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.checked = session
	i.mu.Unlock()
	return nil
}

// bootIDTimeout limits reading a guest's boot ID.
const bootIDTimeout = 5 * time.Second

// bootID matches Linux's boot ID, a random UUID of each boot.
var bootID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// BootID reads the boot ID of a Linux guest in one of its SSH sessions, without
// disturbing that; if there is none and login is set, in a new one. It is "" if there is
// no session, or the ID cannot be read.
func (i *Instance) BootID(ctx context.Context, login bool) string {
	ctx, cancel := context.WithTimeoutCause(ctx, bootIDTimeout, fmt.Errorf("no answer within %v", bootIDTimeout))
	defer cancel()
	i.mu.Lock()
	var sessions []*guest.Session // those opened since the last reset
	for _, s := range i.sessions {
		if s.resets == len(i.resets) {
			sessions = append(sessions, s.Session)
		}
	}
	i.mu.Unlock()
	sessions = slices.DeleteFunc(sessions, func(s *guest.Session) bool { return s.Err() != nil })
	if len(sessions) == 0 && login && len(i.Params().Objects("nics")) > 0 {
		if session, err := i.newLogin(ctx, bootIDTimeout, guest.LogIn); err == nil {
			sessions = append(sessions, session)
		}
	}
	for _, session := range slices.Backward(sessions) {
		if id := i.readBootID(ctx, session); id != "" {
			return id
		}
	}
	return ""
}

// readBootID reads the boot ID in a session, "" if it cannot be read.
func (i *Instance) readBootID(ctx context.Context, session *guest.Session) string {
	ctx, cancel := context.WithTimeoutCause(ctx, bootIDTimeout, fmt.Errorf("no answer within %v", bootIDTimeout))
	defer cancel()
	output, err := session.ExecChannel(ctx, "read -r id </proc/sys/kernel/random/boot_id && echo $id")
	if id := strings.TrimSpace(output); err == nil && bootID.MatchString(id) {
		return id
	}
	i.log.Debug("no boot ID", "error", err)
	return ""
}

// opened records a session, so that it is closed with the instance.
func (i *Instance) opened(session *guest.Session) *guest.Session {
	i.Host.bed.endReboot(i.Name())
	i.mu.Lock()
	var ended []openSession // they would stay in memory
	i.sessions = slices.DeleteFunc(i.sessions, func(s openSession) bool {
		if s.Err() == nil {
			return false
		}
		ended = append(ended, s)
		return true
	})
	i.sessions = append(i.sessions, openSession{session, len(i.resets)})
	i.mu.Unlock()
	for _, s := range ended {
		_ = s.Close()
	}
	return session
}

// takeCheckedSession returns EnsureLogin's session, once, if it still works.
func (i *Instance) takeCheckedSession(ctx context.Context) *guest.Session {
	i.mu.Lock()
	session := i.checked
	i.checked = nil
	i.mu.Unlock()
	if session == nil || session.IsResponsive(ctx, sessionCheckTimeout) {
		return session
	}
	_ = session.Close()
	return nil
}

// dropCheckedSession closes EnsureLogin's session, as the guest is about to reboot.
func (i *Instance) dropCheckedSession() {
	i.mu.Lock()
	session := i.checked
	i.checked = nil
	i.mu.Unlock()
	if session != nil {
		_ = session.Close()
	}
}
