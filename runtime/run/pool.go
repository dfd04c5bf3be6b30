// SPDX-License-Identifier: Apache-2.0

package run

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
)

const (
	// defaultHosts is how many hosts a migration needs.
	defaultHosts = 2
	// guestShare is the part of a machine's memory that guests may have when
	// variants share hosts; the rest is for what QEMU needs beside, and the system.
	guestShare = 0.8
)

// needs is what a variant asks of its hosts.
type needs struct {
	hosts  int
	memory int64 // bytes, of all its VMs: each host may come to run them all
	cpus   int   // of all its VMs
}

// FairShare is how many of a run's hosts a variant gets that does not say how
// many it needs: an equal part, with at least two in each, for as many variants
// as can then run at the same time. Parallel and planned bound their number if
// they are not 0.
func FairShare(hosts, parallel, planned int) int {
	side := max(hosts/defaultHosts, 1)
	for _, limit := range []int{parallel, planned} {
		if limit > 0 {
			side = min(side, limit)
		}
	}
	return hosts / side
}

// HostsNeeded is how many of a run's hosts a variant needs: as its param
// hosts_needed says, else as its scenario does, else a fair share.
func HostsNeeded(params cartesian.Params, scenario, fairShare int) int {
	if n, err := params.Int("hosts_needed", 0); err == nil && n > 0 {
		return n
	}
	if scenario > 0 {
		return scenario
	}
	return fairShare
}

// needsOf reads what a variant needs. Values that are no numbers are 0 here: the
// variant's test bed tells of them.
func (r *runner) needsOf(v *cartesian.Variant) needs {
	params := v.Params
	scenario := 0
	if r.ScenarioHosts != nil {
		scenario = r.ScenarioHosts(params)
	}
	n := needs{hosts: HostsNeeded(params, scenario, FairShare(len(r.Hosts), r.Parallel, r.Planned))}
	for _, name := range params.Objects("vms") {
		own := params.Object(name)
		memory, _ := own.Size("mem", 1<<30, 1<<20)
		cpus, _ := own.Int("smp", 1)
		n.memory += memory
		n.cpus += cpus
	}
	return n
}

// pool is the run's hosts, and who has them.
type pool struct {
	share bool
	slots []*slot
}

// slot is a host.
type slot struct {
	host    *host.Host
	number  int // its place in the run's list, from 1
	users   int
	machine *machine
}

// machine is what hosts are on: those of a lab are all on one.
type machine struct {
	memory, freeMemory int64
	cpus, freeCPUs     int
}

// lease is hosts that a variant has.
type lease struct {
	slots []*slot
	needs needs
	kept  bool // the hosts stay as the variant left them; set before it ends
}

// newPool learns from the hosts, if variants are to share them, what they have.
func newPool(ctx context.Context, hosts []*host.Host, share bool) (*pool, error) {
	p := &pool{share: share}
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
		return nil, exit.Hosts.Wrap(fmt.Errorf("what the hosts can share: %w", err))
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

// lease gives a variant hosts, nil if there are not enough that are free now.
// Those that nobody uses come first.
func (p *pool) lease(n needs) *lease {
	var free []*slot
	for _, s := range p.slots {
		if s.host.Err() == nil && (s.users == 0 || p.share) {
			free = append(free, s)
		}
	}
	slices.SortStableFunc(free, func(a, b *slot) int { return cmp.Compare(a.users, b.users) })
	l := &lease{needs: n}
	for _, s := range free {
		if len(l.slots) == n.hosts {
			break
		}
		l.take(s)
		if p.share && !l.fits() {
			l.drop()
		}
	}
	if len(l.slots) < n.hosts {
		p.release(l)
		return nil
	}
	slices.SortFunc(l.slots, func(a, b *slot) int { return a.number - b.number })
	return l
}

func (p *pool) release(l *lease) {
	for len(l.slots) > 0 {
		l.drop()
	}
}

// take adds a host. Its machine keeps memory for it; processors only once, as a
// VM runs on one host at a time.
func (l *lease) take(s *slot) {
	if !l.on(s.machine) {
		s.machine.freeCPUs -= l.needs.cpus
	}
	s.machine.freeMemory -= l.needs.memory
	s.users++
	l.slots = append(l.slots, s)
}

// drop gives the host that was taken last back.
func (l *lease) drop() {
	s := l.slots[len(l.slots)-1]
	l.slots = l.slots[:len(l.slots)-1]
	s.users--
	s.machine.freeMemory += l.needs.memory
	if !l.on(s.machine) {
		s.machine.freeCPUs += l.needs.cpus
	}
}

func (l *lease) on(m *machine) bool {
	return slices.ContainsFunc(l.slots, func(s *slot) bool { return s.machine == m })
}

// fits says whether the host that was taken last has room for the variant. One
// that has the machine for itself may try in any case.
func (l *lease) fits() bool {
	m := l.slots[len(l.slots)-1].machine
	mine := 0
	for _, s := range l.slots {
		if s.machine == m {
			mine++
		}
	}
	alone := m.freeMemory+int64(mine)*l.needs.memory == m.memory && m.freeCPUs+l.needs.cpus == m.cpus
	return alone || m.freeMemory >= 0 && m.freeCPUs >= 0
}

func (l *lease) names() []string {
	names := make([]string, len(l.slots))
	for i, s := range l.slots {
		names[i] = s.host.Name()
	}
	return names
}
