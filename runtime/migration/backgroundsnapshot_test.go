// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// snapshotBed is a bed whose VM runs on the first host, with these QEMUs.
func snapshotBed(t *testing.T, source, copied qmptest.Script) (*bedtest.ScriptedBed, *testbed.Instance) {
	t.Helper()
	bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{"monitor_timeout": "5", "start_vm": "no"})
	bed.QEMUs.Script("vm1", source, copied)
	i, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bed.Remove(context.WithoutCancel(t.Context()), i) })
	return bed, i
}

// capabilities are those of an instance that are on.
func capabilities(t *testing.T, i *testbed.Instance) (on []string) {
	t.Helper()
	var all []struct {
		Capability string
		State      bool
	}
	if err := i.Monitor().Execute(t.Context(), "query-migrate-capabilities", nil, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.State {
			on = append(on, c.Capability)
		}
	}
	slices.Sort(on)
	return on
}

const snapshotLimit = 20 * time.Second

// A snapshot has the memory as it was when the guest ran on, on either host; the guest is
// where it was, and its QEMU's capabilities are as they were.
func TestBackgroundSnapshot(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	var i *testbed.Instance
	memory := func() []byte {
		ram, text := make([]byte, 1<<20), "old memory"
		if bedtest.Of(i).RunState() == "running" {
			text = "new memory"
		}
		copy(ram[4096:], text)
		return ram
	}
	for _, speed := range []int64{0, 4 << 20} {
		bed, instance := snapshotBed(t, qmptest.Script{RAM: memory}, qmptest.Script{})
		i = instance
		if err := i.Monitor().Execute(t.Context(), "migrate-set-capabilities", map[string]any{"capabilities": []map[string]any{{"capability": "return-path", "state": true}, {"capability": "xbzrle", "state": true}}}, nil); err != nil {
			t.Fatal(err)
		}
		before := capabilities(t, i)
		snap, err := migration.TakeBackgroundSnapshot(t.Context(), bed.Bed.Bed, i, migration.SnapshotOptions{Speed: speed, Timeout: snapshotLimit})
		if err != nil {
			t.Fatal(err)
		}
		if after := capabilities(t, i); !slices.Equal(before, after) || !slices.Equal(after, []string{"return-path", "xbzrle"}) {
			t.Errorf("the capabilities were %q, and are %q", before, after)
		}
		if snap.Bytes != 1<<20+2 || snap.Pause <= 0 || snap.Took < snap.Pause || snap.Query["status"] != "completed" {
			t.Errorf("got %+v", snap)
		}
		if least := 200 * time.Millisecond; speed > 0 && snap.Took < least { // 1 MiB at 4 MiB/s
			t.Errorf("it took %v, want %v at least", snap.Took, least)
		}
		if !i.HasGuest() || bed.Current("vm1") != i || i.State() != "running" {
			t.Errorf("the guest is %s after its snapshot", i.State())
		}
		for _, h := range bed.Hosts() {
			found, err := snap.Restore(t.Context(), h, []string{"old memory", "new memory"}, snapshotLimit)
			if want := map[string]bool{"old memory": true, "new memory": false}; err != nil || !maps.Equal(found, want) {
				t.Errorf("on %s: got %v, %v, want %v", h.Name(), found, err, want)
			}
		}
		if left := bed.Instances(); len(left) != 1 || left[0] != i {
			t.Errorf("the instances are %v", left)
		}
		if errs := bed.FinalCheck(t.Context()); len(errs) > 0 {
			t.Error(errs)
		}
		if made, _ := filepath.Glob(filepath.Join(bed.Hosts()[1].RunDir(), "snapshot*")); len(made) > 0 {
			t.Errorf("%q are left", made)
		}
	}
}

func TestBackgroundSnapshotFails(t *testing.T) {
	t.Parallel()
	answer := func(to string, with error) func(string, json.RawMessage) (any, error, bool) {
		return func(command string, _ json.RawMessage) (any, error, bool) {
			return map[string]any{}, with, command == to
		}
	}
	for name, tt := range map[string]struct {
		source qmptest.Script
		before func(*testing.T, *testbed.Instance)
		limit  time.Duration
		status result.Status
		words  string
		gone   bool // the guest is not where it was
	}{
		"dropped":    {source: qmptest.Script{Dropped: []string{"background-snapshot"}}, status: result.Fail, words: "background-snapshot was switched on, but QEMU reports it as off"},
		"not used":   {source: qmptest.Script{Unused: []string{"background-snapshot"}}, status: result.Fail, words: "its guest did not run on while the snapshot was taken: it is postmigrate", gone: true},
		"lacking":    {source: qmptest.Script{Without: []string{"background-snapshot"}}, status: result.Skip, words: "this QEMU has no migration capability background-snapshot"},
		"no kernel":  {source: qmptest.Script{Execute: answer("migrate-set-capabilities", fmt.Errorf("Background-snapshot is not supported by host kernel"))}, status: result.Skip, words: "vm.unprivileged_userfaultfd"},
		"shared RAM": {source: qmptest.Script{Execute: answer("migrate-set-capabilities", fmt.Errorf("Background-snapshot is not compatible with guest memory configuration"))}, status: result.Skip, words: "guest memory configuration"},
		"excluded":   {source: qmptest.Script{Execute: answer("migrate-set-capabilities", fmt.Errorf("Background-snapshot is not compatible with x-new"))}, status: result.Error, words: "x-new"},
		"refused":    {source: qmptest.Script{Refuse: []string{"migrate"}}, status: result.Error, words: "migrate"},
		"no answer":  {source: qmptest.Script{Ignore: []string{"migrate"}}, status: result.Fail, words: "migrate: no reply within"},
		"it freezes": {source: qmptest.Script{StopAt: "MIGRATION:active"}, limit: time.Second, status: result.Fail, words: "not complete within 1s"},
		"it ends":    {source: qmptest.Script{StopAt: "STOP", Die: true}, status: result.Fail, words: "QEMU of vm1 on host1 ended by signal 9"},
		"it is slow": {source: qmptest.Script{Drop: []string{"MIGRATION:completed"}}, limit: time.Second, status: result.Fail, words: "not complete within 1s"},
		"paused":     {before: func(t *testing.T, i *testbed.Instance) { _ = i.Stop(t.Context()) }, status: result.Error, words: "its guest is paused"},
		"it is reset": {before: func(_ *testing.T, i *testbed.Instance) {
			stopped := i.Monitor().Subscribe("STOP")
			go func() {
				defer stopped.Close()
				<-stopped.C
				bedtest.Of(i).Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"})
			}()
		}, status: result.Fail, words: "its guest was reset while a background snapshot of it was taken"},
		"cannot write": {before: func(t *testing.T, i *testbed.Instance) {
			for n := range 9 {
				if err := os.MkdirAll(filepath.Join(i.Host.RunDir(), fmt.Sprintf("snapshot%d", n), "in the way"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}, status: result.Fail, words: "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, i := snapshotBed(t, tt.source, qmptest.Script{})
				if tt.before != nil {
					tt.before(t, i)
				}
				snap, err := migration.TakeBackgroundSnapshot(t.Context(), bed.Bed.Bed, i, migration.SnapshotOptions{Timeout: cmp.Or(tt.limit, snapshotLimit)})
				if err == nil || snap != nil || result.StatusOf(err) != tt.status || !strings.Contains(err.Error(), tt.words) {
					t.Errorf("got %v, %v (%s), want %s with %q", snap, err, result.StatusOf(err), tt.status, tt.words)
				}
				if errs := bed.FinalCheck(t.Context()); tt.gone && len(errs) == 0 {
					t.Error("the check at the end does not find that the guest is gone")
				}
			})
		})
	}
}

// A snapshot that is not loaded is found, and so is a copy that would run.
func TestRestoreFails(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	for name, tt := range map[string]struct {
		copied qmptest.Script
		damage bool
		limit  time.Duration
		status result.Status
		words  string
	}{
		"not loaded": {copied: qmptest.Script{LoadError: "Missing section footer for ram"}, status: result.Fail, words: "Missing section footer for ram"},
		"damaged":    {damage: true, status: result.Fail, words: "load of migration failed"},
		"it would run": {copied: qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
			return map[string]any{}, nil, command == "stop"
		}}, status: result.Fail, words: "is running, want paused: two copies"},
		"it dies":    {copied: qmptest.Script{StopAt: "load", Die: true}, status: result.Fail, words: "vm1"},
		"it freezes": {copied: qmptest.Script{StopAt: "MIGRATION:active"}, limit: 2 * time.Second, status: result.Error, words: "not restored on host1 within 2s"},
		"no RAM":     {copied: qmptest.Script{Refuse: []string{"pmemsave"}}, status: result.Error, words: "save RAM"},
		"disks":      {copied: qmptest.Script{Without: []string{"late-block-activate"}}, status: result.Skip, words: "late-block-activate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, i := snapshotBed(t, qmptest.Script{}, tt.copied)
				snap, err := migration.TakeBackgroundSnapshot(t.Context(), bed.Bed.Bed, i, migration.SnapshotOptions{Timeout: snapshotLimit})
				if err != nil {
					t.Fatal(err)
				}
				if tt.damage {
					made, _ := filepath.Glob(filepath.Join(i.Host.RunDir(), "snapshot*"))
					if len(made) != 1 || os.WriteFile(made[0], []byte("b"), 0o600) != nil {
						t.Fatalf("%q", made)
					}
				}
				found, err := snap.Restore(t.Context(), i.Host, []string{"text"}, cmp.Or(tt.limit, snapshotLimit))
				if err == nil || found != nil || result.StatusOf(err) != tt.status || !strings.Contains(err.Error(), tt.words) {
					t.Errorf("got %v, %v (%s), want %s with %q", found, err, result.StatusOf(err), tt.status, tt.words)
				}
				if errs := bed.FinalCheck(t.Context()); len(errs) > 0 || bed.Current("vm1") != i {
					t.Errorf("the guest that runs: %v", errs)
				}
			})
		})
	}
}
