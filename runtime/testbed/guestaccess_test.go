// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Logins, and what the bed reads and writes in the guest.
func TestGuest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 2, cartesian.Params{"nics": "nic1", "password": "123456"})
		ctx, guest := t.Context(), &bedtest.Guest{Password: "123456", Run: func(string) (string, int) { return "Linux\n", 0 }}
		bed.QEMUs.Guest("vm1", guest)
		bed.QEMUs.Guest("vm2", &bedtest.Guest{Password: "another"})
		one := start("vm1", qmptest.Script{})
		if id := one.BootID(ctx, false); id != "" {
			t.Errorf("the boot ID without a login: got %q, want none", id)
		}
		if err := one.EnsureLogin(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the session of EnsureLogin, and a new one
			session, err := one.WaitForLogin(ctx, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := session.CmdOutput(ctx, "uname", time.Minute); out != "Linux\n" || err != nil {
				t.Errorf("uname: got %q, %v", out, err)
			}
		}
		for range 5 {
			session, err := one.WaitForLogin(ctx, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		}
		if got := one.Sessions(); got != 3 {
			t.Errorf("%d sessions are kept, want the two that are open and the last", got)
		}
		if id := one.BootID(ctx, false); id != bedtest.BootID(1) {
			t.Errorf("boot ID: got %q, want %q", id, bedtest.BootID(1))
		}
		if clock, err := one.ReadClock(ctx, time.Minute); err != nil || time.Since(clock.Guest).Abs() > time.Second {
			t.Errorf("clock: got %+v, %v, want the time %v", clock, err, time.Now())
		}
		sum, err := one.Upload(ctx, time.Minute, strings.NewReader("content"), "/tmp/file", 0o644)
		if err != nil || string(guest.File("/tmp/file")) != "content" {
			t.Errorf("upload: got %q, %v", guest.File("/tmp/file"), err)
		}
		var content strings.Builder
		if got, err := one.Download(ctx, time.Minute, "/tmp/file", &content); err != nil || content.String() != "content" || got != sum {
			t.Errorf("download: got %q, %s, %v, want the same", content.String(), got, err)
		}
		if _, err := one.Download(ctx, time.Minute, "/tmp/other", &content); err == nil || !strings.Contains(err.Error(), "download /tmp/other") {
			t.Errorf("a file that does not exist: got %v", err)
		}
		began := time.Now()
		if _, err := start("vm2", qmptest.Script{}).WaitForLogin(ctx, time.Hour); err == nil || !strings.Contains(err.Error(), "(params username, password)") || time.Since(began) > time.Minute {
			t.Errorf("a wrong password: got %v after %v, want that it is refused at once", err, time.Since(began))
		}
	})
}

// A login ends when QEMU does not answer its monitor any more.
func TestLoginOfSilentQEMU(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, cartesian.Params{"nics": "nic1", "monitor_timeout": "3"})
		instance := start("vm1", qmptest.Script{StopAt: "query-status"})
		if _, err := instance.WaitForLogin(t.Context(), time.Hour); err == nil || !strings.Contains(err.Error(), "QEMU does not answer its monitor") {
			t.Errorf("got %v, want that QEMU is silent", err)
		}
		_ = bed.Remove(t.Context(), instance) // it is killed, which is a failure
	})
}

// A reboot is a reset and a login to another boot.
func TestReboot(t *testing.T) {
	t.Parallel()
	resetOf := func(bed *bedtest.ScriptedBed) {
		bed.QEMUs.Latest("vm1").Emit("RESET", map[string]any{"guest": true, "reason": "guest-reset"})
	}
	for _, tt := range []struct {
		name  string
		shell bool // by a command of the guest
		run   func(*bedtest.ScriptedBed, *bedtest.Guest) (string, int)
		err   string
	}{
		{name: "reset"},
		{name: "the guest's own", shell: true, run: func(bed *bedtest.ScriptedBed, guest *bedtest.Guest) (string, int) {
			guest.Boot()
			resetOf(bed)
			return "", 0
		}},
		{name: "a reset without a boot", shell: true, err: "it was reset, but has not booted: its boot ID is still " + bedtest.BootID(1), run: func(bed *bedtest.ScriptedBed, _ *bedtest.Guest) (string, int) {
			resetOf(bed)
			return "", 0
		}},
		{name: "a command that fails", shell: true, err: "permission denied", run: func(*bedtest.ScriptedBed, *bedtest.Guest) (string, int) {
			return "permission denied\n", 1
		}},
		{name: "no reset", shell: true, err: "the guest was not reset", run: func(*bedtest.ScriptedBed, *bedtest.Guest) (string, int) {
			return "", 0
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, start := scriptedBed(t, 1, cartesian.Params{"nics": "nic1"})
				guest := &bedtest.Guest{}
				guest.Run = func(string) (string, int) { return tt.run(bed, guest) }
				bed.QEMUs.Guest("vm1", guest)
				instance := start("vm1", qmptest.Script{})
				if _, err := instance.WaitForLogin(t.Context(), time.Minute); err != nil { // its boot ID is known
					t.Fatal(err)
				}
				reboot := instance.Reboot
				if tt.shell {
					reboot = instance.RebootInShell
				}
				session, at, err := reboot(t.Context(), time.Minute)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("got %v, want %s", err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if at != instance || session.Err() != nil {
					t.Errorf("got a session of %v, %v, want a usable one of %v", at, session.Err(), instance)
				}
				if id := instance.BootID(t.Context(), false); id != bedtest.BootID(2) {
					t.Errorf("boot ID: got %q, want that of the second boot", id)
				}
				if resets := instance.Resets(); len(resets) != 1 || !resets[0].Requested {
					t.Errorf("resets: got %v, want one that was requested", resets)
				}
			})
		})
	}
}

// warmBed returns a bed whose guests are JeOS, with saved states in a folder.
func warmBed(t *testing.T, params cartesian.Params) (*bedtest.ScriptedBed, string) {
	t.Helper()
	all := cartesian.Params{
		"kernel": "jeos:kernel", "initrd": "jeos:initrd", "kernel_params": jeos.KernelParams, "nics": "nic1", "guest_clock": "yes", "mem": "128",
	}
	maps.Copy(all, params)
	bed := bedtest.NewScriptedBed(t, 1, all)
	states := filepath.Join(t.TempDir(), "states")
	bed.Shared.KeepStates(&testbed.States{Dir: states})
	for _, name := range bed.VMs() {
		bed.QEMUs.Guest(name, &bedtest.Guest{})
	}
	return bed, states
}

// runOnce starts a VM on the first host and ends it again.
func runOnce(t *testing.T, bed *bedtest.ScriptedBed, name string) error {
	t.Helper()
	instance, _, err := bed.Ensure(t.Context(), name, bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		return err
	}
	if state, err := instance.Status(t.Context()); state != "running" || err != nil {
		t.Errorf("%v: got %s, %v, want that it runs", instance, state, err)
	}
	return bed.Remove(t.Context(), instance)
}

// The first guest of its kind boots once for its state to be saved; all are restored from
// it.
func TestWarmStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, states := warmBed(t, nil)
		for range 2 {
			if err := runOnce(t, bed, "vm1"); err != nil {
				t.Fatal(err)
			}
		}
		log := logOf(t, bed)
		if saved, warm := strings.Count(log, "the guest's state is saved"), strings.Count(log, "guest starts warm"); saved != 1 || warm != 2 {
			t.Errorf("got %d states saved and %d warm starts, want 1 and 2; the log:\n%s", saved, warm, log)
		}
		files, err := filepath.Glob(filepath.Join(states, "*", "state"))
		if err != nil || len(files) != 1 {
			t.Fatalf("states: got %v, %v, want one", files, err)
		}
		// A damaged state is removed, and saved anew.
		if err := os.WriteFile(files[0], []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := runOnce(t, bed, "vm1"); err != nil {
				t.Fatal(err)
			}
		}
		if log := logOf(t, bed); strings.Count(log, "the saved state of the guest was damaged") != 1 || strings.Count(log, "guest starts warm") != 3 {
			t.Errorf("after it was damaged: want a cold start and a warm one; the log:\n%s", log)
		}
	})
}

// A guest that measured its clock wrongly when it booted is booted once more, not again
// and again.
func TestSavedWithWrongClock(t *testing.T) {
	t.Parallel()
	for fast, want := range map[int]string{1: "guest starts warm", 2: "guest starts cold"} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, _ := warmBed(t, nil)
				bed.QEMUs.Guest("vm1", &bedtest.Guest{FastBoots: fast})
				if err := runOnce(t, bed, "vm1"); err != nil {
					t.Fatal(err)
				}
				log := logOf(t, bed)
				if strings.Count(log, "booting the guest once, to save") != 2 || strings.Count(log, "booting once more") != 1 || !strings.Contains(log, want) {
					t.Errorf("want two boots to save the state, and %s; the log:\n%s", want, log)
				}
			})
		})
	}
}

// Why a guest cannot start warm.
func TestColdStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params cartesian.Params
		launch vm.Launch
		script qmptest.Script
		why    string // in the log
		err    string // with guest_start = warm
	}{
		{name: "the param", params: cartesian.Params{"guest_start": "cold"}, why: "param guest_start"},
		{name: "another guest", params: cartesian.Params{"kernel_params": "quiet"}, why: "its guest is neither JeOS nor installed on a disk"},
		{name: "required", params: cartesian.Params{"guest_start": "warm", "kernel_params": "quiet"}, err: "param guest_start = warm, but it cannot start warm: its guest is neither JeOS nor installed on a disk"},
		{name: "the transport", launch: vm.Launch{MustBoot: "its memory is shared"}, why: "its memory is shared"},
		{name: "no login to save it", script: qmptest.Script{Refuse: []string{"cont"}}, why: "the script refuses cont"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed, _ := warmBed(t, tt.params)
				bed.QEMUs.Script("vm1", tt.script, qmptest.Script{})
				instance, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), tt.launch)
				if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("got %v, want %s", err, tt.err)
				}
				if tt.err == "" && len(tt.script.Refuse) == 0 && (err != nil || instance.State() != "running") {
					t.Errorf("got %v, %v, want that it runs", instance, err)
				}
				if log := logOf(t, bed); tt.why != "" && (!strings.Contains(log, "guest starts cold") || !strings.Contains(log, tt.why)) {
					t.Errorf("want a cold start because of %q; the log:\n%s", tt.why, log)
				}
			})
		})
	}
}

// A state whose guest does not answer is dropped, and the guest boots.
func TestRestoredGuestIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, states := warmBed(t, nil)
		if err := runOnce(t, bed, "vm1"); err != nil {
			t.Fatal(err)
		}
		bed.QEMUs.Script("vm1", qmptest.Script{Drop: []string{"RESUME"}}, qmptest.Script{})
		bed.QEMUs.Guest("vm1", &bedtest.Guest{Silent: true})
		began := time.Now()
		if err := runOnce(t, bed, "vm1"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 10*time.Second || took > time.Minute {
			t.Errorf("it took %v of virtual time, want the time in which a restored guest must answer", took)
		}
		if log := logOf(t, bed); !strings.Contains(log, "the restored guest has not answered within 10s") || !strings.Contains(log, "WARN") {
			t.Errorf("want a warning; the log:\n%s", log)
		}
		if left, err := os.ReadDir(states); err != nil || len(left) > 0 {
			t.Errorf("states: got %v, %v, want none", left, err)
		}
	})
}

// A guest whose state is being saved for another start waits for that, until it is
// cancelled.
func TestSavedAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, _ := warmBed(t, nil)
		bed.QEMUs.Guest("vm1", &bedtest.Guest{BootTime: 10 * time.Second})
		began, ended := time.Now(), make(chan error)
		start := func(ctx context.Context) {
			_, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
			ended <- err
		}
		go start(t.Context())
		synctest.Wait() // it boots, to save the state
		cancelled := errors.New("cancelled")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, cancelled)
		defer cancel()
		go start(ctx)
		if err := <-ended; !errors.Is(err, cancelled) || time.Since(began) > 6*time.Second {
			t.Errorf("the cancelled one: got %v after %v, want %v", err, time.Since(began), cancelled)
		}
		if err := <-ended; err != nil || time.Since(began) < 10*time.Second {
			t.Errorf("the other one: got %v after %v", err, time.Since(began))
		}
	})
}

// Devices that are plugged in and unplugged, which the destination of a migration has too.
func TestHotplug(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 2, cartesian.Params{"nics": "nic1"})
		ctx, instance := t.Context(), start("vm1", qmptest.Script{})
		nic := testbed.Plug{Name: "nic2", NIC: true, Model: "e1000"}
		if err := bed.PlugIn(ctx, instance, nic); err != nil {
			t.Fatal(err)
		}
		if err := bed.PlugIn(ctx, instance, nic); err == nil || !strings.Contains(err.Error(), "has a device called nic2 already") {
			t.Errorf("twice: got %v", err)
		}
		if got := strings.Join(instance.Devices(), " "); got != "nic1 nic2" {
			t.Errorf("devices: got %s", got)
		}
		incoming, err := bed.StartIncoming(ctx, "vm1", bed.Hosts()[1], bed.Params(), vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(incoming.Devices(), " "); got != "nic1 nic2" {
			t.Errorf("the destination's devices: got %s, want the source's", got)
		}
		if err := bed.Unplug(ctx, instance, "nic2", time.Minute); err != nil || len(instance.Devices()) != 1 {
			t.Errorf("unplug: got %v, %v", err, instance.Devices())
		}
		if err := bed.PlugIn(ctx, instance, nic); err != nil {
			t.Errorf("again: got %v", err)
		}

		deaf := start("vm2", qmptest.Script{Drop: []string{"DEVICE_DELETED"}})
		if err := bed.Unplug(ctx, deaf, "nic1", time.Minute); !errors.Is(err, vm.ErrNotReleased) || result.StatusOf(err) != result.Error {
			t.Errorf("not released: got %v: %v, want an ERROR", result.StatusOf(err), err)
		}
		deaf.Arrive()
		if err := bed.Unplug(ctx, deaf, "nic1", time.Minute); !errors.Is(err, vm.ErrNotReleased) || result.StatusOf(err) != result.Fail {
			t.Errorf("not released after a migration: got %v: %v, want a FAIL", result.StatusOf(err), err)
		}
		bedtest.Of(deaf).Die()
		<-deaf.Exited()
		if err := bed.PlugIn(ctx, deaf, nic); err == nil || !strings.Contains(err.Error(), "ended by signal 9") {
			t.Errorf("a QEMU that has died: got %v", err)
		}
		_ = bed.Remove(ctx, deaf)
	})
}

// A device that cannot be plugged in changes nothing, with whatever QEMU.
func TestPluggingRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, cartesian.Params{"nics": "nic1"})
		ctx := t.Context()
		var plugged []string
		instance := start("vm1", qmptest.Script{Execute: func(command string, arguments json.RawMessage) (any, error, bool) {
			if command == "device_add" {
				plugged = append(plugged, string(arguments))
			}
			return nil, nil, false
		}})
		if err := bed.Unplug(ctx, instance, "nic1", time.Minute); err != nil {
			t.Fatal(err)
		}
		disk := testbed.Plug{Name: "disk", Size: 1 << 20, Format: "raw", Model: "scsi"}
		if err := bed.PlugIn(ctx, instance, disk); err != nil {
			t.Fatal(err)
		}
		if err := bed.Unplug(ctx, instance, "disk", time.Minute); err != nil {
			t.Fatal(err)
		}
		plugged = nil
		for _, tt := range []struct {
			plug testbed.Plug
			want string
		}{
			{testbed.Plug{Size: 1 << 20}, `plug a device: got "", want names of at most 25 letters`},
			{testbed.Plug{NIC: true}, `got ""`},
			{testbed.Plug{Name: "a b", Size: 1 << 20}, `got "a b"`},
			{testbed.Plug{Name: "a,b", NIC: true}, `got "a,b"`},
			{testbed.Plug{Name: "disk", Size: 2 << 20}, "plug disk: the disk of this name that was unplugged comes back as it was"},
			{testbed.Plug{Name: "disk", Format: "qcow2"}, "leave size and format out, or use another name"},
			{testbed.Plug{Name: "disk", NIC: true}, "is of another kind: use another name"},
			{testbed.Plug{Name: "nic1", Size: 1 << 20}, "is of another kind"},
		} {
			if err := bed.PlugIn(ctx, instance, tt.plug); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: got %v, want %q", tt.plug, err, tt.want)
			}
		}
		if len(plugged)+len(instance.Devices()) > 0 {
			t.Errorf("QEMU was told to plug %q; the guest has %q", plugged, instance.Devices())
		}
		if err := bed.PlugIn(ctx, instance, testbed.Plug{Name: "disk"}); err != nil {
			t.Errorf("the disk again: got %v", err)
		}
	})
}

// The params and devices of an instance can be read while a device is plugged into it.
// Only the race detector sees that they cannot.
func TestParamsWhilePlugging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, cartesian.Params{"nics": "nic1"})
		instance := start("vm1", qmptest.Script{})
		var reading sync.WaitGroup
		reading.Go(func() {
			for len(instance.Devices()) == 1 {
				if mem := instance.Params()["mem"]; mem != "32" {
					t.Errorf("params: got mem %q", mem)
				}
				runtime.Gosched()
			}
		})
		if err := bed.PlugIn(t.Context(), instance, testbed.Plug{Name: "nic2", NIC: true, Model: "e1000"}); err != nil {
			t.Fatal(err)
		}
		reading.Wait()
	})
}

// The random numbers of a scenario depend on its seed and name.
func TestRandom(t *testing.T) {
	t.Parallel()
	bed := bedtest.NewScriptedBed(t, 1, nil)
	if _, drawn := bed.RandomSeed(); drawn {
		t.Error("drawn before the first one")
	}
	first := bed.Random().Uint64()
	if other := bedtest.NewScriptedBed(t, 1, nil).Random().Uint64(); other != first {
		t.Errorf("got %d and %d in the same variant", first, other)
	}
	if seed, drawn := bed.RandomSeed(); seed != 0 || !drawn {
		t.Errorf("got seed %d, drawn %t", seed, drawn)
	}
}

// logOf is the variant's log so far.
func logOf(t *testing.T, bed *bedtest.ScriptedBed) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(bed.Results.Dir(), result.LogFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
