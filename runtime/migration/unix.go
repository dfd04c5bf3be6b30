// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/vm"
)

// unix migrates over a unix socket in the destination's folder, between two QEMUs on
// one machine.
type unix struct{ form }

func newUnix(o options) Transport { return unix{o.form()} }

func (unix) Traits() Traits { return Traits{ReturnPath: true, Channels: true, OneMachine: true} }

func (unix) Launch(Role) vm.Launch { return vm.Launch{} }

func (t unix) Listen(ctx context.Context, destination Peer) error {
	return t.incoming(ctx, destination, unixAddress(destination.Spec().Migration))
}

func (t unix) Send(ctx context.Context, source, destination Peer) error {
	return t.migrate(ctx, source, unixAddress(destination.Spec().Migration))
}

func (unix) listenAgain(_ context.Context, destination Peer, listen func(uri string) error) error {
	return listen(unixAddress(destination.Spec().Migration).uri)
}

// connectionCount: in /proc/net/unix an end that was accepted has the path of the
// listening socket, and the state 03, connected.
func (unix) connectionCount(destination Peer) string {
	socket := shellescape.Quote(destination.Spec().Migration)
	return fmt.Sprintf(`awk -v socket=%s '$6 == "03" && $NF == socket' /proc/net/unix | wc -l`, socket)
}
