// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Account is account, DescribeSteps describeSteps, for tests.
var (
	Account       = account
	DescribeSteps = describeSteps
)

// A transport for tests: what a new one is made of.

// saved is a file between the two QEMUs of one machine, beside the destination's
// socket: what it holds is loaded when the source has written all of it.
type saved struct{}

func (saved) Traits() Traits { return Traits{OneMachine: true, LoadsAfterSource: true} }

func (saved) Launch(role Role) vm.Launch {
	return vm.Launch{Arguments: []string{"-only-saved", string(role)}}
}

func (saved) Listen(ctx context.Context, destination Peer) error {
	return incoming(ctx, destination, "file:"+destination.Socket())
}

func (saved) Send(ctx context.Context, source, destination Peer) error {
	return migrate(ctx, source, "file:"+destination.Socket())
}

// BySaved makes m use it.
func BySaved(m *Migration) {
	m.traits = saved{}.Traits()
	for _, mv := range m.moves {
		mv.transport, mv.features = saved{}, []Feature{mv.limits, newMigrationEvents(m.options, m.traits)}
	}
}

// NewTransport is the transport of that name, made of params.
func NewTransport(name string, params map[string]string) (Transport, error) {
	o, err := parseOptions(params)
	if err != nil {
		return nil, err
	}
	return transports[name](o), nil
}

// Transports are the names of all transports.
func Transports() []string {
	var names []string
	for name := range transports {
		names = append(names, name)
	}
	return names
}

// Protocols are the values of mig_protocol that the registry of params allows.
func Protocols() []string {
	p, _ := api.Find("mig_protocol")
	return p.Choices
}
