// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// What a scenario asks of a guest that has no login is an ERROR, and a FAIL once it was
// in a migration.
func TestInsideWithoutLogin(t *testing.T) {
	t.Parallel()
	nic := cartesian.Params{"nics": "nic1"}
	for _, call := range []string{`vm.clock(timeout=5)`} {
		runScripted(t, []scriptedCase{
			{name: call + " before a migration", params: nic, status: result.Error, want: []string{"vm1@host1: no login: "}, text: `
	vm.start(a)
	` + call},
			{name: call + " after a migration", params: nic, status: result.Fail, want: []string{"vm1@host2: no login: "}, text: `
	migrate_wait(["vm1"], a, b)
	` + call},
		})
	}
}

// The guest's clock, before and after a migration.
func TestInside(t *testing.T) {
	t.Parallel()
	typed := starlark.NewBuiltin("typed", newTypeCheck(t).builtin)
	e := runScenario(t, small(t), &testRun{extra: starlark.StringDict{"typed": typed}, source: `
def read_clock(vm):
    before = now()
    c = typed("vm.clock", vm.clock())
    for name in ["guest", "host", "uncertainty"]:
        typed("clock." + name, getattr(c, name))
    if c.host < before or c.host > now() or abs(c.guest - c.host) > c.uncertainty + 5:
        fail("guest %s, host %s, uncertainty %s" % (c.guest, c.host, c.uncertainty))

def migration_scenario(env):
    a, b = env.hosts
    vm = env.vm("vm1")
    vm.start(a)
    read_clock(vm)
    migrate_wait(["vm1"], a, b)
    read_clock(vm)
`})
	e.want(t, result.Pass)
}
