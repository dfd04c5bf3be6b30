// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// What a guest under TCG runs again and again is translated once: QEMU has room for it.
// Where it has not, it drops everything it has translated with every second command.
func TestTranslatedCodeFits(t *testing.T) {
	t.Parallel()
	e := runScenario(t, small(t), &testRun{source: `
def migration_scenario(env):
    vm = env.vm("vm1")
    vm.start(env.hosts[0])
    session = vm.wait_for_login()

    def dropped():
        jit = vm.qmp("human-monitor-command", command_line = "info jit")
        return [int(line.split()[-1]) for line in jit.split("\n") if line.startswith("TB flush count")][0]

    session.cmd("memwork start --size 8M --rate 1M")
    before = dropped()
    for _ in range(8):
        session.cmd("memwork check")
    after = dropped()
    if after > before:
        fail("QEMU has dropped all translated code %d times in 8 commands" % (after - before))
`})
	e.want(t, result.Pass)
}
