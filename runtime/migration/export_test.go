// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"

	"github.com/mhmig/mhmig/runtime/vm"
)

// For tests.
var (
	DescribeProgress = describeProgress
	DescribeSteps    = describeSteps
)

// fileTransport is a transport for tests: a file between two QEMUs on one machine,
// which is loaded when the source has written all of it.
type fileTransport struct{}

func (fileTransport) Traits() Traits { return Traits{OneMachine: true, LoadsAfterSource: true} }

func (fileTransport) Launch(role Role) vm.Launch {
	return vm.Launch{Arguments: []string{"-file-transport", string(role)}}
}

func (fileTransport) Listen(ctx context.Context, destination Peer) error {
	return incoming(ctx, destination, "file:"+destination.Socket())
}

func (fileTransport) Send(ctx context.Context, source, destination Peer) error {
	return migrate(ctx, source, "file:"+destination.Socket())
}

// UseFileTransport makes m use a fileTransport.
func UseFileTransport(m *Migration) {
	m.traits = fileTransport{}.Traits()
	for _, mv := range m.moves {
		mv.transport, mv.features = fileTransport{}, []Feature{mv.limits, holding{m}, newMigrationEvents(m.options, m.traits)}
	}
}

// NewTransport returns the transport of that name, with these params.
func NewTransport(name string, params map[string]string) (Transport, error) {
	o, err := parseOptions(params)
	if err != nil {
		return nil, err
	}
	return transports[name](o), nil
}
