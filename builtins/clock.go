// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/task"
)

var nowFunction = &Builtin{
	Name:    "now",
	Doc:     "Reads the controller's clock. The difference of two readings is how long something took.",
	Returns: Return{"float", "the seconds since 1970 (UTC)"},
	Fn:      func(*task.Task, *Args) (starlark.Value, error) { return epoch(time.Now()), nil },
}

// epoch is a time as scenarios have it.
func epoch(t time.Time) starlark.Float { return starlark.Float(float64(t.UnixNano()) / 1e9) }

// clockMethod is vm.clock.
var clockMethod = &Builtin{
	Name: "clock", Waits: true, Params: []Param{loginTimeoutParam},
	Doc: "Reads the guest's clock in a new session, several times, of which the quickest counts. " +
		"The guest needs bash, busybox, or GNU date. How far its clock is from the controller's is guest - host, give or take uncertainty.",
	Returns: Return{"clock", "the reading"},
	Fn:      vmClock,
}

func vmClock(t *task.Task, a *Args) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	bed, timeout := stateOf(t).bed, argOr(a, "timeout", inst.Config().Login.Timeout)
	read, err := task.Wait(t, func(ctx context.Context) (guest.ClockReading, error) {
		return useGuest(ctx, bed, inst, func() (guest.ClockReading, error) { return inst.ReadClock(ctx, timeout) })
	})
	if err != nil {
		return nil, err
	}
	return stateOf(t).newObject("clock", read, inst.String()), nil
}

// clockClass is what vm.clock returns.
func clockClass() *Class {
	reading := func(self any) guest.ClockReading { return self.(guest.ClockReading) }
	return &Class{
		Name: "clock",
		Doc:  "A reading of a guest's clock.",
		Attrs: []Attr{
			{"guest", "float", "the guest's time, in seconds since 1970 (UTC)", func(_ *scenarioState, self any) (starlark.Value, error) {
				return epoch(reading(self).Guest), nil
			}},
			{"host", "float", "the controller's time at the middle of the exchange", func(_ *scenarioState, self any) (starlark.Value, error) {
				return epoch(reading(self).Host), nil
			}},
			{"uncertainty", "float", "half of how long the exchange took, in seconds: host may be wrong by so much", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.Float(reading(self).Uncertainty.Seconds()), nil
			}},
		},
	}
}
