// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// scriptedBed returns a bed of scripted QEMUs in this process, and a function that starts
// one on the first host.
func scriptedBed(t *testing.T, vms int, params cartesian.Params) (*bedtest.ScriptedBed, func(name string, script qmptest.Script) *testbed.Instance) {
	t.Helper()
	bed := bedtest.NewScriptedBed(t, vms, params)
	return bed, func(name string, script qmptest.Script) *testbed.Instance {
		t.Helper()
		bed.QEMUs.Script(name, script, qmptest.Script{})
		instance, _, err := bed.Ensure(t.Context(), name, bed.Hosts()[0], bed.Params(), vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		return instance
	}
}

// Commands of a scenario are executed where the guest is, and refused where it has
// migrated.
func TestControl(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, nil)
		ctx, instance := t.Context(), start("vm1", qmptest.Script{})
		for _, step := range []struct {
			name  string
			do    func() error
			state string
		}{
			{"stop", func() error { return instance.Stop(ctx) }, "paused"},
			{"cont", func() error { return instance.Cont(ctx) }, "running"},
			{"reset", func() error { return instance.Reset(ctx) }, "running"},
			{"a command", func() error { return instance.Execute(ctx, "query-name", nil, nil) }, "running"},
			{"cont by name", func() error { return instance.Execute(ctx, "cont", nil, nil) }, "running"},
			{"migrate_cancel", func() error { return instance.Execute(ctx, "migrate_cancel", nil, nil) }, "running"},
		} {
			if err := step.do(); err != nil || instance.State() != step.state {
				t.Errorf("%s: got %v, %s, want %s", step.name, err, instance.State(), step.state)
			}
		}
		if err := instance.Execute(ctx, "nonsense", nil, nil); err == nil || !strings.Contains(err.Error(), "CommandNotFound") {
			t.Errorf("nonsense: got %v", err)
		}
		if !instance.CancelRequested() {
			t.Error("migrate_cancel was not noted")
		}
		instance.Depart()
		if instance.CancelRequested() {
			t.Error("another migration's migrate_cancel counts")
		}
		instance.Left()
		for name, do := range map[string]func() error{
			"cont": func() error { return instance.Cont(ctx) }, "system_reset": func() error { return instance.Reset(ctx) },
			"system_wakeup": func() error { return instance.Execute(ctx, "system_wakeup", nil, nil) },
		} {
			if err := do(); err == nil || !strings.Contains(err.Error(), "vm1@host1: "+name+" refused: its guest has migrated") {
				t.Errorf("%s where it has left: got %v", name, err)
			}
		}
		if current := bed.Current("vm1"); current != nil {
			t.Errorf("the guest is in %v, want nowhere", current)
		}
	})
}

// The final check finds guests that do not run, or run twice, with the right status.
func TestFinalCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 9, cartesian.Params{"monitor_timeout": "0.5"})
		ctx := t.Context()
		start("vm1", qmptest.Script{}) // is well
		if err := start("vm2", qmptest.Script{}).Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if err := start("vm3", qmptest.Script{}).Monitor().Execute(ctx, "stop", nil, nil); err != nil { // by nobody
			t.Fatal(err)
		}
		start("vm4", qmptest.Script{})
		bed.QEMUs.Latest("vm4").Die()
		if err := start("vm5", qmptest.Script{}).Execute(ctx, "quit", nil, nil); err != nil {
			t.Fatal(err)
		}
		start("vm6", qmptest.Script{StopAt: "query-status"})
		start("vm7", qmptest.Script{}).Left() // and runs all the same
		gone := start("vm8", qmptest.Script{})
		gone.Left()
		bed.QEMUs.Latest("vm8").Die()
		<-gone.Exited()
		paused := start("vm9", qmptest.Script{})
		if err := errors.Join(paused.Stop(ctx), paused.Reset(ctx)); err != nil {
			t.Fatal(err)
		}
		if state, err := paused.Status(ctx); err != nil || state != "prelaunch" {
			t.Fatalf("paused and reset: got %s, %v", state, err)
		}
		var found []string
		for _, err := range bed.FinalCheck(ctx) {
			found = append(found, result.StatusOf(err).String()+" "+err.Error())
		}
		slices.Sort(found)
		want := []string{
			"ERROR vm3@host1: its guest does not run: it is paused, which the scenario did not request",
			"FAIL vm4@host1 is not running any more; QEMU of vm4 on host1 ended by signal 9",
			"FAIL vm6@host1: QEMU does not answer its monitor",
			"FAIL vm7@host1: split brain: the guest has migrated, but ran here again: two copies of it used one disk",
		}
		if len(found) != len(want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
		}
		for i := range want {
			if !strings.HasPrefix(found[i], want[i]) {
				t.Errorf("got %s\nwant %s", found[i], want[i])
			}
		}
		if text := bed.Evidence(ctx); !strings.Contains(text, "host1 vm3, at that time:\n  QEMU: paused") || !strings.Contains(text, "last QMP") {
			t.Errorf("evidence: got\n%s", text)
		}
		if err := bed.Remove(ctx, gone); err == nil || result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), "signal 9") {
			t.Errorf("removed: got %v, want how it ended", err)
		}
		for _, instance := range bed.Instances() { // so that Close reports nothing more
			_ = bed.Remove(ctx, instance)
		}
	})
}

// A guest that is about to be ended has not been stopped, or the scenario has paused it and
// QEMU has not stopped it for another reason. A source in its switchover, which may not
// answer, is not asked.
func TestCheckStopped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		paused  bool   // by the scenario
		leaving bool   // it is being migrated
		state   string // what QEMU reports
		want    string // in the error, "": none
		asked   bool   // QEMU, for its state
	}{
		{"stopped by nobody", false, false, "paused", "vm1@host1: its guest does not run: it is paused", true},
		{"paused", true, false, "paused", "", true},
		{"paused and reset", true, false, "prelaunch", "", true},
		{"paused, then a disk error", true, false, "io-error", "vm1@host1: its guest does not run: it is io-error", true},
		{"paused, then a watchdog", true, false, "watchdog", "vm1@host1: its guest does not run: it is watchdog", true},
		{"runs again", false, false, "running", "", true},
		{"in its switchover", false, true, "finish-migrate", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := false
				_, start := scriptedBed(t, 1, nil)
				instance := start("vm1", qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
					if command != "query-status" {
						return nil, nil, false
					}
					asked = true
					return map[string]any{"status": tt.state, "running": tt.state == "running"}, nil, true
				}})
				if tt.leaving {
					instance.Depart()
				}
				stop := func(ctx context.Context) error { return instance.Monitor().Execute(ctx, "stop", nil, nil) }
				if tt.paused {
					stop = instance.Stop
				}
				if err := stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				asked = false
				err := instance.CheckStopped(t.Context())
				if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if asked != tt.asked {
					t.Errorf("query-status was sent: %v, want %v", asked, tt.asked)
				}
			})
		})
	}
}

// Guests that do not run on the wanted host.
func TestClearFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, nil)
		ctx, a, b := t.Context(), bed.Hosts()[0], bed.Hosts()[1]
		vms := []string{"vm1"}
		first := start("vm1", qmptest.Script{})
		if err := bed.ClearFor(ctx, vms, a, testbed.FreshNever); err != nil {
			t.Errorf("where it runs: %v", err)
		}
		if err := bed.ClearFor(ctx, vms, b, testbed.FreshNever); err == nil || !strings.Contains(err.Error(), "fresh = False, but vm1 runs on host1, not on host2") {
			t.Errorf("elsewhere: got %v", err)
		}
		if err := bed.ClearFor(ctx, vms, b, testbed.FreshWarn); err != nil || bed.Current("vm1") != nil {
			t.Errorf("told: got %v, %v", err, bed.Current("vm1"))
		}
		<-first.Exited()
		if notices := bed.Notices(); len(notices) != 1 || !strings.Contains(notices[0], "it is not the guest that") {
			t.Errorf("notices: got %q", notices)
		}
		if err := bed.ClearFor(ctx, vms, b, testbed.FreshNever); err == nil || !strings.Contains(err.Error(), "vm1 does not run any more") {
			t.Errorf("nowhere: got %v", err)
		}
		second := start("vm1", qmptest.Script{})
		if err := bed.ClearFor(ctx, vms, a, testbed.FreshAlways); err != nil || bed.Current("vm1") != nil {
			t.Errorf("always: got %v, %v", err, bed.Current("vm1"))
		}
		<-second.Exited()
		start("vm1", qmptest.Script{}).Arrive()
		if err := bed.ClearFor(ctx, vms, b, testbed.FreshWarn); err != nil {
			t.Error(err)
		}
	})
}

// Failed logins, and their reasons.
func TestNoLogins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 4, cartesian.Params{"nics": "nic1", "nics_vm2": "", "monitor_timeout": "0.5"})
		ctx := t.Context()
		one := start("vm1", qmptest.Script{})
		if _, err := one.WaitForLogin(ctx, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "vm1@host1: no login: login_timeout (200ms) on vm1@host1 expired (last attempt: a scripted QEMU has no guest)") {
			t.Errorf("SSH: got %v", err)
		}
		if _, err := one.WaitForSerialLogin(ctx, time.Second); err == nil || !strings.Contains(err.Error(), "no serial console") {
			t.Errorf("serial: got %v", err)
		}
		if err := start("vm2", qmptest.Script{}).EnsureLogin(ctx, time.Second); err == nil || !strings.Contains(err.Error(), "no serial console") {
			t.Errorf("without a NIC: got %v", err)
		}
		if err := one.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := one.EnsureLogin(ctx, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "; its guest does not run: it is paused") {
			t.Errorf("paused: got %v", err)
		}
		if id := one.BootID(ctx, false); id != "" {
			t.Errorf("boot ID: got %q, want none", id)
		}
		three := start("vm3", qmptest.Script{})
		ended := make(chan error, 1)
		go func() { ended <- three.EnsureLogin(ctx, time.Minute) }()
		bed.QEMUs.Latest("vm3").Die()
		if err := <-ended; err == nil || result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), "no login; QEMU of vm3 on host1 ended by signal 9") {
			t.Errorf("QEMU dies: got %v", err)
		}
		if err := one.Blame(ctx, errors.New("seen")); result.StatusOf(err) != result.Error {
			t.Errorf("before a migration: got %v", err)
		}
		one.Depart()
		if err := one.Blame(ctx, errors.New("seen")); result.StatusOf(err) != result.Fail {
			t.Errorf("after it began: got %v", err)
		}
		if err := one.BlameGone(ctx, errors.New("refused")); result.StatusOf(err) != result.Error {
			t.Errorf("a refusal: got %v", err)
		}
		_ = bed.Remove(ctx, three)
	})
}

// Commands of the scenario end with the bed, or when it kills them.
func TestCommands(t *testing.T) {
	t.Parallel()
	lab := bedtest.NewLab(t, 2)
	bed := bedtest.New(t, lab.Connected, lab.Params(), bedtest.NoQEMU(t), nil)
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, h := t.Context(), bed.Hosts()[0]
	out, err := h.RunCommand(ctx, host.Command{Script: "sleep 600 >/dev/null 2>&1 & echo started"})
	if err != nil || strings.TrimSpace(string(out.Stdout)) != "started" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
	p, err := h.StartCommand(ctx, host.Command{Script: "echo said; exit 3"})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := p.Wait(ctx); err != nil || out.Status != 3 || string(out.Stdout) != "said\n" || p.String() != "echo said; exit 3" {
		t.Errorf("got %+v, %v", out, err)
	}
	starting, started := context.WithCancel(ctx)
	endless, err := h.StartCommand(starting, host.Command{Script: "sleep 600"})
	if err != nil {
		t.Fatal(err)
	}
	started()
	if out, err := h.RunCommand(ctx, host.Command{Script: fmt.Sprintf("sleep 0.2; kill -0 %d", endless.Group)}); err != nil {
		t.Errorf("after the end of the ctx of its start: %s, %v", out.Stderr, err)
	}
	if err := endless.Kill(ctx); err != nil {
		t.Error(err)
	}
	if _, err := endless.Wait(ctx); err != nil {
		t.Errorf("after it was killed: %v", err)
	}
	for _, tt := range []struct {
		port  int
		limit time.Duration
		want  string
	}{
		{0, time.Minute, "want a TCP port"},
		{70000, time.Minute, "want a TCP port"},
		{4711, 0, "want more than 0"},
		{4711, 2 * testbed.LongestBlock, "want more than 0 and at most"},
		{h.Config().Port, time.Minute, "refused: mhmig connects to host1 through it"},
	} {
		if _, err := h.BlockPort(ctx, tt.port, testbed.ByDrop, tt.limit); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("block port %d for %v: got %v, want %s", tt.port, tt.limit, err, tt.want)
		}
	}
}

// hungHost is a host whose login shell never comes to the command.
type hungHost struct{ testbed.Remote }

func (hungHost) Start(ctx context.Context, _ host.Command) (*host.Process, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// The start of a command in the background ends with its ctx; the command does not.
func TestStartCommandIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		folder, record := bedtest.Results(t)
		hosts, params := bedtest.LocalHosts(t, 1)
		variant, err := folder.Start(result.Entry{Name: t.Name(), ShortName: "test", Params: params})
		if err != nil {
			t.Fatal(err)
		}
		bed := testbed.New(testbed.Config{
			Hosts: []testbed.NumberedHost{{Host: hungHost{hosts[0]}, Number: 1}}, Params: params, Results: variant, Ledger: record,
			Name: "mhmig-test-1", Shared: testbed.NewShared("mhmig-test", hosts, record, nil), Log: slog.New(slog.DiscardHandler),
		})
		stopped := errors.New("the scenario is stopped")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, stopped)
		defer cancel()
		if _, err := bed.Hosts()[0].StartCommand(ctx, host.Command{Script: "sleep 600"}); !errors.Is(err, stopped) {
			t.Errorf("got %v, want %v", err, stopped)
		}
		if _, err := bed.Close(t.Context(), result.Error); err != nil {
			t.Error(err)
		}
		if err := variant.Finish(result.Outcome{}); err != nil {
			t.Error(err)
		}
	})
}

// A bed keeps VMs if kill_vm_on_error says so; a claimed VM cannot be claimed again.
func TestKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 2, cartesian.Params{"kill_vm_on_error": "no"})
		instance := start("vm1", qmptest.Script{})
		release, err := bed.Claim([]string{"vm1"}, "migration 1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bed.Claim([]string{"vm2", "vm1"}, "migration 2"); err == nil || !strings.Contains(err.Error(), "vm1 is in use by migration 1") {
			t.Errorf("claimed twice: got %v", err)
		}
		release()
		kept, err := bed.Close(context.WithoutCancel(t.Context()), result.Fail)
		if !kept || err != nil {
			t.Errorf("got kept %t, %v", kept, err)
		}
		bed.Keep()
		if err := instance.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Of resets after a requested one, those are the firmware's that come when the guest has
// not run for long since.
func TestFirmwareResets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 3, nil)
		ctx := t.Context()
		for i, tt := range []struct {
			name  string
			reset func(*testbed.Instance, *qmptest.QEMU) // and what follows
			want  []bool
		}{
			{"soon, and late", func(_ *testbed.Instance, q *qmptest.QEMU) {
				time.Sleep(4 * time.Second)
				q.Emit("RESET", map[string]any{"guest": true})
				time.Sleep(4 * time.Second)
				q.Emit("RESET", map[string]any{"guest": true})
			}, []bool{true, true, false}},
			{"soon after a pause", func(i *testbed.Instance, q *qmptest.QEMU) {
				_ = i.Stop(ctx)
				time.Sleep(time.Minute)
				_ = i.Cont(ctx)
				q.Emit("RESET", map[string]any{"guest": true})
				time.Sleep(6 * time.Second)
				q.Emit("RESET", map[string]any{"guest": true})
			}, []bool{true, true, false}},
		} {
			name := fmt.Sprintf("vm%d", i+1)
			instance := start(name, qmptest.Script{})
			if err := instance.Reset(ctx); err != nil {
				t.Fatal(err)
			}
			tt.reset(instance, bed.QEMUs.Latest(name))
			if _, err := instance.Status(ctx); err != nil { // the events before have been handled
				t.Fatal(err)
			}
			var got []bool
			for _, r := range instance.Resets() {
				got = append(got, r.Requested)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: requested: got %v, want %v", tt.name, got, tt.want)
			}
		}
		slow := start("vm3", qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
			if command == "system_reset" {
				time.Sleep(3 * time.Second)
			}
			return nil, nil, false
		}})
		impatient, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := slow.Reset(impatient); err == nil {
			t.Error("a slow reset that is not waited for: got no error")
		}
		if _, err := slow.Status(ctx); err != nil {
			t.Fatal(err)
		}
		if resets := slow.Resets(); len(resets) != 1 || !resets[0].Requested {
			t.Errorf("a slow reset that is not waited for: got %v, want one that was requested", resets)
		}
	})
}

// Events of QEMU: unrequested resets, the end of QEMU, and a guest that runs after it
// has migrated, which is stopped.
func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 3, nil)
		ctx := t.Context()
		instance := start("vm1", qmptest.Script{})
		qemu := bed.QEMUs.Latest("vm1")
		if err := instance.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		qemu.Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"}) // the firmware's, in the same boot
		qemu.Emit("MIGRATION", map[string]any{"status": "warp-drive"})
		for _, name := range []string{"SUSPEND", "WAKEUP", "WATCHDOG", "POWERDOWN", "GUEST_PANICKED"} {
			qemu.Emit(name, nil)
		}
		if _, err := instance.Status(ctx); err != nil { // the events before have been handled
			t.Fatal(err)
		}
		resets := instance.Resets()
		if len(resets) != 2 || !resets[0].Requested || !resets[1].Requested || !strings.HasSuffix(resets[1].String(), "(guest-reset)") {
			t.Errorf("resets: got %v, want two that were requested", resets)
		}
		if instance.State() != "guest-panicked" {
			t.Errorf("state: got %s", instance.State())
		}

		unasked := start("vm2", qmptest.Script{})
		bed.QEMUs.Latest("vm2").Emit("RESET", map[string]any{"guest": true}) // as before QEMU 4.0
		if _, err := unasked.Status(ctx); err != nil {
			t.Fatal(err)
		}
		if resets := unasked.Resets(); len(resets) != 1 || resets[0].Requested || resets[0].Reason != "guest-reset" {
			t.Errorf("resets: got %v, want one that was not requested", resets)
		}
		bed.QEMUs.Latest("vm2").Emit("SHUTDOWN", map[string]any{"guest": false, "reason": "host-signal"})
		if err := bed.Remove(ctx, unasked); err == nil || !strings.Contains(err.Error(), "was terminated by a signal that mhmig did not send") {
			t.Errorf("ended by a signal: got %v", err)
		}

		twice := start("vm3", qmptest.Script{})
		twice.Left()
		bed.QEMUs.Latest("vm3").Emit("RESUME", nil)
		stopped := func() bool {
			state, err := twice.Status(ctx)
			return err == nil && state == "paused"
		}
		for !stopped() { // until the test's own end
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				t.Fatal("the second copy is not stopped")
			}
		}
		if !twice.RanTwice() || result.StatusOf(twice.SplitBrain()) != result.Fail {
			t.Errorf("got revived %t, %v", twice.RanTwice(), twice.SplitBrain())
		}
	})
}

// Errors have the end of the guest's console, in particular a kernel panic.
func TestConsoles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 3, cartesian.Params{"nics": "nic1", "monitor_timeout": "0.5"})
		ctx := t.Context()
		bed.QEMUs.ConsoleOutput("vm1", "booting\nKernel panic - not syncing: Fatal exception\n---[ end Kernel panic ]---\n")
		bed.QEMUs.ConsoleOutput("vm2", "no prompt here\n")
		one := start("vm1", qmptest.Script{})
		two := start("vm2", qmptest.Script{})
		if err := two.EnsureLogin(ctx, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "the guest's console ends:\n  no prompt here") {
			t.Errorf("SSH: got %v", err)
		}
		if _, err := two.WaitForSerialLogin(ctx, 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "vm2@host1: no login: ") {
			t.Errorf("serial: got %v", err)
		}
		found := bed.FinalCheck(ctx)
		if len(found) != 1 || !strings.Contains(found[0].Error(), "vm1@host1: its guest ") || !strings.Contains(found[0].Error(), "Fatal exception") {
			t.Errorf("final check: got %v, want the panic", found)
		}
		if err := one.CheckHalted(ctx); err == nil {
			t.Error("a guest that has left after its panic: got no error")
		}
		bed.QEMUs.ConsoleOutput("vm3", "Kernel panic - not syncing: Fatal exception\n[    0.000000] Linux version of the crash kernel\n")
		crashed := start("vm3", qmptest.Script{})
		_ = crashed.EnsureLogin(ctx, 200*time.Millisecond) // until there is a console
		if err := crashed.CheckHalted(ctx); err != nil {
			t.Errorf("a guest that has left with a crash kernel: got %v", err)
		}
		if text := bed.Evidence(ctx); !strings.Contains(text, "guest console:\n    booting") {
			t.Errorf("evidence: got\n%s", text)
		}
	})
}

// The accessors of a bed.
func TestAccessors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, nil)
		instance := start("vm1", qmptest.Script{})
		bed.ReadParam("mem")
		bed.SetParams(cartesian.Params{"mig_speed": "1M"}, "here")
		if !bed.ParamsRead()["mem"] || bed.ParamsSet()["mig_speed"] != "here" {
			t.Errorf("params: got %v, %v", bed.ParamsRead(), bed.ParamsSet())
		}
		bed.Pause()()
		if err := bed.SaveArtifact("note", []byte("text")); err != nil {
			t.Error(err)
		}
		if err := bed.SaveMigration(result.Migration{Number: 1}); err != nil {
			t.Error(err)
		}
		if h := bed.Host("host2"); h == nil || bed.Host("host9") != nil || strings.Join(bed.HostNames(), " ") != "host1 host2" {
			t.Errorf("hosts: got %v, %v", h, bed.HostNames())
		}
		h := bed.Hosts()[0]
		if facts := h.Facts(); facts["cpus"] == 0 || facts["kernel"] == "" {
			t.Errorf("facts: got %v", facts)
		}
		if h.ListenAddress() != h.MigrationAddress() { // loopback, in a lab
			t.Errorf("listens on %s, is reached at %s", h.ListenAddress(), h.MigrationAddress())
		}
		if params := instance.Params(); params["mem"] != "32" {
			t.Errorf("the VM's params: got mem %q", params["mem"])
		}
		if err := bed.MovedFrom(instance); err != nil {
			t.Errorf("it is there: %v", err)
		}
		if faults := bed.Faults(); len(faults) > 0 {
			t.Errorf("faults: got %v", faults)
		}
		one, err := bed.OneMachine(t.Context(), bed.Hosts()[0], bed.Hosts()[1])
		if err != nil || !one {
			t.Errorf("the hosts of an embedded lab: got one machine %t, %v", one, err)
		}
	})
}
