// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// What the scenario itself has ended, a session or a guest, is no fault of a guest that
// has moved: whoever still uses it is told so, as an ERROR.
func TestEndedByScenario(t *testing.T) {
	t.Parallel()
	const moved = `
	migrate_wait(["vm1"], a, b)`
	const session = moved + `
	s = vm.wait_for_login()`
	works := func() *bedtest.Guest {
		return &bedtest.Guest{Run: func(command string) (string, int) {
			if command == "work" {
				time.Sleep(30 * time.Second)
			}
			return "", 0
		}}
	}
	const destroyed = "the scenario has destroyed vm1@host2"
	cases := []scriptedCase{
		{name: "a session that was closed", want: []string{"the scenario has closed this session", `command "true"`}, text: session + `
	s.close()
	s.cmd("true")`},
		{name: "a line for a session that was closed", want: []string{"the scenario has closed this session"}, text: session + `
	s.close()
	s.sendline("true")`},
		{name: "a session that another task closes", want: []string{"the scenario has closed this session", `command "work"`}, text: session + `
	task = spawn(lambda: s.cmd("work"))
	sleep(1)
	s.close()
	task.join()`},
		{name: "a session of a guest that was destroyed", want: []string{destroyed}, text: session + `
	vm.destroy()
	s.cmd("true")`},
		{name: "a session of a guest that another task destroys", want: []string{destroyed}, text: session + `
	task = spawn(lambda: s.cmd("work"))
	sleep(1)
	vm.destroy()
	task.join()`},
		{name: "a session of a guest that is told to quit", want: []string{destroyed}, text: session + `
	vm.qmp("quit")
	s.cmd("true")`},
		{name: "a login to a guest that another task destroys", want: []string{destroyed}, guest: &bedtest.Guest{BootTime: time.Hour}, params: cartesian.Params{"not_login_after_mig": "yes", "start_timeout": "1"}, text: moved + `
	task = spawn(lambda: vm.wait_for_login(timeout=60))
	sleep(1)
	vm.destroy()
	task.join()`},
		{name: "a VM without a serial console", params: cartesian.Params{"serials": ""}, want: []string{"vm1@host2: no serial console: the param serials is empty"}, text: moved + `
	vm.wait_for_serial_login()`},
		{name: "the source of a migration", source: qmptest.Script{Endless: true}, want: []string{"migration 1 of vm1: the scenario has ended its source (host1)"}, text: `
	mig = migrate(["vm1"], a, b)
	mig.wait(status="active")
	vm.destroy()
	mig.join()`},
		{name: "the destination of a migration", source: qmptest.Script{Endless: true}, want: []string{"migration 1 of vm1: the scenario has ended its destination (host2)"}, text: `
	there = []
	mig = migrate(["vm1"], a, b, before_migration=lambda mig: there.append(mig.vm("vm1")) if not mig.is_src else None)
	mig.wait(status="active")
	there[0].destroy()
	mig.join()`},
		{name: "the destination of a migration, by SIGKILL", source: qmptest.Script{Endless: true}, want: []string{"migration 1 of vm1: the scenario has ended its destination (host2)"}, text: `
	there = []
	mig = migrate(["vm1"], a, b, before_migration=lambda mig: there.append(mig.vm("vm1")) if not mig.is_src else None)
	mig.wait(status="active")
	there[0].destroy(gracefully=False)
	mig.join()`},
	}
	for i := range cases {
		cases[i].status = result.Error
		if cases[i].guest == nil {
			cases[i].guest = works()
		}
		if cases[i].params == nil {
			cases[i].params = cartesian.Params{"nics": "nic1"}
		}
		cases[i].params["nics"] = "nic1"
	}
	runScripted(t, cases)
}
