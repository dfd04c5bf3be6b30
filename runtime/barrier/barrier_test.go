// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/barrier"
)

// arrival is one call of Sync: who, where, with what, and how it ends.
type arrival struct {
	party, tag string
	data       any
	with       []string
	limit      time.Duration // 0: none

	got   map[string]any
	err   error
	ended time.Duration
}

var errLate = errors.New("not all have come")

// meet lets all arrive at the same time and waits for all of them.
func meet(ctx context.Context, barriers *barrier.Group, arrivals ...*arrival) {
	began := time.Now()
	var group sync.WaitGroup
	for _, a := range arrivals {
		group.Go(func() {
			ctx := ctx
			if a.limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, a.limit, errLate)
				defer cancel()
			}
			a.got, a.err = barriers.Sync(ctx, a.party, a.tag, a.data, a.with)
			a.ended = time.Since(began)
		})
	}
	group.Wait()
}

func TestSyncExchangesData(t *testing.T) {
	t.Parallel()
	barriers := barrier.New("host1", "host2", "host3")
	// The same tag serves for any number of rounds.
	for round := range 3 {
		arrivals := []*arrival{
			{party: "host1", tag: "ports", data: round},
			{party: "host2", tag: "ports", data: []int{49152}},
			{party: "host3", tag: "ports"},
		}
		meet(t.Context(), barriers, arrivals...)
		want := map[string]any{"host1": round, "host2": []int{49152}, "host3": nil}
		for _, a := range arrivals {
			if a.err != nil {
				t.Fatalf("round %d, %s: %v", round, a.party, a.err)
			}
			if diff := cmp.Diff(want, a.got); diff != "" {
				t.Errorf("round %d, %s (-want +got):\n%s", round, a.party, diff)
			}
		}
		arrivals[0].got["host1"] = "changed"
		if arrivals[1].got["host1"] == "changed" {
			t.Errorf("two parties share one map of what was brought")
		}
	}
}

func TestSomeOfTheRoomMeet(t *testing.T) {
	t.Parallel()
	barriers := barrier.New("host1", "host2", "host3")
	alone := &arrival{party: "host3", tag: "alone", with: []string{"host3"}}
	one := &arrival{party: "host1", tag: "two", with: []string{"host1", "host2"}}
	two := &arrival{party: "host2", tag: "two", with: []string{"host2", "host1"}}
	meet(t.Context(), barriers, alone, one, two)
	for _, a := range []*arrival{alone, one, two} {
		if a.err != nil || len(a.got) != len(a.with) {
			t.Errorf("%s at %s: got %v, %v, want %d parties", a.party, a.tag, a.got, a.err, len(a.with))
		}
	}
	if diff := cmp.Diff([]string{"host1", "host2", "host3"}, barriers.Parties()); diff != "" {
		t.Errorf("Parties (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		arrival arrival
		want    string
	}{
		{
			"a stranger",
			arrival{party: "host9", tag: "x"},
			"barrier x: host9 is not one of the parties of this barrier (host1, host2, host3)",
		},
		{
			"not among those it names",
			arrival{party: "host1", tag: "x", with: []string{"host2", "host3"}},
			"barrier x: host1 is not one of the parties of this barrier (host2, host3)",
		},
		{
			"nobody",
			arrival{party: "host1", tag: "x", with: []string{}},
			"barrier x: host1 is not one of the parties of this barrier ()",
		},
		{
			"unknown partner",
			arrival{party: "host1", tag: "x", with: []string{"host1", "hsot2"}},
			`barrier x: no party "hsot2", only host1, host2, host3`,
		},
		{
			"named twice",
			arrival{party: "host1", tag: "x", with: []string{"host1", "host1"}},
			"barrier x: host1 is named twice as a party of this barrier",
		},
		{
			"waiting there already",
			arrival{party: "host2", tag: "busy"},
			"barrier busy: host2 is already waiting there",
		},
		{
			"other partners",
			arrival{party: "host1", tag: "busy", with: []string{"host1", "host2"}},
			"barrier busy: host1 waits for host1, host2, but the waiting parties expect host1, host2, host3",
		},
		{
			"as many, but others",
			arrival{party: "host1", tag: "pair", with: []string{"host1", "host2"}},
			"barrier pair: host1 waits for host1, host2, but the waiting parties expect host2, host3",
		},
		{
			"has left",
			arrival{party: "host3", tag: "x", with: []string{"host3"}},
			"barrier x: host3 has left: it is done",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				barriers := barrier.New("host1", "host2", "host3")
				busy := &arrival{party: "host2", tag: "busy"}
				pair := &arrival{party: "host2", tag: "pair", with: []string{"host2", "host3"}}
				var group sync.WaitGroup
				if test.arrival.tag != "x" {
					group.Go(func() { meet(ctx, barriers, busy, pair) })
					synctest.Wait()
				} else {
					barriers.Leave("host3", "it is done")
					barriers.Leave("host3", "it says so again")
				}
				a := test.arrival
				meet(t.Context(), barriers, &a)
				if a.err == nil || a.err.Error() != test.want {
					t.Errorf("got  %v\nwant %s", a.err, test.want)
				}
				cancel()
				group.Wait()
				if test.arrival.tag != "x" && !errors.Is(busy.err, context.Canceled) {
					t.Errorf("the one that was waiting: got %v, want it to wait on", busy.err)
				}
			})
		})
	}
}

func TestLeaveFailsMeetingsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		barriers := barrier.New("host1", "host2", "host3")
		barriers.At("host1", "start_work")
		barriers.At("host3", "check_dst")
		first := &arrival{party: "host2", tag: "checked", limit: time.Hour}
		time.AfterFunc(5*time.Second, func() { barriers.Leave("host1", "worker has returned") })
		meet(t.Context(), barriers, first)
		if first.ended != 5*time.Second {
			t.Errorf("waited %v, want 5s: until host1 left", first.ended)
		}
		const want = "barrier checked: cannot complete any more; missing: host1 (ended: worker has returned), host3 (check_dst)"
		if first.err == nil || first.err.Error() != want {
			t.Errorf("got  %v\nwant %s", first.err, want)
		}
		failed, ok := errors.AsType[*barrier.Error](first.err)
		wantMissing := []barrier.Absence{
			{Party: "host1", Where: "worker has returned", Left: true},
			{Party: "host3", Where: "check_dst"},
		}
		if !ok || cmp.Diff(wantMissing, failed.Missing) != "" {
			t.Errorf("got %#v, want those missing: %v", first.err, wantMissing)
		}

		// Who comes later needs not wait either.
		late := &arrival{party: "host3", tag: "checked", limit: time.Hour}
		meet(t.Context(), barriers, late)
		if late.err == nil || late.ended != 0 {
			t.Errorf("after the end of host1: got %v after %v, want an error at once", late.err, late.ended)
		}
		// Nor does it trouble those who do not expect it.
		with := []string{"host2", "host3"}
		two, three := &arrival{party: "host2", tag: "checked", with: with}, &arrival{party: "host3", tag: "checked", with: with}
		meet(t.Context(), barriers, two, three)
		if two.err != nil || three.err != nil {
			t.Errorf("without host1: got %v, %v, want none", two.err, three.err)
		}
	})
}

// TestLeaveAfterArrival: who has come and then ends has come.
func TestLeaveAfterArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		barriers := barrier.New("host1", "host2")
		first, second := &arrival{party: "host1", tag: "x"}, &arrival{party: "host2", tag: "x"}
		var group sync.WaitGroup
		group.Go(func() { meet(t.Context(), barriers, first) })
		synctest.Wait()
		barriers.Leave("host1", "its task ended")
		meet(t.Context(), barriers, second)
		group.Wait()
		if first.err != nil || second.err != nil {
			t.Errorf("got %v, %v, want both to meet", first.err, second.err)
		}
	})
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		barriers := barrier.New("host1", "host2", "host3")
		barriers.At("host3", "migrate")
		impatient := &arrival{party: "host1", tag: "x", limit: 10 * time.Second}
		patient := &arrival{party: "host2", tag: "x", limit: 30 * time.Second}
		meet(t.Context(), barriers, impatient, patient)
		for _, a := range []*arrival{impatient, patient} {
			if a.ended != a.limit || !errors.Is(a.err, errLate) {
				t.Errorf("%s: got %v after %v, want %v after %v", a.party, a.err, a.ended, errLate, a.limit)
			}
		}
		const want = "barrier x: not all have come; missing: host3 (migrate)"
		if impatient.err.Error() != want {
			t.Errorf("got  %v\nwant %s", impatient.err, want)
		}
		const wantLater = "barrier x: not all have come; missing: host1, host3 (migrate)"
		if patient.err.Error() != wantLater {
			t.Errorf("got  %v\nwant %s", patient.err, wantLater)
		}

		// The tag is free again, for others too.
		with := []string{"host1", "host2"}
		one, two := &arrival{party: "host1", tag: "x", with: with}, &arrival{party: "host2", tag: "x", with: with}
		meet(t.Context(), barriers, one, two)
		if one.err != nil || two.err != nil {
			t.Errorf("after all gave up: got %v, %v, want none", one.err, two.err)
		}
	})
}

// TestComesAgain: who gave up may try once more, and the meeting still counts
// on those who stayed.
func TestComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		barriers := barrier.New("host1", "host2")
		patient := &arrival{party: "host1", tag: "x", data: 1}
		var group sync.WaitGroup
		time.AfterFunc(20*time.Second, func() {
			group.Go(func() { meet(t.Context(), barriers, patient) })
		})
		tries := 0
		for {
			tries++
			a := &arrival{party: "host2", tag: "x", data: fmt.Sprint("try ", tries), limit: 3 * time.Second}
			meet(t.Context(), barriers, a)
			if a.err == nil {
				break
			}
		}
		group.Wait()
		if want := map[string]any{"host1": 1, "host2": "try 7"}; cmp.Diff(want, patient.got) != "" {
			t.Errorf("got %v, %v, want %v", patient.got, patient.err, want)
		}
	})
}

func TestContextEndedBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLate)
	barriers := barrier.New("host1", "host2")
	a := &arrival{party: "host1", tag: "x"}
	meet(ctx, barriers, a)
	if !errors.Is(a.err, errLate) {
		t.Errorf("got %v, want %v", a.err, errLate)
	}
	// Whoever completes the meeting has met, however late.
	last := &arrival{party: "host1", tag: "y", with: []string{"host1"}}
	meet(ctx, barriers, last)
	if last.err != nil {
		t.Errorf("got %v, want none", last.err)
	}
}
