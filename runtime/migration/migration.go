// SPDX-License-Identifier: Apache-2.0

// Package migration moves VMs from one host to another: one [Migration] is one
// move of one or several VMs, run by its two sides at the same time.
//
// The order of events is virt-test's multi-host migration:
//
//	step              source                                                       destination
//	prepare           end the VMs elsewhere, barrier cleared, start them, log in   barrier cleared, start the incoming VMs
//	ports             barrier ports                                                barrier ports
//	start_work        start_work, barrier worked                                   barrier worked
//	before_migration  before_migration, barrier ready                              before_migration, barrier ready
//	migrate           migrate_src                                                  migrate_dst
//	memory_proof      barrier proved                                               compare the memory, barrier proved
//	mig_finished      check the features, barrier mig_finished                     barrier mig_finished
//	check             check_src                                                    resume the guests, check_dst
//	check_work                                                                     check_work
//	conclude          barrier checked, recheck, barrier concluded, end the VMs     barrier checked, recheck, barrier concluded
//	post_migration    post_migration                                               post_migration
//	cancelled         check the guests, barrier cancelled                          end the incoming VMs, check the guests that have moved, barrier cancelled
//	failed            check the guests, barrier cancelled                          end the incoming VMs, check the guests that have moved, barrier cancelled
//
// A step that consists of a hook is logged only on sides that have the hook; migrations
// with the param memory_proof have the step of that name. The last
// rows are those of a migration that was cancelled, or has failed as [Plan.MayFail]
// allows, which continues there: the VMs stay on the source.
//
// The package guarantees what QEMU does not: return-path is set on both ends, and a
// migration has succeeded only when the destination runs; a source that has completed
// never runs again; from the step migrate of its first migration on, nothing but
// vm.reset() and vm.reboot() reset the guest; a failure names the side that failed first and carries
// the evidence of both hosts.
//
// A Migration's methods may be called from any goroutine. Side.Run runs one
// side and blocks until that has ended; each side is run once.
package migration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Hook is a step of one side that the scenario provides. It runs on the side's
// goroutine.
type Hook func(ctx context.Context, s *Side) error

// Plan is the VMs to migrate, the source, the destination, and the scenario's hooks.
// Every hook may be nil; those with a default replace it.
type Plan struct {
	VMs         []string
	Source      *testbed.Host
	Destination *testbed.Host
	Params      cartesian.Params // the variant's, with the changes of the call
	Hold        bool             // see Migration.Hold
	MayFail     bool             // a failure of the network or the destination is no error, if the guests run on the source then, or the scenario has ended them there
	Fresh       testbed.Fresh    // what to do if a guest is not on the source

	StartWork Hook // on the source, before the migration
	CheckWork Hook // on the destination, after it

	BeforeMigration Hook // on both sides
	MigrateSrc      Hook // default: migrate all VMs at the same time
	MigrateDst      Hook // default: wait until all VMs run
	CheckSrc        Hook // default: no guest runs on the source
	CheckDst        Hook // default: every guest runs and accepts a login
	PostMigration   Hook // on both sides, at the end
}

// Migration is one move of the plan's VMs.
type Migration struct {
	Number int // counts from 1 in a scenario
	Plan   Plan

	Source      *Side
	Destination *Side

	bed      *testbed.Bed
	log      *slog.Logger
	barriers *barrier.Group
	options  options
	timeouts timeouts
	traits   Traits           // of the transport
	moves    map[string]*move // by VM name; complete when both sides are prepared

	sourceDone chan struct{} // closed when the source's migrate step has ended
	over       chan struct{} // closed when the source's side has ended
	ended      sync.Once     // guards closing sourceDone

	failing chan struct{} // guards verdict: capacity 1, full while evidence is collected. No mutex: a test in virtual time waits for it
	verdict error         // see fail

	mu        sync.Mutex // guards what follows
	changed   chan struct{}
	cancelled bool                      // Cancel was called
	began     bool                      // a source is or was set up for the move
	held      bool                      // the sources stop before the switchover
	released  bool                      // Release was called
	observers int                       // that wait for a sample
	events    map[string]int            // the number of each event since the start
	reached   map[State]int             // how often a move has changed while the migration had each status
	failure   error                     // the first one, once the source's migrate step has ended
	tolerated *Failure                  // of a migration that may fail
	stops     []context.CancelCauseFunc // that end the sides' moves
}

// New checks the plan against the bed and returns the migration, not yet started:
// run both of its sides at the same time. A param with an invalid value is an error
// that names it.
func New(bed *testbed.Bed, number int, plan Plan) (*Migration, error) {
	if len(plan.VMs) == 0 {
		return nil, fmt.Errorf("no VM to migrate")
	}
	opts, err := parseOptions(plan.Params)
	if err != nil {
		return nil, err
	}
	traits, err := opts.transportTraits()
	if err != nil {
		return nil, err
	}
	m := &Migration{
		Number:     number,
		Plan:       plan,
		bed:        bed,
		log:        bed.Log().With("migration", number),
		options:    opts,
		timeouts:   defaultTimeouts,
		traits:     traits,
		moves:      map[string]*move{},
		sourceDone: make(chan struct{}),
		over:       make(chan struct{}),
		events:     map[string]int{},
		reached:    map[State]int{},
		changed:    make(chan struct{}),
		held:       plan.Hold,
		failing:    make(chan struct{}, 1),
	}
	if opts.memoryProof && !m.proves() {
		m.log.Warn("memory_proof: the memory is not compared", "reason", opts.unproved(m.traits))
	}
	if err := m.checkVMs(); err != nil {
		return nil, err
	}
	if err := opts.oneHost(plan.Source.Name(), plan.Destination.Name()); err != nil {
		return nil, err
	}
	for _, name := range plan.VMs {
		if _, twice := m.moves[name]; twice {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		m.moves[name] = newMove(m, name)
	}
	m.Source = newSide(m, SourceRole, plan.Source)
	m.Destination = newSide(m, DestinationRole, plan.Destination)
	m.barriers = barrier.New(m.Source.Party(), m.Destination.Party())
	return m, nil
}

// Barriers has the barriers of the two sides, see [Side.Party].
func (m *Migration) Barriers() *barrier.Group { return m.barriers }

// State returns the migration's state, none before it began: of several VMs, the
// state that is furthest from success. Thus it is active when all of them have got so far.
func (m *Migration) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stateLocked()
}

func (m *Migration) stateLocked() State {
	var states []State
	for _, name := range m.Plan.VMs {
		states = append(states, m.moves[name].state)
	}
	return leastAdvanced(states)
}

// Ports returns, for each VM for which the destination listens on TCP, the port.
func (m *Migration) Ports() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	ports := map[string]int{}
	for name, mv := range m.moves {
		if mv.port > 0 {
			ports[name] = mv.port
		}
	}
	return ports
}

// VMs returns the names of the VMs that move.
func (m *Migration) VMs() []string { return slices.Clone(m.Plan.VMs) }

// SetSpeed limits the bandwidth of each VM's migration (max-bandwidth), in
// bytes per second.
func (m *Migration) SetSpeed(ctx context.Context, bytesPerSecond int64) error {
	return m.setParameter(ctx, maxBandwidth, bytesPerSecond, func(l *limitParameters) { l.Bandwidth = bytesPerSecond })
}

// SetDowntime limits how long the guests may be stopped (downtime-limit).
func (m *Migration) SetDowntime(ctx context.Context, limit time.Duration) error {
	return m.setParameter(ctx, downtimeLimit, limit.Milliseconds(), func(l *limitParameters) { l.Downtime = limit.Milliseconds() })
}

func (m *Migration) setParameter(ctx context.Context, name string, value int64, change func(*limitParameters)) error {
	for _, mv := range m.moves {
		src := m.Source.Instance(mv.vm)
		if src == nil {
			return fmt.Errorf("%s: %s is not prepared on %s yet; wait for a status first, such as mig.wait(status = \"setup\")", name, mv.vm, m.Source.Host.Name())
		}
		err := mv.limits.apply(ctx, endpoint{src}, map[string]int64{name: value})
		if state := mv.currentState(); errors.Is(err, qmp.ErrClosed) && state.Terminal() {
			return fmt.Errorf("%s: the migration of %s has ended: %s; set it before, or for the next one by a param of migrate", name, mv.vm, state)
		}
		if err != nil {
			return blame(ctx, mv, src, SourceRole, err)
		}
		m.mu.Lock()
		mv.forecast.changeLimits(change)
		m.mu.Unlock()
	}
	return nil
}

func (m *Migration) broadcastLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}
