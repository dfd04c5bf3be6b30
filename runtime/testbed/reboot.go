// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/qmp"
)

// Reboot resets the guest, waits until its next boot accepts a login, and returns a session
// of that boot and the instance that it is in: the guest may move meanwhile. It ends
// early when QEMU ends. Like that of [Instance.Reset], the reset is requested.
func (i *Instance) Reboot(ctx context.Context, timeout time.Duration) (*guest.Session, *Instance, error) {
	return i.reboot(ctx, timeout, func(ctx context.Context, i *Instance) (string, error) {
		return i.BootID(ctx, false), i.Reset(ctx)
	})
}

// RebootInShell is Reboot by a command of the guest, the param reboot_command, in a new
// session. A reset that comes within login_timeout after the timeout is requested too.
func (i *Instance) RebootInShell(ctx context.Context, timeout time.Duration) (*guest.Session, *Instance, error) {
	bed := i.Host.bed
	return i.reboot(ctx, timeout, func(ctx context.Context, i *Instance) (string, error) {
		session, err := i.logIn(ctx, timeout)
		if err != nil {
			return "", err
		}
		defer func() { _ = session.Close() }()
		before := i.readBootID(ctx, session)
		bed.setRebootAsked(i.Name(), time.Now().Add(timeout+i.Config().Login.Timeout))
		_, err = session.Cmd(ctx, i.Config().Login.RebootCommand, timeout)
		if _, failed := errors.AsType[*guest.CmdError](err); failed {
			bed.setRebootAsked(i.Name(), time.Time{})
			return "", err
		}
		return before, nil // any other error is the end of the session by that of the guest
	})
}

// errReset is the cause when the guest was reset.
var errReset = errors.New("the guest was reset")

// reboot asks the guest's instance for a reset, and logs in to the boot that follows it.
// ask returns the boot ID before, "" if it is unknown: then the reset alone proves that
// the login is to another boot. The context of ask ends with the reset.
func (i *Instance) reboot(ctx context.Context, timeout time.Duration, ask func(context.Context, *Instance) (string, error)) (*guest.Session, *Instance, error) {
	bed, deadline := i.Host.bed, time.Now().Add(timeout)
	i.dropCheckedSession()
	untilReset, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer bed.Watch(func(at *Instance, e qmp.Event) {
		if at.Name() == i.Name() && e.Name == "RESET" && at.HasGuest() {
			cancel(errReset)
		}
	})()
	asked, before := false, ""
	return bed.whereGuestIs(ctx, i, func(ctx context.Context, i *Instance) (*guest.Session, error) {
		if !asked {
			id, err := askUntil(ctx, untilReset, i, ask)
			if err != nil && untilReset.Err() == nil {
				return nil, err
			}
			asked, before = true, id
		}
		if err := i.awaitReset(ctx, untilReset, time.Until(deadline)); err != nil {
			return nil, err
		}
		session, err := i.logIn(ctx, time.Until(deadline))
		if err != nil {
			return nil, err
		}
		if now := i.readBootID(ctx, session); now != "" && now == before {
			return nil, fmt.Errorf("%s: it was reset, but has not booted: its boot ID is still %s", i, now)
		}
		return session, nil
	})
}

// askUntil calls ask with a context that also ends with untilReset.
func askUntil(ctx, untilReset context.Context, i *Instance, ask func(context.Context, *Instance) (string, error)) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(untilReset, func() { cancel(context.Cause(untilReset)) })()
	return ask(ctx, i)
}

// awaitReset waits until untilReset has ended.
func (i *Instance) awaitReset(ctx, untilReset context.Context, timeout time.Duration) error {
	ctx, stop := i.loginContext(ctx, timeout)
	defer stop()
	select {
	case <-untilReset.Done():
		return nil
	case <-ctx.Done():
		return i.noLogin(ctx, errors.New("the guest was not reset"))
	}
}

// whereGuestIs calls f with the instance that the guest is in, at first i, and again with
// the next one when the guest has moved during the call, whose context ends then.
func (b *Bed) whereGuestIs(ctx context.Context, i *Instance, f func(context.Context, *Instance) (*guest.Session, error)) (*guest.Session, *Instance, error) {
	for {
		here, cancel := context.WithCancelCause(ctx)
		in := i // an event may still be passed on when the watch has ended
		look := func(*Instance, qmp.Event) {
			if err := b.MovedFrom(in); err != nil {
				cancel(err)
			}
		}
		stop := b.Watch(look)
		look(nil, qmp.Event{}) // it may have moved before
		session, err := f(here, i)
		stop()
		_, moved := errors.AsType[*MovedError](context.Cause(here))
		cancel(nil)
		next := b.Current(i.Name())
		if err == nil || !moved || next == nil || ctx.Err() != nil {
			return session, i, err
		}
		i = next
	}
}

// setRebootAsked records until when the reset may come of a reboot that a VM's guest was
// asked for.
func (b *Bed) setRebootAsked(vm string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rebootAsked[vm] = until
}

// takeRebootAsked says whether a reset of a VM's guest is that of a reboot that it was asked
// for. One reset is.
func (b *Bed) takeRebootAsked(vm string, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.rebootAsked[vm]
	delete(b.rebootAsked, vm)
	return at.Before(until)
}
