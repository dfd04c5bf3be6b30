// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// For tests.
var (
	DescribeProgress = describeProgress
	DescribeSteps    = describeSteps
	LeastAdvanced    = leastAdvanced
)

// fileTransport is a transport for tests: a file between two QEMUs on one machine,
// which is loaded when the source has written all of it.
type fileTransport struct{}

func (fileTransport) Traits() Traits { return Traits{OneMachine: true, LoadsAfterSource: true} }

func (fileTransport) Launch(Role) vm.Launch { return vm.Launch{SharedMemory: true} }

func (fileTransport) Listen(ctx context.Context, destination Peer) error {
	return form{}.incoming(ctx, destination, fileAddress(destination.Spec().Migration, 0))
}

func (fileTransport) Send(ctx context.Context, source, destination Peer) error {
	return form{}.migrate(ctx, source, fileAddress(destination.Spec().Migration, 0))
}

// UseFileTransport makes m use a fileTransport.
func UseFileTransport(m *Migration) {
	m.traits = fileTransport{}.Traits()
	for _, mv := range m.moves {
		mv.transport, mv.features = fileTransport{}, []Feature{mv.limits, holding{m}, newMigrationEvents(m.options, m.traits)}
	}
}

// WaitPostcopy waits in post-copy until holds says so of the state of a VM's move.
func WaitPostcopy(ctx context.Context, m *Migration, vm string, holds func(State) bool) error {
	return m.moves[vm].waitPostcopy(ctx, "recover", holds, "it holds")
}

// EndMove ends the move of a VM, the only one, as completed.
func EndMove(m *Migration, vm string) {
	m.moves[vm].setState(qmp.MigrationCompleted)
	m.Source.endMove(nil)
}

// namedPeer is an end that is only named.
type namedPeer struct {
	Peer
	name string
}

func (p namedPeer) String() string { return p.name }

// CheckFeatures lets the features that params switch on judge a move. answer has the
// replies of both ends.
func CheckFeatures(ctx context.Context, params map[string]string, o *Outcome, answer func(role Role, command string) string) error {
	opts, err := parseOptions(params)
	if err != nil {
		return err
	}
	for _, s := range o.Samples {
		o.throttling.note(s)
	}
	o.ends = map[Role]Peer{SourceRole: namedPeer{name: "vm1@host1"}, DestinationRole: namedPeer{name: "vm1@host2"}}
	o.ask = func(_ context.Context, role Role, command string, reply any) error {
		return json.Unmarshal([]byte(answer(role, command)), reply)
	}
	o.log = func(_ context.Context, role Role) []string { return strings.Split(answer(role, "log"), "\n") }
	var all []Feature
	for _, f := range features {
		all = append(all, f(opts, Traits{ReturnPath: true}))
	}
	return checkAll(ctx, all, o)
}

// NewTransport returns the transport of that name, with these params.
func NewTransport(name string, params map[string]string) (Transport, error) {
	all := map[string]string{"mig_protocol": name}
	maps.Copy(all, params)
	o, err := parseOptions(all)
	if err != nil {
		return nil, err
	}
	return transports[name](o), nil
}

// FeatureTypes are the types of features, and whether each is [Checked].
func FeatureTypes() map[string]bool {
	all := map[string]bool{}
	for _, f := range append(made(options{}), holding{}) {
		_, all[typeName(f)] = f.(Checked)
	}
	return all
}

// FeaturesOn are the types of the features that params switch on.
func FeaturesOn(params map[string]string) ([]string, error) {
	opts, err := parseOptions(params)
	if err != nil {
		return nil, err
	}
	var on []string
	for _, f := range made(opts) {
		n := 0
		for _, role := range []Role{SourceRole, DestinationRole} {
			n += len(f.Capabilities(role)) + len(f.Parameters(role))
		}
		if n > 0 {
			on = append(on, typeName(f))
		}
	}
	return on, nil
}

func made(o options) []Feature {
	all := []Feature{newLimits(o, Traits{})}
	for _, feature := range features {
		all = append(all, feature(o, Traits{}))
	}
	return all
}

func typeName(x any) string {
	return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", x), "*"), "migration.")
}

// TransportTypes are the types of the transports by the values of mig_protocol.
func TransportTypes() map[string]string {
	all := map[string]string{}
	for name, transport := range transports {
		all[name] = typeName(transport(options{}))
	}
	return all
}

// Pass takes a VM's move through statuses, without a moment between them.
func (m *Migration) Pass(vm string, statuses ...State) {
	for _, status := range statuses {
		m.moves[vm].setState(status)
	}
}
