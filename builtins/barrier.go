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

// meetingTimeout is how long a party waits for the others when it does not say:
// virt-test's.
const meetingTimeout = 240 * time.Second

var (
	tagParam     = Param{"tag", String, Required, "the barrier's name"}
	withParam    = Param{"hosts", Hosts, Computed("both sides or all hosts of on"), "the hosts whose parties must arrive; without it both sides of the migration, or all hosts of the call of on"}
	timeoutParam = Param{"timeout", Seconds, Value(meetingTimeout), "how long to wait for the others"}
)

// meetingFunctions let the parties of a test wait for each other.
var meetingFunctions = []*Builtin{
	{
		Name: "barrier", Waits: true, Params: []Param{tagParam, withParam, timeoutParam},
		Doc:     "Waits until every party has arrived at the barrier. Fails at once when one of them cannot arrive any more: it has failed or ended.",
		Returns: Nothing,
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			_, err := meet(t, a, nil)
			return nil, err
		},
	},
	{
		Name: "sync", Waits: true,
		Params:  []Param{tagParam, {"data", Any, None, "what the other parties get"}, withParam, timeoutParam},
		Doc:     "Waits at a barrier at which the parties exchange data.",
		Returns: Return{"dict[host, any]", "the data of each host's party (\"source\" and \"destination\" where a migration stays on one host); what a command on the host has sent is a string"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			brought, err := meet(t, a, arg[starlark.Value](a, "data"))
			if err != nil {
				return nil, err
			}
			s, out := sceneOf(t), starlark.NewDict(len(brought))
			for _, h := range s.bed.Hosts() {
				if err := setData(out, s.host(h), brought, h.Name()); err != nil {
					return nil, err
				}
			}
			for _, role := range []migration.Role{migration.SourceRole, migration.DestinationRole} { // both on one host
				if err := setData(out, starlark.String(role), brought, string(role)); err != nil {
					return nil, err
				}
			}
			return out, nil
		},
	},
}

// setData puts what a party has brought into out, if it was there.
func setData(out *starlark.Dict, key starlark.Value, brought map[string]any, party string) error {
	data, came := brought[party]
	if !came {
		return nil
	}
	v, isValue := data.(starlark.Value)
	if !isValue { // from a shell
		v = starlark.String(fmt.Sprint(data))
	}
	return out.SetKey(key, v)
}

func meet(t *task.Task, a *Args, data starlark.Value) (map[string]any, error) {
	sc := scopeOf(t)
	if sc == nil {
		return nil, misusef("only inside a migration's worker or a function started with on: the main task is on no host")
	}
	room, party, with := sc.room, sc.party, []string(nil)
	if a.Has("hosts") {
		for _, h := range arg[[]*testbed.Host](a, "hosts") {
			with = append(with, h.Name())
		}
		if room = roomFor(sceneOf(t), sc, with); room != sc.room {
			party = sc.host.Name()
		}
	}
	tag, timeout := arg[string](a, "tag"), arg[time.Duration](a, "timeout")
	return task.Wait(t, func(ctx context.Context) (map[string]any, error) {
		return meetAt(ctx, room, party, tag, data, with, timeout)
	})
}

func meetAt(ctx context.Context, room *barrier.Room, party, tag string, data any, with []string, timeout time.Duration) (map[string]any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not all have come after %v", timeout))
	defer cancel()
	return room.Sync(ctx, party, tag, data, with)
}

// roomFor is where these hosts can meet: the task's own room if all of them
// are in it, else the room of all hosts.
func roomFor(s *Scene, sc *scope, with []string) *barrier.Room {
	own := sc.room.Parties()
	for _, name := range with {
		if !slices.Contains(own, name) {
			return s.room
		}
	}
	return sc.room
}
