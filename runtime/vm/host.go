// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"io/fs"
	"net"

	"github.com/mhmig/mhmig/runtime/host"
)

// Host is what this package needs of the host that a VM runs on: see [host.Host],
// which says what each method does.
type Host interface {
	Name() string
	Config() host.Config
	Run(context.Context, host.Command) (host.Output, error)
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	ReadFile(ctx context.Context, name string) ([]byte, error)
	WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
	Exists(ctx context.Context, name string) (bool, error)
	RemoveAll(ctx context.Context, name string) error
}
