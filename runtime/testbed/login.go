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
	// minFirstByte is how long a guest gets for its first word on a new
	// connection; once it has spoken, a login may take longestLogin. A user-mode
	// NIC accepts connections for a guest that still boots, and is slow to ask
	// again, so a silent connection must be given up soon.
	minFirstByte = 300 * time.Millisecond
	longestLogin = 30 * time.Second
	// silence is how long nothing is said of a login that takes its time.
	silence = 10 * time.Second
	// attemptPause lies between two tries that were refused at once.
	attemptPause = 50 * time.Millisecond
	// monitorCheck is how often QEMU is asked whether it is well while its guest is
	// waited for.
	monitorCheck = 5 * time.Second
	// proofTimeout is for a session that worked a moment ago.
	proofTimeout = 5 * time.Second
)

// credentials are what the VM's params say of logins in its guest.
func (i *Instance) credentials() guest.Credentials {
	login := i.Config().Login
	return guest.Credentials{Username: login.Username, Password: login.Password, Prompt: login.Prompt}
}

// WaitForLogin returns a new SSH session in the guest. It tries until timeout
// is over: guests boot. It ends early when QEMU ends, or when the guest refuses
// the username and password.
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
	ctx, stop := i.loginTime(ctx, timeout)
	defer stop()
	began := time.Now()
	told := began
	var last error // of a try that had its time
	for {
		// A slow guest needs longer for its first word too.
		session, err := i.tryLogin(ctx, login, credentials, max(minFirstByte, time.Since(began)/8))
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
		if time.Since(told) > silence {
			told = time.Now()
			i.log.Info("no login yet", "after", time.Since(began).Round(time.Second), "last_try", last)
		}
		select {
		case <-time.After(attemptPause):
		case <-ctx.Done():
			return nil, i.noLogin(ctx, last)
		}
	}
}

// tryLogin makes one login; firstByte is how long the guest may be silent at
// first.
func (i *Instance) tryLogin(ctx context.Context, login loginFunc, credentials guest.Credentials, firstByte time.Duration) (*guest.Session, error) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, longestLogin, fmt.Errorf("not done in %v", longestLogin))
	defer cancelTimeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := i.DialShell(ctx)
	if err != nil {
		return nil, err
	}
	heard := &firstByteConn{Conn: conn}
	timer := time.AfterFunc(firstByte, func() {
		if !heard.anything.Load() {
			cancel(errors.New("nothing answers there"))
		}
	})
	defer timer.Stop()
	return login(ctx, heard, credentials)
}

// firstByteConn is a connection that knows whether anything has come.
type firstByteConn struct {
	net.Conn
	anything atomic.Bool
}

func (c *firstByteConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.anything.Store(true)
	}
	return n, err
}

// errEnded is the cause when QEMU has ended under a login.
var errEnded = errors.New("QEMU has ended")

// loginTime is the time that a login has: at most timeout, and only while QEMU
// is there and answers its monitor.
func (i *Instance) loginTime(ctx context.Context, timeout time.Duration) (_ context.Context, stop func()) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("login_timeout (%v) on %s is over", timeout, i))
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

// noLogin is the error of a guest that cannot be logged in to: why, and what
// its console says.
func (i *Instance) noLogin(ctx context.Context, last error) error {
	select {
	case <-i.Exited():
		return i.ended(context.WithoutCancel(ctx), fmt.Errorf("%s: %w", i, errNoLogin))
	default:
	}
	err := fmt.Errorf("%s: %w: %w", i, errNoLogin, context.Cause(ctx))
	if last != nil {
		err = fmt.Errorf("%w (last try: %w)", err, last)
	}
	if resets := i.describeResets(); resets != "" {
		err = fmt.Errorf("%w; %s", err, resets)
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

// WaitForSerialLogin returns a session on the guest's serial console.
func (i *Instance) WaitForSerialLogin(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if i.Console == nil {
		return nil, fmt.Errorf("%s: no serial console: the param serials is empty", i)
	}
	credentials := i.credentials()
	ctx, stop := i.loginTime(ctx, timeout)
	defer stop()
	session, err := i.Console.Login(ctx, credentials)
	if err != nil {
		return nil, i.noLogin(ctx, err)
	}
	return i.opened(session), nil
}

// EnsureLogin proves that the guest accepts a login: by SSH, or on the serial
// console for a VM without a NIC. The next WaitForLogin gets the session that
// the login was checked with, so that it is not made twice.
func (i *Instance) EnsureLogin(ctx context.Context, timeout time.Duration) error {
	if !i.Config().Login.NIC {
		session, err := i.WaitForSerialLogin(ctx, timeout)
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

// bootIDTimeout is how long a guest may take to tell its boot ID.
const bootIDTimeout = 5 * time.Second

// bootID is what Linux makes anew at each boot.
var bootID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// BootID asks a Linux guest for the ID of its boot, beside what its sessions do; if
// there are none and login says so, in one of its own. It is "" where nobody is
// logged in by SSH, or the guest does not tell.
func (i *Instance) BootID(ctx context.Context, login bool) string {
	ctx, cancel := context.WithTimeoutCause(ctx, bootIDTimeout, fmt.Errorf("no answer within %v", bootIDTimeout))
	defer cancel()
	i.mu.Lock()
	var sessions []*guest.Session // those that no reset has cut off
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
		said, err := session.ExecChannel(ctx, "read -r id </proc/sys/kernel/random/boot_id && echo $id")
		if id := strings.TrimSpace(said); err == nil && bootID.MatchString(id) {
			return id
		}
		i.log.Debug("no boot ID", "error", err)
	}
	return ""
}

// opened notes a session, which then ends with the instance at the latest.
func (i *Instance) opened(session *guest.Session) *guest.Session {
	i.Host.bed.setRebooting(i.Name(), false)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sessions = append(i.sessions, openSession{session, len(i.resets)})
	return session
}

// takeCheckedSession returns EnsureLogin's session if nobody had it and it still works.
func (i *Instance) takeCheckedSession(ctx context.Context) *guest.Session {
	i.mu.Lock()
	session := i.checked
	i.checked = nil
	i.mu.Unlock()
	if session == nil || session.IsResponsive(ctx, proofTimeout) {
		return session
	}
	_ = session.Close()
	return nil
}
