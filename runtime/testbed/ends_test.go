// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// endingBy writes a scripted QEMU whose process ends by a signal of its own when it gets
// TERM, and returns its path.
func endingBy(t *testing.T, program, signal string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu-"+signal)
	script := fmt.Sprintf(`#!/bin/sh
case "$1 $*" in --version* | -machine* | *'-qmp stdio') exec %[1]s "$@" ;; esac
ulimit -c 0
%[1]s "$@" &
trap 'kill -KILL $!; trap - TERM; kill -%[2]s $$' TERM
wait
`, program, signal)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A QEMU that does not answer quit in time is ended by TERM or KILL. That it ends by
// another signal then is a crash.
func TestCrashAtTheEnd(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	params := bedtest.Scripted(t, qmptest.Script{StopAt: "quit"}, qmptest.Script{})
	program := params["qemu_binary"]
	maps.Copy(params, cartesian.Params{
		"vms":             "vm1 vm2 vm3 vm4",
		"qemu_binary_vm2": endingBy(t, program, "TERM"),
		"qemu_binary_vm3": endingBy(t, program, "SEGV"),
		"qemu_binary_vm4": endingBy(t, program, "ABRT"),
	})
	bed := prepared(t, params)
	want := map[string]string{ // "": not a fault; vm1 is ended by KILL
		"vm3": "QEMU of vm3 on host1 ended by signal 11 (segmentation fault)",
		"vm4": "QEMU of vm4 on host1 ended by signal 6 (aborted)",
	}
	var instances []*testbed.Instance
	for _, name := range bed.VMs() {
		instance, _, err := bed.Ensure(t.Context(), name, bed.Hosts()[0], bed.Params(), vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		instances = append(instances, instance)
	}
	var ending sync.WaitGroup
	for _, instance := range instances {
		ending.Go(func() {
			err := bed.Remove(t.Context(), instance)
			words := want[instance.Name()]
			if words == "" && err != nil {
				t.Errorf("%v: got %v, want no error", instance, err)
			}
			if words != "" && (result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), words)) {
				t.Errorf("%v: got %v: %v, want a FAIL: %s", instance, result.StatusOf(err), err, words)
			}
		})
	}
	ending.Wait()
}

// The crash of a QEMU is reported also if the copies of its disks cannot be removed then.
func TestCrashWithoutCleanUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed := bedtest.NewScriptedBed(t, 1, cartesian.Params{
			"images": "image1", "create_image": "yes", "image_size": "16M", "qemu_img_binary": bedtest.ImageProgram,
		})
		instance, err := bed.StartIncoming(t.Context(), "vm1", bed.Hosts()[1], bed.Params(), vm.Launch{CopyDisks: true})
		if err != nil {
			t.Fatal(err)
		}
		bedtest.Of(instance).Die()
		<-instance.Exited()
		images := filepath.Join(bed.Params()["images_base_dir"], bed.Name)
		if err := errors.Join(os.Rename(images, images+".away"), os.WriteFile(images, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		err = bed.Remove(t.Context(), instance)
		if result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), "QEMU of vm1 on host2 ended by signal 9") || !strings.Contains(err.Error(), "remove the copies of disks") {
			t.Errorf("got %v: %v, want a FAIL with the crash, and what could not be removed", result.StatusOf(err), err)
		}
		if err := errors.Join(os.Remove(images), os.Rename(images+".away", images)); err != nil {
			t.Fatal(err)
		}
	})
}

// A start that fails after QEMU has started leaves no instance, so that the next one is a
// start.
func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	noConsole := errors.New("no console")
	for _, tt := range []struct {
		name    string
		script  qmptest.Script
		console error
		die     bool // while the console is dialed
		want    string
		status  result.Status
	}{
		{name: "no console", console: noConsole, want: "no console", status: result.Error},
		{name: "cont is refused", script: qmptest.Script{Refuse: []string{"cont"}}, want: "the script refuses cont", status: result.Error},
		{name: "QEMU dies", die: true, console: noConsole, want: "ended by signal 9", status: result.Fail},
		{name: "QEMU dies at cont", script: qmptest.Script{StopAt: "cont", Die: true}, want: "ended by signal 9", status: result.Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 1, nil)
				bed.QEMUs.Script("vm1", tt.script, qmptest.Script{})
				bed.QEMUs.ConsoleDialed("vm1", func() error {
					if tt.die {
						bed.QEMUs.Latest("vm1").Die()
					}
					return tt.console
				})
				start := func() (*testbed.Instance, bool, error) {
					return bed.Ensure(t.Context(), "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
				}
				_, _, err := start()
				if err == nil || !strings.Contains(err.Error(), tt.want) || result.StatusOf(err) != tt.status {
					t.Errorf("got %v: %v, want %v: %s", result.StatusOf(err), err, tt.status, tt.want)
				}
				if left := bed.Instances(); len(left) > 0 {
					t.Fatalf("instances: got %v, want none", left)
				}
				<-bed.QEMUs.Latest("vm1").Done()
				bed.QEMUs.Script("vm1", qmptest.Script{}, qmptest.Script{})
				bed.QEMUs.ConsoleDialed("vm1", nil)
				if instance, started, err := start(); err != nil || !started || instance.State() != "running" {
					t.Errorf("the next start: got %v, started %t, %v", instance, started, err)
				}
			})
		})
	}
}

// A guest whose warm start fails late starts cold when the QEMU of the warm start, which
// has its disks, has ended.
func TestFailedWarmStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, _ := warmBed(t, nil)
		if err := runOnce(t, bed, "vm1"); err != nil {
			t.Fatal(err)
		}
		dialed := 0
		bed.QEMUs.ConsoleDialed("vm1", func() error {
			if all := bed.Instances(); len(all) > 0 {
				t.Errorf("while the console of a new one is dialed: got %v, want no instance", all)
			}
			dialed++
			if dialed == 1 {
				return errors.New("no console")
			}
			return nil
		})
		if err := runOnce(t, bed, "vm1"); err != nil {
			t.Fatal(err)
		}
		if log := logOf(t, bed); dialed != 2 || !strings.Contains(log, `guest starts cold why="no console"`) {
			t.Errorf("got %d starts, want a warm one and a cold one; the log:\n%s", dialed, log)
		}
	})
}

// deafHost does not answer any more when images are to be made after a restored disk was
// refused.
type deafHost struct {
	testbed.Remote

	deaf atomic.Bool
}

func (h *deafHost) Run(ctx context.Context, c host.Command) (host.Output, error) {
	if strings.Contains(c.Script, " rebase ") {
		h.deaf.Store(true)
		return host.Output{}, errors.New("the disk is refused")
	}
	if h.deaf.Load() && len(c.Args) > 0 && c.Args[0] == bedtest.ImageProgram {
		<-ctx.Done()
		return host.Output{}, context.Cause(ctx)
	}
	return h.Remote.Run(ctx, c)
}

func (h *deafHost) WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if h.deaf.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return h.Remote.WriteFile(ctx, name, data, perm)
}

// Making disks anew after a failed warm start has a limit: it goes on when ctx has ended.
func TestDisksAreNotRenewedForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hosts, folders := bedtest.LocalHosts(t, 2)
		if err := os.WriteFile(filepath.Join(folders["images_base_dir"], "installed.raw"), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		hosts[0] = &deafHost{Remote: hosts[0]}
		bed := bedtest.NewScriptedBedOn(t, hosts, folders, 1, cartesian.Params{
			"kernel": "jeos:kernel", "initrd": "jeos:initrd", "kernel_params": jeos.KernelParams, "nics": "nic1", "guest_clock": "yes", "mem": "128",
			"images": "image1", "image_name": "installed", "image_format": "raw", "qemu_img_binary": bedtest.ImageProgram,
		})
		bed.Shared.KeepStates(&testbed.States{Dir: filepath.Join(t.TempDir(), "states")})
		bed.QEMUs.Guest("vm1", &bedtest.Guest{})
		if err := runOnce(t, bed, "vm1"); err != nil {
			t.Fatal(err)
		}
		if log := logOf(t, bed); !strings.Contains(log, "the disk is refused") || !strings.Contains(log, "not made within 1m0s") {
			t.Errorf("want a warm start that fails, and that its disks were not made anew; the log:\n%s", log)
		}
	})
}
