// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// Capabilities and parameters that params name apply to the migration, on both ends, and
// not to the guest's next one.
func TestCapabilitiesAndParameters(t *testing.T) {
	t.Parallel()
	settings := `
def settings_of(vm):
	on = [c["capability"] for c in vm.qmp("query-migrate-capabilities") if c["state"]]
	p = vm.qmp("query-migrate-parameters")
	return ("xbzrle" in on, "auto-converge" in on, p["xbzrle-cache-size"], p["cpu-throttle-tailslow"], p["multifd-compression"])

usual = (False, False, 64 << 20, False, "none")
`
	chosen := cartesian.Params{
		"capabilitys": "xbzrle auto-converge", "capabilitys_state": "enable disable",
		"parameters": "xbzrle-cache-size cpu-throttle-tailslow multifd-compression", "parameters_value": "256M on zstd",
	}
	with := func(key, value string) cartesian.Params { return cartesian.Params{key: value} }
	runScripted(t, []scriptedCase{
		{name: "on both ends", params: chosen, helpers: settings, text: `
	ends = []
	migrate_wait(["vm1"], a, b, migrate_src=lambda mig: (mig.migrate_vms_src(), ends.append(settings_of(mig.vm("vm1")))),
		before_migration=lambda mig: None if mig.is_src else ends.append(settings_of(mig.vm("vm1"))))
	for got in ends:
		if got != (True, False, 256 << 20, True, "zstd"):
			fail("an end has %s" % (got,))
	if len(ends) != 2 or settings_of(vm) != usual:
		fail("afterwards it has %s" % (settings_of(vm),))`},
		{name: "cancelled", params: chosen, source: qmptest.Script{Endless: true}, helpers: settings, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait(status="active")
	mig.cancel()
	mig.join()
	if vm.host.name != "host1" or settings_of(vm) != usual:
		fail("afterwards it has %s" % (settings_of(vm),))`},
		{name: "a QEMU that lacks the capability", params: with("capabilitys", "teleport"), status: result.Error, want: []string{"this QEMU has no migration capability teleport"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a QEMU that lacks the parameter", params: cartesian.Params{"parameters": "warp-factor", "parameters_value": "9"}, status: result.Error, want: []string{"this QEMU has no migration parameter warp-factor"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a value that is no number", params: cartesian.Params{"parameters": "xbzrle-cache-size", "parameters_value": "much"}, status: result.Error, want: []string{"param parameters_value: xbzrle-cache-size = much: want a number"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a value that is neither on nor off", params: cartesian.Params{"parameters": "cpu-throttle-tailslow", "parameters_value": "1"}, status: result.Error, want: []string{"want on or off"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a parameter without a value", params: with("parameters", "xbzrle-cache-size"), status: result.Error, want: []string{"parameters_value", "one value for each of parameters"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a state of no capability", params: with("capabilitys_state", "enable"), status: result.Error, want: []string{"capabilitys_state", "at most one for each"}, text: `
	migrate_wait(["vm1"], a, b)`},
		{name: "a wrong state", params: cartesian.Params{"capabilitys": "xbzrle", "capabilitys_state": "on"}, status: result.Error, want: []string{"enable or disable"}, text: `
	migrate_wait(["vm1"], a, b)`},
	})
}

// The dirty rate is not measured in the way that crashes QEMU under TCG.
func TestDirtyBitmapUnderTCG(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "dirty bitmap", status: result.Skip, want: []string{"calc-dirty-rate with mode=dirty-bitmap refused: under TCG it crashes QEMU 7.2"}, text: `
	vm.start(a)
	vm.qmp("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")`},
		{name: "page sampling", text: `
	vm.start(a)
	vm.qmp("calc-dirty-rate", calc_time=1, mode="page-sampling")`},
	})
}

// vm.start starts a VM with other params than the variant's, of which those of migrate are
// independent.
func TestStartParams(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{
		{name: "a param of the VM", text: `
	vm.start(a, params={"login_timeout_vm1": "7"})
	if vm.params["login_timeout"] != "7":
		fail(vm.params["login_timeout"])
	if env.params.get("login_timeout_vm1") != None:
		fail("the variant's params have changed")
	vm.start(a)
	vm.start(a, params={})`},
		{name: "it runs already", status: result.Error, want: []string{"vm.start: params: vm1 runs on host1 already, and they are for its start"}, text: `
	vm.start(a)
	vm.start(a, params={"login_timeout": "7"})`},
		{name: "a disk", status: result.Error, want: []string{"vm.start: params: image_size: VMs and their disks were prepared before the scenario"}, text: `
	vm.start(a, params={"image_size": "1G"})`},
		{name: "misspelt", status: result.Error, want: []string{`vm.start: params: no param "login_timeuot"; did you mean "login_timeout"?`}, text: `
	vm.start(a, params={"login_timeuot": "7"})`},
	})
}

// The variant's own folder for images is there, on each host.
func TestImageDir(t *testing.T) {
	t.Parallel()
	runScripted(t, []scriptedCase{{name: "made", text: `
	for host in env.hosts:
		host.run("test -d '%s/%s'" % (host.params["images_base_dir"], env.image_dir))
	if "/" in env.image_dir:
		fail(env.image_dir)`}})
}
