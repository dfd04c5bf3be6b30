// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// maxExpected is how many events of an expectation wait to be taken; the oldest is
// dropped when there are more.
const maxExpected = 1024

// expectation is a subscription of a VM's events. It begins before what causes them, so
// that no event is missed.
type expectation struct {
	vm    *vmHandle
	event string
	match map[string]any
	stop  func()
	wake  chan struct{} // capacity 1: an event has come

	mu    sync.Mutex  // guards queue
	queue []qmp.Event // that nobody has taken
}

func (e *expectation) String() string {
	if len(e.match) == 0 {
		return "event " + e.event
	}
	text, err := json.Marshal(e.match)
	if err != nil { // it was made from JSON
		panic(err)
	}
	return fmt.Sprintf("event %s with %s", e.event, text)
}

func vmExpect(t *task.Task, a *Args) (starlark.Value, error) {
	s, handle := stateOf(t), a.Self.(*vmHandle)
	e := &expectation{vm: handle, event: arg[string](a, "event"), match: arg[map[string]any](a, "match"), wake: make(chan struct{}, 1)}
	e.stop = s.bed.Watch(func(i *testbed.Instance, event qmp.Event) {
		if i.Name() == handle.name && (handle.side == nil || handle.side.Instance(handle.name) == i) {
			e.add(event)
		}
	})
	return s.newObject("expectation", e, handle.name+" "+e.String()), nil
}

// add takes an event of the VM, if it is expected.
func (e *expectation) add(event qmp.Event) {
	if event.Name != e.event {
		return
	}
	for key, want := range e.match {
		if !reflect.DeepEqual(event.Data[key], want) {
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == maxExpected {
		e.queue = e.queue[1:]
	}
	e.queue = append(e.queue, event)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest event that nobody has taken.
func (e *expectation) take() (qmp.Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return qmp.Event{}, false
	}
	event := e.queue[0]
	e.queue = e.queue[1:]
	return event, true
}

func expectationClass() *Class {
	return &Class{
		Name: "expectation",
		Doc:  "The events of a VM that a scenario expects: those from vm.expect on, until close.",
		Methods: []*Builtin{
			{
				Name: "wait", Waits: true,
				Params: []Param{{"timeout", Seconds, Value(time.Minute), "how long to wait"}, checkParam},
				Doc: "Waits for an event, and takes it: the next call waits for the next one. " +
					"It is an ERROR when none comes in time, and when QEMU has ended or does not answer its monitor, also with check=False.",
				Returns: Return{"dict[string, any] | None", "the event's data; None if no event came in time, with check=False"},
				Fn:      expectationWait,
			},
			{
				Name: "close", Doc: "Ends the subscription.", Returns: Nothing,
				Fn: func(_ *task.Task, a *Args) (starlark.Value, error) {
					a.Self.(*expectation).stop()
					return nil, nil
				},
			},
		},
	}
}

func expectationWait(t *task.Task, a *Args) (starlark.Value, error) {
	s, e, timeout := stateOf(t), a.Self.(*expectation), arg[time.Duration](a, "timeout")
	data, err := task.Wait(t, func(ctx context.Context) (map[string]any, error) {
		late := fmt.Errorf("%s: no %s within %v", e.vm.name, e, timeout)
		limited, cancel := context.WithTimeoutCause(ctx, timeout, late)
		defer cancel()
		event, err := e.next(limited, s.instanceOf(e.vm))
		if errors.Is(err, late) {
			return nil, e.noEvent(ctx, s.instanceOf(e.vm), late)
		}
		return event.Data, err
	})
	if err != nil {
		return orUnmet(a, nil, err)
	}
	if data == nil {
		data = map[string]any{}
	}
	return ToStarlark(data)
}

// next waits for an event, until ctx ends or QEMU does.
func (e *expectation) next(ctx context.Context, i *testbed.Instance) (qmp.Event, error) {
	var exited <-chan struct{} // nil: it does not run yet
	if i != nil {
		exited = i.Exited()
	}
	for {
		if event, ok := e.take(); ok {
			return event, nil
		}
		select {
		case <-e.wake:
		case <-exited:
			if event, ok := e.take(); ok { // its last words
				return event, nil
			}
			if i.Removed() || !i.HasGuest() {
				exited = nil // the VM may run elsewhere, or be started again
				continue
			}
			return qmp.Event{}, fmt.Errorf("waited for %s: %w", e, i.Ended(ctx))
		case <-ctx.Done():
			return qmp.Event{}, context.Cause(ctx)
		}
	}
}

// noEvent is the error when the time is over. A QEMU that does not answer cannot send
// events either, and is the reason then.
func (e *expectation) noEvent(ctx context.Context, i *testbed.Instance, late error) error {
	if i != nil {
		if _, err := i.Status(ctx); errors.Is(err, qmp.ErrSilent) {
			return i.BlameGone(ctx, fmt.Errorf("%w: %w", late, err))
		}
	}
	return &unmetError{late}
}

// dataMatch unpacks a dict to what encoding/json decodes, as the data of events is.
var dataMatch = Type{Want: "dict of the event's data", Name: "dict[string, any]", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
	if _, ok := v.(*starlark.Dict); !ok {
		return nil, nil
	}
	plain, err := FromStarlark(v)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return nil, err
	}
	var match map[string]any
	return match, json.Unmarshal(text, &match)
}}
