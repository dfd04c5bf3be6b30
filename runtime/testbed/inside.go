// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"fmt"
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
