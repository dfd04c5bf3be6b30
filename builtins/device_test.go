// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"maps"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// The destination of a migration has the disks and cards that the source has: those
// plugged in, without those unplugged, all at the same addresses. On the way back too.
func TestDevicesFollowTheGuest(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.Blank(t), &testRun{params: cartesian.Params{
		"images": "a b", "image_size": "1M", "create_image": "yes", "drive_format": "scsi", "drive_format_b": "virtio", "image_size_named": "2M",
	}, source: `
def has(vm):
    nodes = [n["node-name"] for n in vm.qmp("query-named-block-nodes") if n["node-name"].startswith("drive_")]
    cards = [c["name"] for c in vm.qmp("query-rx-filter")]
    return sorted(nodes) + sorted(cards)

def migration_scenario(env):
    vm, there, back = env.vm("vm1"), env.hosts[1], env.hosts[0]
    vm.start()
    stg = vm.plug_disk("stg", size = "1M", bus = "scsi", format = "raw")
    vm.plug_disk("named")
    nic = vm.plug_nic("nic2", model = "virtio")
    vm.device("a").unplug()
    want = ["drive_b", "drive_named", "drive_stg", "dev_nic2"]
    if has(vm) != want:
        fail("before: got %s, want %s" % (has(vm), want))
    migrate_wait(["vm1"], back, there)
    if has(vm) != want:
        fail("there: got %s, want %s" % (has(vm), want))
    if not (stg.plugged and nic.plugged) or stg.name != "stg":
        fail("handles: got %s %s" % (stg.plugged, nic.plugged))
    stg.unplug(timeout = 300)
    if stg.plugged:
        fail("stg is plugged after unplug")
    vm.plug_disk("a")
    want = ["drive_a", "drive_b", "drive_named", "dev_nic2"]
    migrate_wait(["vm1"], there, back)
    if has(vm) != want:
        fail("back: got %s, want %s" % (has(vm), want))
    vm.plug_disk("stg")
    vm.destroy()
    vm.start()
    if has(vm) != ["drive_a", "drive_b"]:
        fail("a new guest: got %s" % has(vm))
`})
	e.want(t, result.Pass)
}

func TestPluggingRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		params     cartesian.Params
		want       string
	}{
		{"a name twice", `vm.plug_disk("a", size = "1M")`, nil, "vm1@host1 has a device called a already"},
		{"ide", `vm.plug_disk("b", size = "1M", bus = "ide")`, nil, "vm1 on host1: plug b: drive_format ide cannot be hot-plugged: use virtio or scsi"},
		{"no such bus", `vm.plug_disk("b", size = "1M", bus = "nvme")`, nil, `b: param drive_format: got "nvme", want one of virtio, ide, ahci, scsi`},
		{"no such device", `vm.device("b")`, nil, `vm.device: vm1@host1 has no disk or network card "b", but ["a"]`},
		{"unplugged twice", "d = vm.device(\"a\")\n    d.unplug()\n    d.unplug()", cartesian.Params{"drive_format": "scsi"}, "vm1 on host1: unplug a: vm1 has no disk or network card a"},
		{"no guest that releases it", `vm.device("a").unplug(timeout = 1)`, nil, "vm1 on host1: unplug a: the guest does not release the device: timeout after 1s"},
		{"not started", "vm.destroy()\n    vm.plug_nic(\"nic2\")", nil, "vm.plug_nic: vm1: not running on any host; vm.start starts it"},
		{
			"a destination without them", "vm.plug_nic(\"nic2\")\n    migrate_wait([\"vm1\"], env.hosts[0], env.hosts[1])",
			cartesian.Params{"migration_sync_vms": "no"},
			`param nics: "nic2" on host1 but "" on host2`,
		},
		{"during a migration", "migrate_wait([\"vm1\"], env.hosts[0], env.hosts[1], before_migration = lambda mig: vm.plug_nic(\"nic2\") if mig.is_src else None)", nil, "vm.plug_nic: vm1 is in use by migration 1: wait for its end first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := cartesian.Params{"images": "a", "image_size": "1M", "create_image": "yes"}
			maps.Copy(params, tt.params)
			e := runScenario(t, bedtest.Blank(t), &testRun{params: params, source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    ` + tt.text + "\n"})
			e.want(t, result.Error, tt.want)
		})
	}
}

// A guest finds a virtio disk that is plugged in, keeps what it has written to it during
// a migration, and releases it.
func TestGuestUsesPluggedDisk(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start()
    s = vm.wait_for_login()
    stg = vm.plug_disk("stg", size = "4M", format = "raw")
    wait_for(lambda: s.cmd_status("test -b /dev/vda") == 0, 300, what = "the disk")
    s.cmd("echo moved >/dev/vda; sync")
    migrate_wait(["vm1"], env.hosts[0], env.hosts[1])
    s = vm.wait_for_login()
    if s.cmd("head -n 1 /dev/vda").strip() != "moved":
        fail("the disk has lost what was written to it")
    stg.unplug(timeout = 300)
    wait_for(lambda: s.cmd_status("test -b /dev/vda") != 0, 300, what = "its end")
    migrate_wait(["vm1"], env.hosts[1], env.hosts[0])
`})
	e.want(t, result.Pass)
}

// A device that is no part of the machine any more is unplugged, though QEMU never says
// that it is deleted, and still uses its backend for a while.
func TestUnpluggedWithoutEvent(t *testing.T) {
	t.Parallel()
	silent := qmptest.Script{Drop: []string{"DEVICE_DELETED"}, InUse: 3}
	e := runScenario(t, bedtest.Scripted(t, silent, silent), &testRun{source: `
def migration_scenario(env):
    env.vm("vm1").start()
    env.vm("vm1").plug_nic("nic2").unplug(timeout = 300)
`})
	e.want(t, result.Pass)
}
