// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mhmig/mhmig/lang/cartesian"
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
