// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"net"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Launcher starts an instance, as [vm.Start] does.
type Launcher func(context.Context, vm.Placement, vm.Config, vm.Shape, vm.Launch) (QEMU, error)

func startQEMU(ctx context.Context, placement vm.Placement, c vm.Config, shape vm.Shape, launch vm.Launch) (QEMU, error) {
	i, err := vm.Start(ctx, placement, c, shape, launch)
	if err != nil {
		return nil, err
	}
	return i, nil
}

// QEMU is a started QEMU: [vm.Instance], which documents the methods, or a scripted one
// of a test.
type QEMU interface {
	Control
	Lifetime
	Dialer

	Name() string
	ID() int
	Config() vm.Config
	Spec() vm.Spec
	Monitor() *qmp.Conn
}

// Control controls the guest.
type Control interface {
	Status(context.Context) (string, error)
	Cont(context.Context) error
	Stop(context.Context) error
	Reset(context.Context) error
}

// Lifetime is the state of QEMU's process, and its end.
type Lifetime interface {
	Exited() <-chan struct{}
	Exit(context.Context) *vm.ExitError
	Fault() *vm.ExitError
	ProcessState(context.Context) (string, error)
	LogTail(context.Context) []string
	Destroy(context.Context) error
	Kill(context.Context) error
}

// Dialer connects to the guest.
type Dialer interface {
	DialConsole(context.Context) (net.Conn, error)
	DialClock(context.Context) (net.Conn, error)
	DialShell(context.Context) (net.Conn, error)
	ShellAddress(context.Context) (string, error)
	KnownAddress() string
}
