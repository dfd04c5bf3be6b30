// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/mhmig/mhmig/runtime/guest"
)

// ReadClock reads the guest's clock in a new session, see [guest.Session.Clock].
func (i *Instance) ReadClock(ctx context.Context, timeout time.Duration) (read guest.ClockReading, err error) {
	err = i.inside(ctx, timeout, i.logIn, func(ctx context.Context, s *guest.Session, rest time.Duration) error {
		read, err = s.Clock(ctx, rest)
		return err
	})
	return read, err
}

// Upload writes from to a file of the guest over SSH, see [guest.Session.Upload].
func (i *Instance) Upload(ctx context.Context, timeout time.Duration, from io.Reader, path string, perm fs.FileMode) (sum string, err error) {
	err = i.inside(ctx, timeout, i.logInBySSH, func(ctx context.Context, s *guest.Session, _ time.Duration) error {
		sum, err = s.Upload(ctx, from, path, perm)
		return err
	})
	return sum, err
}

// Download writes a file of the guest to to over SSH, see [guest.Session.Download].
func (i *Instance) Download(ctx context.Context, timeout time.Duration, path string, to io.Writer) (sum string, err error) {
	err = i.inside(ctx, timeout, i.logInBySSH, func(ctx context.Context, s *guest.Session, _ time.Duration) error {
		sum, err = s.Download(ctx, path, to)
		return err
	})
	return sum, err
}

func (i *Instance) logInBySSH(ctx context.Context, timeout time.Duration) (*guest.Session, error) {
	if !i.Config().Login.NIC {
		return nil, &NoAccessError{i, "SSH", "nics"}
	}
	return i.newLogin(ctx, timeout, guest.LogIn)
}

// inside calls do with a new session of the guest. Login and call end after timeout, and
// when QEMU ends or does not answer its monitor.
func (i *Instance) inside(ctx context.Context, timeout time.Duration, login func(context.Context, time.Duration) (*guest.Session, error), do func(ctx context.Context, s *guest.Session, rest time.Duration) error) error {
	ctx, stop := i.guestContext(ctx, timeout, fmt.Errorf("%s: not done within %v", i, timeout))
	defer stop()
	began := time.Now()
	session, err := login(ctx, timeout)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	return do(ctx, session, timeout-time.Since(began))
}
