// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/barrier"
)

// TestRoomAgainstModel lets parties come, give up and leave in any order, and
// compares after each step who has met, who has failed and who still waits
// with a model that knows nothing of goroutines.
func TestRoomAgainstModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Hidden in a struct: rapid asks a plain *testing.T for its deadline,
		// which has none in virtual time.
		rapid.Check(struct{ *testing.T }{t}, func(t *rapid.T) {
			w := newWorld(t)
			defer w.close()
			t.Repeat(map[string]func(*rapid.T){
				"arrive":  w.arrive,
				"give up": w.giveUp,
				"leave":   w.leave,
				"":        w.check,
			})
		})
	})
}

// place is a party at a tag.
type place struct{ party, tag string }

// outcome is how a call of Sync ended; "waiting" when it has not.
type outcome string

const waiting outcome = "waiting"

func met(brought map[string]any) outcome {
	var parts []string
	for _, party := range slices.Sorted(maps.Keys(brought)) {
		parts = append(parts, fmt.Sprint(party, "=", brought[party]))
	}
	return outcome("met: " + strings.Join(parts, " "))
}

const (
	gaveUp     outcome = "gave up"
	refused    outcome = "refused"
	impossible outcome = "cannot complete any more"
)

type world struct {
	barriers *barrier.Group
	parties  []string

	model map[int]outcome // of each call of Sync, by its number
	tags  map[string]*modelMeeting
	left  map[string]bool

	cancel map[int]context.CancelCauseFunc
	group  sync.WaitGroup
	mu     sync.Mutex // guards real
	real   map[int]outcome
}

type modelMeeting struct {
	expect []string       // sorted
	calls  map[string]int // party -> its call
}

var errGiveUp = errors.New("gave up")

func newWorld(t *rapid.T) *world {
	parties := []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "parties")]
	return &world{
		barriers: barrier.New(parties...), parties: parties,
		model: map[int]outcome{}, tags: map[string]*modelMeeting{}, left: map[string]bool{},
		cancel: map[int]context.CancelCauseFunc{}, real: map[int]outcome{},
	}
}

func (w *world) arrive(t *rapid.T) {
	at := place{rapid.SampledFrom(w.parties).Draw(t, "party"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "tag")}
	var with []string
	if rapid.Bool().Draw(t, "some") {
		with = rapid.SliceOfN(rapid.SampledFrom(append([]string{at.party}, w.parties...)), 0, 3).Draw(t, "with")
	}
	call := len(w.model)

	ctx, cancel := context.WithCancelCause(context.Background())
	w.cancel[call] = cancel
	w.real[call] = waiting
	w.group.Go(func() {
		got := outcomeOf(w.barriers.Sync(ctx, at.party, at.tag, call, with))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.real[call] = got
	})

	w.model[call] = w.expectArrival(call, at, with)
}

// expectArrival is what the model says of an arrival.
func (w *world) expectArrival(call int, at place, with []string) outcome {
	expect := slices.Sorted(slices.Values(with))
	if with == nil {
		expect = w.parties
	}
	if !slices.Contains(expect, at.party) || len(slices.Compact(slices.Clone(expect))) < len(expect) || w.left[at.party] {
		return refused
	}
	m := w.tags[at.tag]
	if m == nil {
		m = &modelMeeting{expect: expect, calls: map[string]int{}}
	}
	if _, here := m.calls[at.party]; here || !slices.Equal(m.expect, expect) {
		return refused
	}
	w.tags[at.tag] = m
	m.calls[at.party] = call
	w.model[call] = waiting
	switch absent := w.absent(m); {
	case len(absent) == 0:
		brought := map[string]any{}
		for party, c := range m.calls {
			brought[party] = c
		}
		w.conclude(at.tag, met(brought))
	case slices.ContainsFunc(absent, func(p string) bool { return w.left[p] }):
		w.conclude(at.tag, impossible)
	}
	return w.model[call]
}

func (w *world) absent(m *modelMeeting) []string {
	return slices.DeleteFunc(slices.Clone(m.expect), func(p string) bool { _, here := m.calls[p]; return here })
}

// conclude ends the meeting at a tag for all who wait there.
func (w *world) conclude(tag string, how outcome) {
	for _, call := range w.tags[tag].calls {
		w.model[call] = how
	}
	delete(w.tags, tag)
}

func (w *world) giveUp(t *rapid.T) {
	call := rapid.IntRange(0, max(len(w.model)-1, 0)).Draw(t, "call")
	if cancel := w.cancel[call]; cancel != nil {
		cancel(errGiveUp) // of a call that is over it means nothing
	}
	if w.model[call] != waiting {
		return
	}
	w.model[call] = gaveUp
	for tag, m := range w.tags {
		maps.DeleteFunc(m.calls, func(_ string, c int) bool { return c == call })
		if len(m.calls) == 0 {
			delete(w.tags, tag)
		}
	}
}

func (w *world) leave(t *rapid.T) {
	party := rapid.SampledFrom(w.parties).Draw(t, "party")
	w.barriers.Leave(party, "left")
	if w.left[party] {
		return
	}
	w.left[party] = true
	for tag, m := range w.tags {
		if slices.Contains(w.absent(m), party) {
			w.conclude(tag, impossible)
		}
	}
}

// check lets all come to rest and compares.
func (w *world) check(t *rapid.T) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(w.model, w.real); diff != "" {
		t.Fatalf("calls of Sync (-model +real):\n%s", diff)
	}
}

func (w *world) close() {
	for _, cancel := range w.cancel {
		cancel(errGiveUp)
	}
	w.group.Wait()
}

func outcomeOf(brought map[string]any, err error) outcome {
	failed, ok := errors.AsType[*barrier.Error](err)
	switch {
	case err == nil:
		return met(brought)
	case !ok:
		return outcome(fmt.Sprintf("not an Error of barrier: %v", err))
	case errors.Is(err, errGiveUp):
		return gaveUp
	case len(failed.Missing) > 0:
		return impossible
	default:
		return refused
	}
}
