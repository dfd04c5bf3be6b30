// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

var provenParams = cartesian.Params{"memory_proof": "yes"}

// ram is 1 MiB, with these bytes changed.
func ram(changed ...int) func() []byte {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i >> 12)
	}
	for _, at := range changed {
		content[at] ^= 0x80
	}
	return func() []byte { return content }
}

// The results of migrations whose memory is compared.
func TestMemoryProof(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	const fail, fails = result.Fail, true
	with := func(params cartesian.Params) cartesian.Params {
		all := maps.Clone(provenParams)
		maps.Copy(all, params)
		return all
	}
	figures := func(_ context.Context, m *migration.Migration) error {
		stats, record := m.Stats()["vm1"], m.Record().VMs[0].Proof
		if stats["memory_proof_pages"] != int64(256) || record == nil || record.Pages != 256 || record.Differ != 0 || record.Moved == 0 || record.Skipped != "" {
			return fmt.Errorf("got %v and %+v, want 256 pages that are equal", stats, record)
		}
		return nil
	}
	none := func(_ context.Context, m *migration.Migration) error {
		if record := m.Record().VMs[0].Proof; record != nil {
			return fmt.Errorf("got %+v, want no record of a memory proof", record)
		}
		return nil
	}
	all := []testCase{
		{name: "equal", source: qmptest.Script{RAM: ram()}, destination: qmptest.Script{RAM: ram()}, params: provenParams, after: figures, log: "the memory is equal"},
		{name: "unix", params: with(cartesian.Params{"mig_protocol": "unix"}), after: figures},
		{name: "mig_offline", params: with(cartesian.Params{"mig_offline": "yes"}), after: figures},
		{name: "held", params: provenParams, after: figures, change: func(p *migration.Plan) { p.Hold = true }, concurrent: func(ctx context.Context, m *migration.Migration) error {
			if err := m.Wait(ctx, migration.Condition{Status: "pre-switchover"}); err != nil {
				return err
			}
			return m.Release(ctx)
		}},
		{
			name: "the guest does not run before", params: provenParams, after: figures,
			change: func(p *migration.Plan) {
				p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
					if err := s.Receive(ctx, []string{"vm1"}); err != nil {
						return err
					}
					if state, err := s.Instance("vm1").Status(ctx); err != nil || state != "paused" {
						return fmt.Errorf("the guest is %s when it has arrived, %w; want paused", state, err)
					}
					return nil
				}
			},
		},
		{name: "not wanted", source: qmptest.Script{RAM: ram(1)}, destination: qmptest.Script{RAM: ram()}, after: none},
		{
			name: "a byte differs", source: qmptest.Script{RAM: ram()}, destination: qmptest.Script{RAM: ram(0x5123)}, params: provenParams, fails: fails, status: fail,
			want: []string{"migration 1 of vm1: guest memory differs after the migration: 1 of 256 pages: 0x5000-0x5fff; the first is 0x5000 of pc.ram: at 0x5123 the source has 05 05 05 05 05 05 05 05, the destination 85 05"},
			after: func(_ context.Context, m *migration.Migration) error {
				if record := m.Record().VMs[0].Proof; record == nil || record.Differ != 1 || !slices.Equal(record.Runs, []string{"0x5000-0x5fff"}) {
					return fmt.Errorf("got the record %+v, want one page that differs", record)
				}
				return nil
			},
			at: "-",
		},
		{
			name: "a migration that may fail", source: qmptest.Script{RAM: ram(7, 70000)}, destination: qmptest.Script{RAM: ram()}, params: provenParams, fails: fails, status: fail,
			change: func(p *migration.Plan) { p.MayFail = true }, want: []string{"2 of 256 pages"}, at: "-",
		},
		{name: "post-copy", params: with(cartesian.Params{"mig_postcopy": "yes"}), log: "memory_proof: the memory is not compared", after: func(_ context.Context, m *migration.Migration) error {
			if record := m.Record().VMs[0].Proof; record == nil || !strings.Contains(record.Skipped, "post-copy lets the guest run") {
				return fmt.Errorf("got the record %+v, want the reason why it was skipped", record)
			}
			return nil
		}},
		{
			name: "shared RAM", params: with(cartesian.Params{"mig_protocol": "cpr-reboot"}), log: "memory_proof: the memory is not compared", fails: fails, want: []string{"two hosts"}, at: "-",
			after: func(_ context.Context, m *migration.Migration) error {
				if record := m.Record().VMs[0].Proof; record == nil || !strings.Contains(record.Skipped, "both ends map the same RAM") {
					return fmt.Errorf("got the record %+v, want the reason why it was skipped", record)
				}
				return nil
			},
		},
		{name: "post-copy by its capability", params: with(cartesian.Params{"capabilitys": "postcopy-ram"}), log: "memory_proof: the memory is not compared"},
		{name: "cancelled", source: qmptest.Script{Endless: true}, params: provenParams, concurrent: cancelAt("active"), at: "host1", after: none},
		{
			name: "the guest runs already", params: provenParams, fails: fails, status: result.Error,
			change: func(p *migration.Plan) {
				p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
					if err := s.Receive(ctx, []string{"vm1"}); err != nil {
						return err
					}
					return s.Instance("vm1").Cont(ctx)
				}
			},
			want: []string{"migration 1, destination host2, memory_proof: memory proof: destination of vm1@host2, whether the guest runs: the guest is running"}, at: "-",
		},
		{
			name: "a destination that does not stop", destination: qmptest.Script{Refuse: []string{"stop"}}, params: provenParams, fails: fails, status: result.Error,
			want: []string{"migration 1, destination host2, prepare: ", "refuses stop"}, at: "-",
		},
		{
			name: "a source that saves nothing", source: qmptest.Script{Refuse: []string{"pmemsave"}}, params: provenParams, fails: fails, status: result.Error,
			want: []string{"migration 1, source host1, memory_proof: memory proof: source of vm1@host1, save RAM at 0x0-0xfffff: ", "refuses pmemsave"}, at: "-",
		},
		{
			name: "a host that takes too long", params: with(cartesian.Params{"mig_timeout": "5"}), fails: fails, status: result.Error,
			destination: qmptest.Script{WriteFile: func(name string, content []byte) error {
				time.Sleep(8 * time.Second) // less than monitor_timeout
				return os.WriteFile(name, content, 0o600)
			}},
			want: []string{"migration 1, destination host2, memory_proof: ", "the memory was not compared within 5s (mig_timeout)"}, at: "-",
		},
		{
			name: "a full disk", destination: qmptest.Script{WriteFile: func(name string, content []byte) error { return os.WriteFile(name, content[:100], 0o600) }}, params: provenParams,
			fails: fails, status: result.Error, want: []string{"migration 1, destination host2, memory_proof: ", "QEMU saved 100 bytes into", "is the disk full?"}, at: "-",
		},
	}
	for _, command := range []string{"query-status@postmigrate", "human-monitor-command@postmigrate", "pmemsave"} {
		dies := qmptest.Script{StopAt: command, Die: true}
		freezes := qmptest.Script{StopAt: command}
		all = append(all,
			testCase{name: "the source freezes at " + command, source: freezes, params: provenParams, fails: fails, status: fail, want: []string{srcFailed, silent, "scripted"}, at: "-"},
			testCase{name: "the source dies at " + command, source: dies, params: provenParams, fails: fails, status: fail, want: []string{srcFailed, killed}, at: "-"})
	}
	for _, command := range []string{"query-status@paused", "human-monitor-command@paused", "pmemsave"} {
		dies := qmptest.Script{StopAt: command, Die: true}
		freezes := qmptest.Script{StopAt: command}
		all = append(all,
			testCase{name: "the destination freezes at " + command, destination: freezes, params: provenParams, fails: fails, status: fail, want: []string{dstFailed, silent}, at: "-"},
			testCase{name: "the destination dies at " + command, destination: dies, params: provenParams, fails: fails, status: fail, want: []string{dstFailed, killed}, at: "-"})
	}
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
}

// A difference has both contents of the first page in the evidence and the results.
func TestMemoryProofEvidence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, provenParams)
		source, destination := ram(), ram(0x7008, 0x9000)
		bed.QEMUs.Script("vm1", qmptest.Script{RAM: source}, qmptest.Script{RAM: destination})
		m := start(t, bed.Bed, plan(bed.Bed))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := runBoth(ctx, m)
		failure, ok := errors.AsType[*migration.Failure](err)
		if !ok || failure.First != "" || failure.Step != "memory_proof" {
			t.Fatalf("got %v, want the failure of neither side in memory_proof", err)
		}
		const lines = "  - 7000  07 07 07 07 07 07 07 07 07 07 07 07 07 07 07 07  ................\n  + 7000  07 07 07 07 07 07 07 07 87 07"
		if detail := failure.Detail(); !strings.Contains(detail, lines) || !strings.Contains(detail, "source host1 vm1") {
			t.Errorf("evidence: got\n%s\nwant both contents and those of both sides", detail)
		}
		for side, want := range map[string]func() []byte{"source": source, "destination": destination} {
			name := filepath.Join(bed.Results.Dir(), result.ArtifactsDir, "memory-proof", "migration-1-vm1-page-7000-"+side+".bin")
			got, err := os.ReadFile(name)
			if err != nil || string(got) != string(want()[0x7000:0x8000]) {
				t.Errorf("%s: got %d bytes, %v, want the page", name, len(got), err)
			}
		}
		removeAll(t, bed)
	})
}

// A guest whose move had completed when the migration was cancelled, or had failed as it
// may, is checked like others: its memory is compared, and it runs and was not reset.
func TestCompletedBefore(t *testing.T) {
	t.Parallel()
	loadsLate := qmptest.Script{StopAt: "loaded", Stop: func() { time.Sleep(25 * time.Second) }} // when the other one has failed
	for _, tt := range []struct {
		name        string
		params      cartesian.Params
		source      qmptest.Script
		destination qmptest.Script
		before      func(ctx context.Context, m *migration.Migration) error // the cancellation
		fails       bool                                                    // vm2's move, as it may; else it is cancelled
		change      func(*migration.Plan)
		want        string // in the error
		proof       bool
		skipped     string
	}{
		{name: "cancelled", params: provenParams, proof: true},
		{name: "failed", params: provenParams, fails: true, proof: true},
		{name: "failed before it was loaded", params: provenParams, destination: loadsLate, fails: true, proof: true},
		{name: "its memory differs", params: provenParams, source: qmptest.Script{RAM: ram(1)}, destination: qmptest.Script{RAM: ram()}, want: "migration 1 of vm1: guest memory differs after the migration: 1 of 256 pages", proof: true},
		{name: "its memory differs after a failure", params: provenParams, source: qmptest.Script{RAM: ram(1)}, destination: qmptest.Script{RAM: ram()}, fails: true, want: "migration 1 of vm1: guest memory differs after the migration: 1 of 256 pages", proof: true},
		{
			name: "the scenario has ended its source", params: provenParams, skipped: "the scenario has ended its source",
			before: func(ctx context.Context, m *migration.Migration) error {
				return m.Source.Instance("vm1").Execute(ctx, "quit", nil, nil)
			},
		},
		{name: "without a proof"},
		{
			name: "it was reset", want: "the guest was reset on host2 after its migration had started",
			before: func(_ context.Context, m *migration.Migration) error {
				bedtest.Of(m.Destination.Instance("vm1")).Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"})
				return nil
			},
		},
		{
			name: "it does not run", want: "the guest is suspended after the migration, not running",
			before: func(_ context.Context, m *migration.Migration) error {
				bedtest.Of(m.Destination.Instance("vm1")).Suspend()
				return nil
			},
		},
		{
			name: "the scenario checks it", change: func(p *migration.Plan) {
				p.CheckDst = func(context.Context, *migration.Side) error { return errors.New("vm2 has not arrived") }
			},
		},
		{name: "a feature that was not used", params: cartesian.Params{"mig_xbzrle": "yes"}, source: qmptest.Script{Dropped: []string{"xbzrle"}}, want: "xbzrle was switched on for the migration, but QEMU reports it as off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 2, tt.params)
				bed.QEMUs.Script("vm1", tt.source, tt.destination)
				bed.QEMUs.Script("vm2", late(qmptest.Script{Endless: true}), qmptest.Script{Die: true, StopAt: map[bool]string{true: "MIGRATION:active"}[tt.fails]})
				p := plan(bed.Bed)
				p.VMs, p.MayFail = []string{"vm1", "vm2"}, tt.fails
				if tt.change != nil {
					tt.change(&p)
				}
				m := start(t, bed.Bed, p)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				cancelled := make(chan error, 1)
				go func() {
					for m.Source.Instance("vm1") == nil || m.Source.Instance("vm1").State() != "postmigrate" && ctx.Err() == nil {
						time.Sleep(time.Second)
					}
					var err error
					if tt.before != nil {
						err = tt.before(ctx, m)
					}
					if !tt.fails {
						err = errors.Join(err, m.Wait(ctx, migration.Condition{Status: "active"}), m.Cancel(ctx))
					}
					cancelled <- err
				}()
				err := runBoth(ctx, m)
				if err := <-cancelled; err != nil {
					t.Fatal(err)
				}
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v: %v, want %q", result.StatusOf(err), err, tt.want)
				}
				if vm1 := bed.Current("vm1"); tt.want == "" && (vm1 == nil || vm1.Host.Name() != "host2" || vm1.State() != "running") {
					t.Errorf("vm1 is in %v, want it to run on host2", vm1)
				}
				proofs := m.Record().VMs
				switch proof := proofs[0].Proof; {
				case tt.skipped != "":
					if proof == nil || proof.Skipped != tt.skipped {
						t.Errorf("got the record %+v, want %q", proof, tt.skipped)
					}
				case tt.proof != (proof != nil && proof.Pages == 256):
					t.Errorf("got the record %+v, want one of a comparison: %t", proof, tt.proof)
				}
				if proofs[1].Proof != nil {
					t.Errorf("vm2, which has not moved: got the record %+v", proofs[1].Proof)
				}
				removeAll(t, bed)
			})
		})
	}
}

// A migration that ends between the comparison and the guest's resumption leaves the guest
// as mhmig held it: the last look does not take it for one that somebody has paused.
func TestEndsWhileHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{})
		bed.QEMUs.Script("vm1", qmptest.Script{RAM: ram(), Dropped: []string{"zero-copy-send"}}, qmptest.Script{RAM: ram()})
		p := plan(bed.Bed)
		p.Params = maps.Clone(bed.Params())
		maps.Copy(p.Params, cartesian.Params{"memory_proof": "yes", "mig_multifd": "yes", "mig_zero_copy": "yes"})
		err := runBoth(t.Context(), start(t, bed.Bed, p))
		if err == nil || !strings.Contains(err.Error(), "zero-copy-send was switched on for the migration, but ") {
			t.Fatalf("got %v, want that zero-copy was not used", err)
		}
		if errs := bed.FinalCheck(t.Context()); len(errs) > 0 {
			t.Errorf("the last look: got %v, want nothing", errs)
		}
	})
}

// The documentation names everything with which the memory is not sent, and not compared.
func TestMemoryProofDoc(t *testing.T) {
	t.Parallel()
	i := slices.IndexFunc(api.All(), func(p api.Param) bool { return p.Name == "memory_proof" })
	doc := api.All()[i].Doc
	unproved := []string{"mig_ignore_shared", "post-copy"}
	for _, name := range migration.Transports() {
		transport, err := migration.NewTransport(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if transport.Traits().SharedRAM {
			unproved = append(unproved, name)
		}
	}
	for _, what := range unproved {
		if !strings.Contains(doc, what) {
			t.Errorf("the documentation of memory_proof does not name %s", what)
		}
	}
}
