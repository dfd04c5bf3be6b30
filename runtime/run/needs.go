// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// DefaultHosts is the number of hosts that a migration needs.
const DefaultHosts = 2

// Needs are the resources that a variant needs.
type Needs struct {
	Hosts int
	// Among is the highest number of a host that it may run on, 0 for any: its params say
	// what host1 to that one have, and others would have something else.
	Among  int
	Memory int64 // bytes, of all its VMs: each host may have to run them all
	CPUs   int   // of all its VMs
}

// Pool is the pool of a run's hosts: those of one call (package pool), or of a fleet that
// other runs also use.
type Pool interface {
	// Hosts are all hosts of the pool, the preferred ones first. They do not change.
	Hosts() []testbed.Remote
	// Acquire leases hosts if they are free now, without waiting. The error is [ErrBusy]
	// if they are in use, [ErrUnavailable] if the pool no longer has enough hosts.
	Acquire(context.Context, Needs) (Lease, error)
	// Changed receives a value when another run has released hosts. It may be nil if
	// there are no other runs.
	Changed() <-chan struct{}
}

// Why a pool has no hosts for a variant.
var (
	ErrBusy        = errors.New("the hosts are in use")
	ErrUnavailable = errors.New("not enough hosts are left")
)

// Lease is the hosts of one variant.
type Lease interface {
	// Hosts are in the order of their numbers, which count the pool's from 1.
	Hosts() []testbed.NumberedHost
	// Release returns the hosts to the pool. With stay they are kept as the variant left
	// them, and not leased again.
	Release(stay bool)
}

// FairShare is how many of a run's hosts a variant gets if it does not say how many it
// needs: an equal share, of at least two, for as many variants as can then run at the
// same time. Parallel and planned limit their number if they are not 0.
func FairShare(hosts, parallel, planned int) int {
	variants := max(hosts/DefaultHosts, 1)
	for _, limit := range []int{parallel, planned} {
		if limit > 0 {
			variants = min(variants, limit)
		}
	}
	return hosts / variants
}

// HostsNeeded is how many of a run's hosts a variant needs: as its param
// hosts_needed says, else as its scenario does, else a fair share.
func HostsNeeded(params cartesian.Params, scenario, fairShare int) int {
	if n := api.Read(params).Int("hosts_needed"); n > 0 {
		return n
	}
	if scenario > 0 {
		return scenario
	}
	return fairShare
}

// CheckHostsNeeded is an error if the variant's param hosts_needed is no such number.
func CheckHostsNeeded(params cartesian.Params) error {
	values := api.Read(params)
	values.Int("hosts_needed")
	return values.Err()
}

// namedForVMs is the highest number of a host that a param of VMs is set for, such as
// qemu_version_host2; 0 if none is. Params of the hosts themselves do not count.
func namedForVMs(params cartesian.Params) int {
	highest := 0
	for key := range params {
		base, number := ofHost(key)
		if p, known := api.Find(base); number > highest && (!known || p.Object != api.Host) {
			highest = number
		}
	}
	return highest
}

// needsOf returns the needs of a variant. Invalid values are 0 here: checkParams reports
// them.
func (r *runner) needsOf(v *cartesian.Variant) Needs {
	params := v.Params
	scenario := 0
	if r.ScenarioHosts != nil {
		scenario = r.ScenarioHosts(params)
	}
	n := Needs{Hosts: HostsNeeded(params, scenario, FairShare(len(r.Pool.Hosts()), r.Parallel, r.Planned))}
	if named := namedForVMs(params); named > 0 {
		n.Among = max(named, n.Hosts)
	}
	for _, name := range params.Objects("vms") {
		own := params.Object(name)
		if own["qemu_dst_binary"] != "" {
			n.Among = n.Hosts // with host1, the only one that does not have it
		}
		memory, _ := own.Size("mem", 1<<30, 1<<20)
		cpus, _ := own.Int("smp", 1)
		n.Memory += memory
		n.CPUs += cpus
	}
	return n
}
