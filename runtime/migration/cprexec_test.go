// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// A guest's QEMU becomes another one; or why it does not is found, and who has failed.
func TestCPRExec(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	const fail, fails = result.Fail, true
	used := func(_ context.Context, m *migration.Migration) error {
		if all := m.Record().VMs[0].Features; len(all) != 1 || all[0].Feature != "cpr-exec" || !all[0].Used {
			return fmt.Errorf("got %+v, want that cpr-exec was used", all)
		}
		stats := m.Stats()["vm1"]
		if features, _ := stats["features"].(map[string]any); features["cpr-exec"] == nil || stats["status"] != "completed" {
			return fmt.Errorf("got the statistics %v, want that it has completed and used cpr-exec", stats)
		}
		return nil
	}
	for _, tt := range []testCase{
		{
			name: "success", log: "both ends map the same RAM, of which nothing is sent", params: cartesian.Params{"memory_proof": "yes"},
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
					if s.Migration.Destination.Instance("vm1") != nil {
						return errors.New("the destination was started before the source sends")
					}
					return nil
				}
			},
			after: used,
		},
		{name: "completed is not sent before the source is gone", source: qmptest.Script{Drop: []string{"MIGRATION:completed"}}, after: used},
		{name: "mig_offline", params: cartesian.Params{"mig_offline": "yes"}},
		{
			name: "the source sends the RAM", source: qmptest.Script{Unused: []string{"cpr-exec"}}, fails: fails, status: fail,
			want: []string{"cpr-exec: the file has ", "QEMU has sent RAM (of 1048576 bytes) that was to stay where it is"}, at: "-",
		},
		{
			name: "the destination drops the mode", destination: qmptest.Script{Dropped: []string{"mode"}}, fails: fails, status: fail, at: "-",
			want: []string{"the migration was to have the mode cpr-exec, but the mode of vm1+2@host1 is normal"},
		},
		{
			name: "the source lacks the mode", source: qmptest.Script{Without: []string{"cpr-exec"}}, fails: fails, status: result.Skip, at: "-",
			want: []string{"vm1@host1: the migration parameter mode of this QEMU has no value cpr-exec"},
		},
		{
			name: "the source cannot be told what to execute", source: qmptest.Script{Without: []string{"cpr-exec-command"}}, fails: fails, status: result.Skip, at: "-",
			want: []string{"vm1@host1: this QEMU has no migration parameter cpr-exec-command"},
		},
		{
			name: "the destination lacks the mode", destination: qmptest.Script{Without: []string{"cpr-exec"}}, fails: fails, status: result.Skip, at: "-",
			want: []string{"the migration parameter mode of this QEMU has no value cpr-exec"},
		},
		{name: "the source refuses", source: qmptest.Script{Refuse: []string{"migrate"}}, fails: fails, status: fail, want: []string{srcFailed, "the script refuses migrate"}, at: "host1"},
		{name: "the source dies when it sends", source: qmptest.Script{StopAt: "migrate", Die: true}, fails: fails, status: fail, want: []string{srcFailed, killed}, at: "-"},
		{name: "the source freezes when it sends", source: qmptest.Script{StopAt: "migrate"}, fails: fails, status: fail, want: []string{srcFailed, silent}, at: "-"},
		{name: "the source dies when it has completed", source: qmptest.Script{StopAt: "MIGRATION:completed", Die: true}, fails: fails, status: fail, want: []string{srcFailed, killed}, at: "-"},
		{
			name: "the source freezes when it has completed", source: qmptest.Script{StopAt: "MIGRATION:completed"}, params: cartesian.Params{"mig_timeout": "30"}, fails: fails, status: fail,
			want: []string{srcFailed, silent, "not finished after mig_timeout = 30s", "has not become a QEMU with a monitor"}, at: "-",
		},
		{
			name: "the source executes nothing", source: qmptest.Script{Unused: []string{"cpr-exec-command"}}, params: cartesian.Params{"mig_timeout": "30"}, fails: fails, status: fail,
			want: []string{"not finished after mig_timeout = 30s", "has not become a QEMU with a monitor"}, at: "-",
		},
		{
			name: "somebody ends the source", source: qmptest.Script{Unused: []string{"cpr-exec-command"}}, fails: fails, status: fail, at: "-",
			want: []string{srcFailed, "ended with status 0"},
			concurrent: func(ctx context.Context, m *migration.Migration) error {
				for m.Source.Instance("vm1") == nil || m.Source.Instance("vm1").State() != "postmigrate" {
					time.Sleep(time.Millisecond)
				}
				return m.Source.Instance("vm1").Monitor().Execute(ctx, "quit", nil, nil)
			},
		},
		{
			name: "the destination does not start", destination: qmptest.Script{StopAt: "handover", Die: true}, fails: fails, status: fail, at: "-",
			want: []string{"the destination failed first (host1)", killed},
		},
		{
			name: "the destination freezes when it starts", destination: qmptest.Script{StopAt: "handover"}, params: cartesian.Params{"mig_timeout": "300"}, fails: fails, status: fail, at: "-",
			want: []string{"the destination failed first (host1)", silent, "within 1m0s of its start"},
		},
		{
			name: "the destination starts too late", destination: qmptest.Script{StopAt: "handover"}, params: cartesian.Params{"mig_timeout": "2"}, fails: fails, status: fail, at: "-",
			want: []string{"not finished after mig_timeout = 2s", "has not become a QEMU with a monitor"},
		},
		{name: "the destination refuses to load", destination: qmptest.Script{Refuse: []string{"migrate-incoming"}}, fails: fails, want: []string{"the script refuses migrate-incoming"}, at: "-"},
		{name: "the destination never answers", destination: qmptest.Script{Ignore: []string{"migrate-incoming"}}, fails: fails, status: fail, want: []string{"the destination failed first (host1)", silent, "migrate-incoming"}, at: "-"},
		{name: "the destination cannot load the guest", destination: qmptest.Script{LoadError: "Unknown savevm section"}, fails: fails, status: fail, want: []string{"the destination failed first (host1)", "Unknown savevm section"}, at: "-"},
		{
			name: "may fail: the source refuses", change: func(p *migration.Plan) { p.MayFail = true }, source: qmptest.Script{Refuse: []string{"migrate"}}, at: "host1",
		},
		{
			name: "cancel before the move", at: "host1",
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
					if s.IsSource() {
						return s.Migration.Cancel(ctx)
					}
					return nil
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := cartesian.Params{"mig_protocol": "cpr-exec"}
			maps.Copy(params, tt.params)
			tt.params = params
			if tt.at == "" {
				tt.at = "host1"
			}
			change := tt.change
			tt.change = func(p *migration.Plan) {
				p.Destination = p.Source
				if change != nil {
					change(p)
				}
			}
			synctest.Test(t, tt.run)
		})
	}
}

// The same with processes: one is several instances, one after the other, which are ended
// like any other.
func TestCPRExecProcess(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	bed, p := processes(t, cartesian.Params{"mig_protocol": "cpr-exec"})
	p.Destination = p.Source
	var pids []string
	for n := range 4 { // an ID is taken again: the last is the second one of vm1+2
		if n > 0 {
			if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
				t.Fatalf("migration %d: %v", n, err)
			}
		} else if _, _, err := bed.Ensure(t.Context(), "vm1", p.Source, p.Params, vm.Launch{Descriptors: vm.ExecMode}); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pidOf(t, bed.Current("vm1")))
	}
	if len(slices.Compact(slices.Clone(pids))) != 1 {
		t.Errorf("the instances' processes are %q, want one", pids)
	}
	if all := bed.Instances(); len(all) != 1 {
		t.Errorf("got %v, want one instance", all)
	}
	last := bed.Current("vm1")
	pid, err := strconv.Atoi(pids[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-last.Exited()
	if exit := last.Exit(t.Context()); !strings.HasPrefix(exit.Error(), "QEMU of vm1 on host1 ended by signal 9 (killed)") {
		t.Errorf("got %v, want that it was killed", exit)
	}
}

// pidOf is the process of an instance on this machine.
func pidOf(t *testing.T, i *testbed.Instance) string {
	t.Helper()
	state, err := i.ProcessState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pid string
	if _, err := fmt.Sscanf(state, "its process %s is", &pid); err != nil {
		t.Fatalf("%q: %v", state, err)
	}
	return pid
}
