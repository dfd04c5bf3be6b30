// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// defaultHosts is how many hosts a migration needs.
const defaultHosts = 2

// Needs are what a variant asks of its hosts.
type Needs struct {
	Hosts  int
	Memory int64 // bytes, of all its VMs: each host may come to run them all
	CPUs   int   // of all its VMs
}

// Pool is where a run takes its hosts from: those of one call (package pool), or of a
// fleet that others use as well.
type Pool interface {
	// Hosts are all that variants may get, the preferred ones first. They do not change.
	Hosts() []testbed.Remote
	// Acquire takes hosts if they are free now, without waiting for them. The error is
	// [ErrBusy] if they will be, [ErrUnavailable] if the pool cannot come to have so many.
	Acquire(context.Context, Needs) (Lease, error)
	// Changed has a value when hosts have come free that others had. It may be nil if
	// there are no others.
	Changed() <-chan struct{}
}

// Why a pool has no hosts for a variant.
var (
	ErrBusy        = errors.New("others have the hosts")
	ErrUnavailable = errors.New("there are not enough hosts any more")
)

// Lease is hosts that one variant has.
type Lease interface {
	// Hosts are in the order of their numbers, which count the pool's from 1.
	Hosts() []testbed.NumberedHost
	// Release gives them back. Those that stay as the variant left them are not given
	// to others.
	Release(stay bool)
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

// needsOf reads what a variant needs. Values that are no numbers are 0 here: the
// variant's test bed tells of them.
func (r *runner) needsOf(v *cartesian.Variant) Needs {
	params := v.Params
	scenario := 0
	if r.ScenarioHosts != nil {
		scenario = r.ScenarioHosts(params)
	}
	n := Needs{Hosts: HostsNeeded(params, scenario, FairShare(len(r.Pool.Hosts()), r.Parallel, r.Planned))}
	for _, name := range params.Objects("vms") {
		own := params.Object(name)
		memory, _ := own.Size("mem", 1<<30, 1<<20)
		cpus, _ := own.Int("smp", 1)
		n.Memory += memory
		n.CPUs += cpus
	}
	return n
}
