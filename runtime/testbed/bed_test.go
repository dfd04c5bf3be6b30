// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

func TestMain(m *testing.M) {
	qmptest.Main()
	goleak.VerifyTestMain(m)
}

// prepared returns a bed of two hosts, ready for VMs.
func prepared(t *testing.T, params cartesian.Params) *bedtest.Bed {
	t.Helper()
	l := bedtest.NewLab(t, 2)
	bed := bedtest.New(t, l.Connected, l.Params(), params, nil)
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bed
}

// local returns a prepared bed of two local hosts, on which no VM is started.
func local(t *testing.T, params cartesian.Params) *bedtest.Bed {
	t.Helper()
	bed := bedtest.NewLocal(t, 2, params, nil)
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bed
}

func TestClaim(t *testing.T) {
	t.Parallel()
	bed := local(t, bedtest.NoQEMU(t))
	release, err := bed.Claim([]string{"vm1", "vm2"}, "migration 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bed.Claim([]string{"vm2"}, "vm.start"); err == nil || !strings.Contains(err.Error(), "vm2 is in use by migration 1") {
		t.Errorf("got %v, want that vm2 is taken", err)
	}
	release()
	again, err := bed.Claim([]string{"vm2"}, "vm.start")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// The address on which a destination listens is not that of another host.
func TestListenAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":              "127.0.0.1", // the host's own
		"127.0.0.9":     "127.0.0.9",
		"10.1.2.3":      "0.0.0.0",
		"fd77::12":      "::",
		"::1":           "::1",
		"host1.foo.com": "0.0.0.0",
	} {
		params := bedtest.NoQEMU(t)
		if address != "" {
			params["mig_address_host1"] = address
		}
		bed := local(t, params)
		h := bed.Hosts()[0]
		if address == "" {
			address = h.Address()
		}
		if h.MigrationAddress() != address || h.ListenAddress() != want {
			t.Errorf("%s: got %s, %s, want %s, %s", address, h.MigrationAddress(), h.ListenAddress(), address, want)
		}
	}
}

// mhmig's files are uploaded to the shared storage, and the hosts' params name
// them there.
func TestShippedFiles(t *testing.T) {
	t.Parallel()
	local := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(local, []byte("a kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := bedtest.NewLab(t, 2)
	params := bedtest.NoQEMU(t)
	maps.Copy(params, cartesian.Params{"kernel": "jeos:kernel", "kernel_vm2": "boot/other", "initrd": ""})
	bed := bedtest.New(t, l.Connected, l.Params(), params, func(name string) (string, error) {
		if name != "jeos:kernel" {
			return "", errors.New("no file " + name)
		}
		return local, nil
	})
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range bed.Hosts() {
		where := path.Join(h.ShippedDir(), "jeos-kernel")
		if !strings.HasPrefix(where, l.Params()["images_base_dir"]+"/"+bed.Name+"-files-host1/") {
			t.Errorf("%s: the kernel is at %s, want it in the run's folder on the shared storage", h.Name(), where)
		}
		data, err := h.ReadFile(t.Context(), where)
		if err != nil || string(data) != "a kernel" {
			t.Errorf("%s: got %q, %v", h.Name(), data, err)
		}
		if got := h.Params.Object("vm2")["kernel"]; got != "boot/other" {
			t.Errorf("%s: vm2's kernel: got %q, want its own", h.Name(), got)
		}
	}
}

// No VM runs twice; an instance on another host is ended on request.
func TestInstances(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	ctx, params := t.Context(), bed.Params()
	a, b := bed.Hosts()[0], bed.Hosts()[1]

	first, started, err := bed.Ensure(ctx, "vm1", a, params, vm.Launch{})
	if err != nil || !started {
		t.Fatalf("got started %t, %v", started, err)
	}
	if got := bed.Current("vm1"); got != first || first.State() != "running" || first.Arrived() {
		t.Errorf("got %v, %s, arrived %t", got, first.State(), first.Arrived())
	}
	same, started, err := bed.Ensure(ctx, "vm1", a, params, vm.Launch{})
	if same != first || started || err != nil {
		t.Errorf("again: got %v, started %t, %v", same, started, err)
	}
	if _, _, err := bed.Ensure(ctx, "vm1", b, params, vm.Launch{}); err == nil || !strings.Contains(err.Error(), "vm1 runs on host1 already") {
		t.Errorf("on another host: got %v, want that it runs already", err)
	}

	incoming, err := bed.StartIncoming(ctx, "vm1", b, params, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	if got := bed.Current("vm1"); got != first {
		t.Errorf("while an incoming one waits: got %v, want %v", got, first)
	}
	if got := incoming.State(); got != "inmigrate" {
		t.Errorf("the incoming one: got %s", got)
	}
	if err := bed.ClearFor(ctx, []string{"vm1"}, b, testbed.FreshWarn); err != nil {
		t.Fatal(err)
	}
	<-first.Exited()
	if got := bed.Current("vm1"); got != nil {
		t.Errorf("after its end: got %v, want none", got)
	}
	next, err := bed.StartIncoming(ctx, "vm1", b, params, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	<-incoming.Exited()
	if err := errors.Join(bed.Remove(ctx, next), bed.Remove(ctx, next)); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	if got := next.State(); got != "none" {
		t.Errorf("a removed one: got state %s, want none", got)
	}
}

// Two instances of one VM on one host have different files, and one waits for the
// guest of the other.
func TestTwoOnOneHost(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{}))
	ctx, params, a := t.Context(), bed.Params(), bed.Hosts()[0]
	first, _, err := bed.Ensure(ctx, "vm1", a, params, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := bed.StartIncoming(ctx, "vm1", a, params, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	if got := bed.Current("vm1"); got != first {
		t.Errorf("the guest is in %v, want in %v", got, first)
	}
	if first.String() != "vm1@host1" || second.String() != "vm1+2@host1" {
		t.Errorf("got %v and %v, want different names", first, second)
	}
	for _, instance := range []*testbed.Instance{first, second} {
		if _, err := instance.Status(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := bed.Remove(ctx, first); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Status(ctx); err != nil {
		t.Errorf("the other one: %v", err)
	}
	third, err := bed.StartIncoming(ctx, "vm1", a, params, vm.Launch{})
	if err != nil || third.String() != "vm1@host1" {
		t.Errorf("when both are gone: got %v, %v", third, err)
	}
}

// An error of a guest is an ERROR before a migration, and a FAIL after it; the end of
// QEMU is reported.
func TestBlame(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	ctx := t.Context()
	seen := errors.New("no answer")
	instance, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	if instance.Blame(ctx, nil) != nil {
		t.Error("blame for nothing")
	}
	check := func(what string, err error, status result.Status, words ...string) {
		t.Helper()
		if got := result.StatusOf(err); got != status {
			t.Errorf("%s: got %s, want %s", what, got, status)
		}
		for _, w := range append(words, seen.Error()) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: got %q, want %q in it", what, err, w)
			}
		}
		if !errors.Is(err, seen) {
			t.Errorf("%s: got %v, without its cause", what, err)
		}
	}
	check("before", instance.Blame(ctx, seen), result.Error)
	instance.Arrive()
	check("after", instance.Blame(ctx, seen), result.Fail)
	check("a refusal", instance.BlameGone(ctx, seen), result.Error)
	if _, err := bed.Hosts()[0].Run(ctx, host.Command{Script: "kill -9 $(cat " + bed.Hosts()[0].RunDir() + "/vm1.pid)"}); err != nil {
		t.Fatal(err)
	}
	<-instance.Exited()
	gone := errors.Join(qmp.ErrGone, seen)
	check("gone", instance.BlameGone(ctx, gone), result.Fail, "QEMU of vm1 on host1 ended by signal 9 (killed)")
	twice := instance.Blame(ctx, instance.Blame(ctx, seen))
	if n := strings.Count(twice.Error(), "ended by signal 9"); n != 1 {
		t.Errorf("reported %d times: %v", n, twice)
	}
}

// Evidence has the state of an instance, also when its QEMU hangs or has ended.
func TestEvidence(t *testing.T) {
	t.Parallel()
	bed := prepared(t, bedtest.Blank(t))
	ctx := t.Context()
	instance, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	e := instance.Evidence(ctx, "source")
	if e.State != "running" || e.Host != "host1" || e.VM != "vm1" || len(e.LastQMP) == 0 {
		t.Errorf("got %+v", e)
	}
	for _, w := range []string{"source host1 vm1", "running", `"execute":"cont"`} {
		if !strings.Contains(e.String(), w) {
			t.Errorf("got\n%s\nwant %s in it", e, w)
		}
	}
	if err := bed.Remove(ctx, instance); err != nil {
		t.Fatal(err)
	}
	if e := instance.Evidence(ctx, ""); e.State == "running" {
		t.Errorf("after its end: got %+v", e)
	}
}

// A login without an answer is retried until the timeout.
func TestNoLogin(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["nics"], params["nic_mode"] = "nic1", "user"
	bed := prepared(t, params)
	instance, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = instance.WaitForLogin(t.Context(), 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "vm1@host1: no login: ") || !strings.Contains(err.Error(), "login_timeout (300ms) on vm1@host1 expired") {
		t.Errorf("got %v, want that login_timeout expired", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// A name that is a path is refused before anything is recorded or created.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, params := range map[string]cartesian.Params{
		"a VM":             {"vms": "../../../evil"},
		"a VM that hides":  {"vms": ".evil"},
		"a VM of two":      {"vms": "vm1 vm2/.."},
		"an image":         {"images": "../evil", "create_image": "yes", "image_size": "1M"},
		"a VM's image":     {"images_vm2": "../evil", "create_image": "yes", "image_size": "1M"},
		"a NIC":            {"nics": "../evil"},
		"a serial port":    {"serials": "serial0 ../evil"},
		"a host's port":    {"serials_host2": "../evil"},
		"a file's own":     {"serials": "sh"},
		"one of mhmig's":   {"kernel": "jeos:../evil"},
		"a host's kernel":  {"kernel_host1": "jeos:/evil"},
		"a relative state": {"state_dir_host2": "evil"},
		"a relative base":  {"images_base_dir": "../evil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := bedtest.NoQEMU(t)
			maps.Copy(all, params)
			bed := bedtest.NewLocal(t, 2, all, func(name string) (string, error) { return "", errors.New("asked for " + name) })
			err := bed.Prepare(t.Context())
			if err == nil || !strings.Contains(err.Error(), "param ") || strings.Contains(err.Error(), "asked for") {
				t.Errorf("got %v, want an error that names the param", err)
			}
			for _, h := range bed.Hosts() {
				if !filepath.IsAbs(h.RunDir()) {
					continue
				}
				if exists, err := h.Exists(t.Context(), h.RunDir()); exists || err != nil {
					t.Errorf("%s: its folder is there: %t, %v", h.Name(), exists, err)
				}
			}
		})
	}
}

// With qemu_dst_binary, all hosts but the first have another QEMU.
func TestDestinationProgram(t *testing.T) {
	t.Parallel()
	params := bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{})
	program, dir := params["qemu_binary"], t.TempDir()
	for _, name := range []string{"old", "new"} {
		script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in -name) : >%s/%s.ran ;; esac\nexec %s \"$@\"\n", dir, name, program)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	params["qemu_binary"], params["qemu_dst_binary"] = filepath.Join(dir, "old"), filepath.Join(dir, "new")
	bed := prepared(t, params)
	ran := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, "*.ran"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if _, _, err := bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{}); err != nil {
		t.Fatal(err)
	}
	if got := ran(); len(got) != 1 || filepath.Base(got[0]) != "old.ran" {
		t.Errorf("on host1: %v ran, want old", got)
	}
	instance, err := bed.StartIncoming(t.Context(), "vm1", bed.Hosts()[1], bed.Params(), vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ran(); len(got) != 2 {
		t.Errorf("on host2: %v ran, want new too", got)
	}
	if got := instance.Params()["qemu_binary"]; got != params["qemu_dst_binary"] {
		t.Errorf("the instance on host2 has qemu_binary = %s", got)
	}
}
