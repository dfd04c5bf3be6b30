// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"net"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Launcher starts an instance, as [vm.Start] does.
type Launcher func(context.Context, vm.Place, vm.Config, vm.Shape, vm.Launch) (Instance, error)

func startQEMU(ctx context.Context, place vm.Place, c vm.Config, shape vm.Shape, launch vm.Launch) (Instance, error) {
	i, err := vm.Start(ctx, place, c, shape, launch)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Instance is what a bed needs of a QEMU that was started: see [vm.Instance], which
// says what each method does. Tests have a scripted one.
type Instance interface {
	Control
	Lifetime
	Dialer

	Name() string
	ID() int
	Config() vm.Config
	Spec() vm.Spec
	Monitor() *qmp.Conn
}

// Control is how a guest is controlled.
type Control interface {
	Status(context.Context) (string, error)
	Cont(context.Context) error
	Stop(context.Context) error
	Reset(context.Context) error
}

// Lifetime is what is known of QEMU as a process, and its end.
type Lifetime interface {
	Exited() <-chan struct{}
	Exit(context.Context) *vm.ExitError
	Fault() *vm.ExitError
	ProcessState(context.Context) (string, error)
	LastWords(context.Context) []string
	Destroy(context.Context) error
}

// Dialer connects to the guest.
type Dialer interface {
	DialConsole(context.Context) (net.Conn, error)
	DialClock(context.Context) (net.Conn, error)
	DialShell(context.Context) (net.Conn, error)
	ShellAddress(context.Context) (string, error)
}
