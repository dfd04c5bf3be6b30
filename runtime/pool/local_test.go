// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestLocal: Acquire says whether waiting makes sense.
func TestLocal(t *testing.T) {
	t.Parallel()
	lab := bedtest.NewLab(t, 3)
	p, err := pool.NewLocal(t.Context(), testbed.Remotes(lab.Connected), false)
	if err != nil {
		t.Fatal(err)
	}
	acquire := func(p *pool.Local, n run.Needs, want error) run.Lease {
		t.Helper()
		l, err := p.Acquire(t.Context(), n)
		if !errors.Is(err, want) {
			t.Fatalf("Acquire %+v: got %v, want %v", n, err, want)
		}
		return l
	}
	acquire(p, run.Needs{Hosts: 4}, run.ErrUnavailable)
	first := acquire(p, run.Needs{Hosts: 2}, nil)
	if numbered := first.Hosts(); len(numbered) != 2 || numbered[0].Number != 1 || numbered[1].Host != lab.Connected[1] {
		t.Errorf("the first lease: got %+v, want hosts 1 and 2", numbered)
	}
	acquire(p, run.Needs{Hosts: 2}, run.ErrBusy)
	acquire(p, run.Needs{Hosts: 1, Among: 2}, run.ErrBusy) // host 3 is free
	second := acquire(p, run.Needs{Hosts: 1}, nil)
	first.Release(false)
	acquire(p, run.Needs{Hosts: 3, Among: 2}, run.ErrUnavailable)
	acquire(p, run.Needs{Hosts: 2, Among: 2}, nil).Release(false)
	acquire(p, run.Needs{Hosts: 3}, run.ErrBusy)
	second.Release(true) // host 3 stays as it is
	acquire(p, run.Needs{Hosts: 3}, run.ErrUnavailable)
	acquire(p, run.Needs{Hosts: 2}, nil).Release(false)

	// If variants share one machine, kept hosts keep their memory.
	if p, err = pool.NewLocal(t.Context(), testbed.Remotes(lab.Connected), true); err != nil {
		t.Fatal(err)
	}
	huge := run.Needs{Hosts: 1, Memory: 1 << 50, CPUs: 1}
	alone := acquire(p, huge, nil)
	acquire(p, huge, run.ErrBusy)
	alone.Release(true)
	acquire(p, huge, run.ErrUnavailable)
}
