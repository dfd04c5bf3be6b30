// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// A QEMU for a copy of a guest is none of the VM's instances, whose guest runs on; it ends
// when its user is done, and one that has died before is an error.
func TestCopyOfGuest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, nil)
		ctx, instance := t.Context(), start("vm1", qmptest.Script{})
		other := bed.Hosts()[1]
		for _, dies := range []bool{false, true} {
			copied, end, err := bed.StartCopy(ctx, instance.GuestConfig(), other)
			if err != nil {
				t.Fatal(err)
			}
			if copied.State() != "inmigrate" || copied.HasGuest() {
				t.Errorf("the copy is %s, with a guest: %t", copied.State(), copied.HasGuest())
			}
			if of := bed.Instances(); len(of) != 1 || bed.Current("vm1") != instance || instance.State() != "running" {
				t.Errorf("the VM's instances are %v; its guest is %s", of, instance.State())
			}
			if dies {
				bedtest.Of(copied).Die()
				<-copied.Exited()
			}
			if err := end(ctx); (err != nil) != dies || dies && !strings.Contains(err.Error(), "ended by signal 9") {
				t.Errorf("its end: got %v, want an error: %t", err, dies)
			}
			<-copied.Exited()
		}
		_ = bed.Remove(ctx, instance)
	})
}

// A copy has the params with which the guest was started, and the devices that it had then,
// whatever it has now.
func TestCopyOfGuestAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, _ := scriptedBed(t, 1, cartesian.Params{"nics": "nic1"})
		bed.QEMUs.Script("vm1", qmptest.Script{}, qmptest.Script{})
		ctx, params := t.Context(), maps.Clone(bed.Params())
		params["smp"] = "4"
		instance, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], params, vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		plug := func(name string) {
			if err := bed.PlugIn(ctx, instance, testbed.Plug{Name: name, NIC: true}); err != nil {
				t.Fatal(err)
			}
		}
		plug("nic2")
		then := instance.GuestConfig()
		if err := bed.Unplug(ctx, instance, "nic1", time.Minute); err != nil {
			t.Fatal(err)
		}
		plug("nic3")
		for _, h := range bed.Hosts() {
			copied, end, err := bed.StartCopy(ctx, then, h)
			if err != nil {
				t.Fatal(err)
			}
			if cpus, devices := copied.Config().CPUs, strings.Join(copied.Devices(), " "); cpus != 4 || devices != "nic1 nic2" {
				t.Errorf("on %s: got %d CPUs and %s, want 4 and nic1 nic2", h.Name(), cpus, devices)
			}
			if err := end(ctx); err != nil {
				t.Error(err)
			}
		}
	})
}

// A copy is where the guest's disks are.
func TestCopyOfGuestWithoutItsDisks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, cartesian.Params{"images_shared": "no"})
		instance := start("vm1", qmptest.Script{})
		_, _, err := bed.StartCopy(t.Context(), instance.GuestConfig(), bed.Hosts()[1])
		if want := "host2 has not its disks (param images_shared): a copy of it can be on host1 alone"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		_ = bed.Remove(t.Context(), instance)
	})
}

// While a snapshot is taken, a guest that is paused by the scenario is told from one that
// QEMU has stopped.
func TestPauseDuringSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, start := scriptedBed(t, 1, nil)
		ctx, instance := t.Context(), start("vm1", qmptest.Script{})
		end := instance.BeginSnapshot()
		if instance.PauseRequested() {
			t.Error("a pause was requested before it was")
		}
		if err := instance.Stop(ctx); err != nil || !instance.PauseRequested() {
			t.Errorf("a pause: got %v, requested: %t", err, instance.PauseRequested())
		}
		if err := instance.Cont(ctx); err != nil || instance.PauseRequested() {
			t.Errorf("afterwards: got %v, requested: %t", err, instance.PauseRequested())
		}
		end()
		_ = bed.Remove(ctx, instance)
	})
}
