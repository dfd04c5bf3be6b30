// SPDX-License-Identifier: Apache-2.0

// Package pool has the pools of hosts for runs ([run.Pool]).
package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// guestShare is the share of a machine's memory that guests may use when variants share
// hosts; the rest is for QEMU's overhead and the system.
const guestShare = 0.8

// Local is the pool of the hosts of one call of mhmig, which no other run uses. Its
// methods may be called by any goroutine.
type Local struct {
	hosts []testbed.Remote
	share bool

	mu     sync.Mutex // guards what follows, with what it points to
	slots  []*slot
	leases int // that will be released
}

// slot is a host.
type slot struct {
	host    testbed.Remote
	number  int // its place in the list, from 1
	users   int
	stays   bool // kept as a variant left it, not leased again
	machine *machine
}

// machine is the machine of one or more hosts: all hosts of a lab are on one.
type machine struct {
	memory, freeMemory int64
	cpus, freeCPUs     int
}

// lease is the hosts of a variant.
type lease struct {
	pool  *Local
	slots []*slot
	needs run.Needs
}

// NewLocal returns a pool of hosts; variants prefer the first ones. If variants share
// them, as far as memory and CPUs allow, it reads the hosts' facts.
func NewLocal(ctx context.Context, hosts []testbed.Remote, share bool) (*Local, error) {
	p := &Local{hosts: hosts, share: share}
	for i, h := range hosts {
		p.slots = append(p.slots, &slot{host: h, number: i + 1, machine: &machine{}})
	}
	if !share {
		return p, nil
	}
	facts := make([]host.Facts, len(hosts))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, h := range hosts {
		group.Go(func() (err error) {
			facts[i], err = h.Facts(groupCtx)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, exit.Hosts.Wrap(fmt.Errorf("read the memory and CPUs of the hosts: %w", err))
	}
	byBoot := map[string]*machine{}
	for i, f := range facts {
		m := byBoot[f.BootID]
		if m == nil || f.BootID == "" {
			memory := int64(float64(f.MemoryBytes) * guestShare)
			m = &machine{memory: memory, freeMemory: memory, cpus: f.CPUs, freeCPUs: f.CPUs}
			byBoot[f.BootID] = m
		}
		p.slots[i].machine = m
	}
	return p, nil
}

// Hosts are the hosts that NewLocal was given.
func (p *Local) Hosts() []testbed.Remote { return p.hosts }

// Changed is nil: no other run uses the hosts.
func (p *Local) Changed() <-chan struct{} { return nil }

// Acquire leases hosts that are free now, unused ones first.
func (p *Local) Acquire(_ context.Context, n run.Needs) (run.Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var usable, free []*slot
	for _, s := range p.slots {
		if s.stays || s.host.Err() != nil || n.Among > 0 && s.number > n.Among {
			continue
		}
		usable = append(usable, s)
		if s.users == 0 || p.share {
			free = append(free, s)
		}
	}
	if len(usable) < n.Hosts {
		return nil, run.ErrUnavailable
	}
	slices.SortStableFunc(free, func(a, b *slot) int { return cmp.Compare(a.users, b.users) })
	l := &lease{pool: p, needs: n}
	for _, s := range free {
		if len(l.slots) == n.Hosts {
			break
		}
		l.take(s)
		if p.share && !l.fits() {
			l.drop()
		}
	}
	if len(l.slots) < n.Hosts {
		l.dropAll()
		if p.leases == 0 { // there is no lease whose end would free enough
			return nil, run.ErrUnavailable
		}
		return nil, run.ErrBusy
	}
	p.leases++
	slices.SortFunc(l.slots, func(a, b *slot) int { return a.number - b.number })
	return l, nil
}

// Hosts are the hosts of the lease.
func (l *lease) Hosts() []testbed.NumberedHost {
	numbered := make([]testbed.NumberedHost, len(l.slots))
	for i, s := range l.slots {
		numbered[i] = testbed.NumberedHost{Host: s.host, Number: s.number}
	}
	return numbered
}

// Release returns the hosts to the pool.
func (l *lease) Release(stay bool) {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.pool.leases--
	if !stay {
		l.dropAll()
		return
	}
	for _, s := range l.slots {
		s.stays = true
	}
}

func (l *lease) dropAll() {
	for len(l.slots) > 0 {
		l.drop()
	}
}

// take adds a host. It reserves memory of its machine for each host, but CPUs once per
// machine, as a VM runs on one host at a time.
func (l *lease) take(s *slot) {
	if !l.on(s.machine) {
		s.machine.freeCPUs -= l.needs.CPUs
	}
	s.machine.freeMemory -= l.needs.Memory
	s.users++
	l.slots = append(l.slots, s)
}

// drop returns the host that was taken last.
func (l *lease) drop() {
	s := l.slots[len(l.slots)-1]
	l.slots = l.slots[:len(l.slots)-1]
	s.users--
	s.machine.freeMemory += l.needs.Memory
	if !l.on(s.machine) {
		s.machine.freeCPUs += l.needs.CPUs
	}
}

func (l *lease) on(m *machine) bool {
	return slices.ContainsFunc(l.slots, func(s *slot) bool { return s.machine == m })
}

// fits says whether the variant fits on the host that was taken last. It always fits if
// no other variant uses the machine.
func (l *lease) fits() bool {
	m := l.slots[len(l.slots)-1].machine
	own := 0
	for _, s := range l.slots {
		if s.machine == m {
			own++
		}
	}
	alone := m.freeMemory+int64(own)*l.needs.Memory == m.memory && m.freeCPUs+l.needs.CPUs == m.cpus
	return alone || m.freeMemory >= 0 && m.freeCPUs >= 0
}
