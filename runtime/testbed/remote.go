// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"io"
	"io/fs"
	"net"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Remote is a host of a bed: a [host.Host], which documents the methods, or in tests a
// local folder.
type Remote interface {
	vm.Host
	Address() string
	Facts(context.Context) (host.Facts, error)
	FreePort(context.Context) (int, error)
	ReservePort(ctx context.Context, first, last int) (port int, release func(), err error)
	Start(context.Context, host.Command) (*host.Process, error)
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	MkdirAll(ctx context.Context, name string, perm fs.FileMode) error
	Upload(ctx context.Context, local, remote string) error
	Download(ctx context.Context, remote, local string) error
	CopyTo(ctx context.Context, name string, w io.Writer) error
	// Lost is closed when the connection is lost, and Err returns why; nil: it is not.
	Lost() <-chan struct{}
	Err() error
}

// Remotes converts hosts.
func Remotes(hosts []*host.Host) []Remote {
	remotes := make([]Remote, len(hosts))
	for i, h := range hosts {
		remotes[i] = h
	}
	return remotes
}
