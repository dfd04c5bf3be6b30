// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// rdma migrates over RDMA. The hosts' addresses for migrations (mig_address) must be those
// of RDMA devices. QEMU accepts TLS's credentials for it, and XBZRLE before 8.1, and sends
// all in clear and as it is.
type rdma struct {
	form

	ports portRange
	port  int
}

func newRDMA(o options) Transport { return &rdma{form: o.form(), ports: o.port} }

func (*rdma) Traits() Traits { return Traits{ReturnPath: true, Direct: true} }

func (*rdma) Launch(Role) vm.Launch { return vm.Launch{} }

// findRDMA prints what a host lacks, a line each. The kernel's RDMA connection manager is
// what QEMU opens first; a port's state is like "4: ACTIVE".
const findRDMA = `
[ -e /dev/infiniband/rdma_cm ] || echo 'no RDMA connection manager (/dev/infiniband/rdma_cm; modprobe rdma_ucm)'
if ! ls /sys/class/infiniband/* >/dev/null 2>&1; then
	echo 'no RDMA device (/sys/class/infiniband)'
elif ! grep -qs ACTIVE /sys/class/infiniband/*/ports/*/state; then
	echo 'no active port of an RDMA device (/sys/class/infiniband/*/ports/*/state)'
fi
:`

// Check finds what the hosts lack.
func (*rdma) Check(ctx context.Context, source, destination Machine) error {
	var lacks []string
	for _, machine := range []Machine{source, destination} {
		out, err := machine.Run(ctx, host.Command{Script: findRDMA, Timeout: programTimeout})
		if err != nil {
			return fmt.Errorf("look for what mig_protocol = rdma needs: %w", err)
		}
		for line := range strings.Lines(string(out.Stdout)) {
			if line = strings.TrimSpace(line); line != "" {
				lacks = append(lacks, machine.Name()+" has "+line)
			}
		}
	}
	if len(lacks) > 0 {
		return result.Skip.Errorf("mig_protocol = rdma: %s", strings.Join(lacks, "; "))
	}
	return nil
}

func (t *rdma) Listen(ctx context.Context, destination Peer) error {
	if !t.ports.any() {
		return t.ports.try(destination, func(port int) error {
			t.port = port
			return t.incoming(ctx, destination, rdmaAddress(destination.Address(), port))
		})
	}
	var err error
	if t.port, err = destination.Machine().FreePort(ctx); err != nil { // QEMU would not say which one it has chosen
		return err
	}
	return t.incoming(ctx, destination, rdmaAddress(destination.Address(), t.port))
}

func (t *rdma) Send(ctx context.Context, source, destination Peer) error {
	return t.migrate(ctx, source, rdmaAddress(destination.Address(), t.port))
}
