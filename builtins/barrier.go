// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// barrierTimeout is the default timeout of a barrier: virt-test's.
const barrierTimeout = 240 * time.Second

var (
	tagParam     = Param{"tag", String, Required, "the barrier's name"}
	withParam    = Param{"hosts", Hosts, Computed("both sides or all hosts of on"), "the hosts whose parties must arrive; without it both sides of the migration, or all hosts of the call of on"}
	timeoutParam = Param{"timeout", Seconds, Value(barrierTimeout), "how long to wait for the others"}
)

// barrierFunctions make the parties of a test wait for each other.
var barrierFunctions = []*Builtin{
	{
		Name: "barrier", Waits: true, Params: []Param{tagParam, withParam, timeoutParam},
		Doc: "Waits until every party has arrived at the barrier. Fails at once when one of them cannot arrive any more: it has failed, or it is a party of the same migration or call of on and has ended. " +
			"Another one, of a host in hosts, may be started at any time, and is waited for until the timeout.",
		Returns: Nothing,
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			_, err := waitAtBarrier(t, a, nil)
			return nil, err
		},
	},
	{
		Name: "sync", Waits: true,
		Params:  []Param{tagParam, {"data", Any, None, "what the other parties get"}, withParam, timeoutParam},
		Doc:     "Waits at a barrier at which the parties exchange data.",
		Returns: Return{"dict[host, any]", "the data of each host's party (\"source\" and \"destination\" where a migration stays on one host); what a command on the host has sent is a string"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			data := arg[starlark.Value](a, "data")
			received, err := waitAtBarrier(t, a, brought{data, paramText(data)})
			if err != nil {
				return nil, err
			}
			s, out := stateOf(t), starlark.NewDict(len(received))
			for _, h := range s.bed.Hosts() {
				if err := setData(out, s.host(h), received, h.Name()); err != nil {
					return nil, err
				}
			}
			for _, role := range []migration.Role{migration.SourceRole, migration.DestinationRole} { // both on one host
				if err := setData(out, starlark.String(role), received, string(role)); err != nil {
					return nil, err
				}
			}
			return out, nil
		},
	},
}

// brought is the data that a task brings to a barrier. Tasks get its value, and commands on
// a host its text at that time: they are answered without the scenario's lock, and the
// value may change.
type brought struct {
	value starlark.Value
	text  string
}

// setData adds the data of a party to out, if there is any: None of one that has called
// barrier.
func setData(out *starlark.Dict, key starlark.Value, received map[string]any, party string) error {
	switch data := received[party].(type) {
	case brought:
		return out.SetKey(key, data.value)
	case string: // from a command on the host
		return out.SetKey(key, starlark.String(data))
	}
	if _, arrived := received[party]; arrived {
		return out.SetKey(key, starlark.None)
	}
	return nil
}

func waitAtBarrier(t *task.Task, a *Args, data any) (map[string]any, error) {
	sc := scopeOf(t)
	if sc == nil {
		return nil, misusef("only inside a migration's worker or a function started with on: the main task is on no host")
	}
	barriers, party, with := sc.barriers, sc.party, []string(nil)
	if a.Has("hosts") {
		for _, h := range arg[[]*testbed.Host](a, "hosts") {
			with = append(with, h.Name())
		}
		if len(with) == 0 {
			return nil, misusef("hosts: the list is empty")
		}
		if barriers = barriersFor(stateOf(t), sc, with); barriers != sc.barriers {
			party = sc.host.Name()
		}
	}
	tag, timeout := arg[string](a, "tag"), arg[time.Duration](a, "timeout")
	return task.Wait(t, func(ctx context.Context) (map[string]any, error) {
		return syncAt(ctx, barriers, party, tag, data, with, timeout)
	})
}

func syncAt(ctx context.Context, barriers *barrier.Group, party, tag string, data any, with []string, timeout time.Duration) (map[string]any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not all parties have arrived after %v", timeout))
	defer cancel()
	return barriers.Sync(ctx, party, tag, data, with)
}

// barriersFor returns the barriers of these hosts: the task's if all of them
// are parties, else those of all hosts.
func barriersFor(s *scenarioState, sc *scope, with []string) *barrier.Group {
	own := sc.barriers.Parties()
	for _, name := range with {
		if !slices.Contains(own, name) {
			return s.barriers
		}
	}
	return sc.barriers
}
