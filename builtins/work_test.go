// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// workScenario is the beginning of a scenario with a session of a guest that has some
// commands: all that are run are noted.
const workScenario = `
load("@std//work.star", "check_cpu_work", "check_disk_work", "check_memory_work", "start_cpu_work", "start_disk_work", "start_memory_work")

def guest(has, said, check = (0, "said\n")):
    def cmd(command, timeout = 60):
        said.append(command)
        return "said\n"
    def cmd_status_output(command, timeout = 60):
        said.append(command)
        return check
    return struct(cmd = cmd, cmd_status = lambda command: 0 if command.split()[2] in has else 1, cmd_status_output = cmd_status_output)

OWN = {"migration_bg_command": "own &", "migration_bg_check_command": "own check", "migration_bg_kill_command": "own kill"}

def migration_scenario(env):
    said = []
    jeos, other = guest(["memwork", "diskwork", "cpuwork"], said), guest([], said)
`

func TestWork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       string // in the failure; "": it passes
	}{
		{name: "memory", text: `
    params = {"memory_work": "8M"}
    start_memory_work(jeos, params)
    check_memory_work(jeos, params, stop = False)
    check_memory_work(jeos, params)
    assert_eq(said, ["memwork start --size 8M --rate 20M", "memwork check", "memwork check", "memwork stop"])`},
		{name: "a disk", text: `
    params = {"disk_work": "16M", "disk_work_rate": "1M", "disk_work_device": "/dev/sda"}
    start_disk_work(jeos, params)
    check_disk_work(jeos, params)
    assert_eq(said, ["diskwork start --device /dev/sda --size 16M --rate 1M", "diskwork check", "diskwork stop"])`},
		{name: "processors", text: `
    params = {"cpu_work": "50"}
    start_cpu_work(jeos, params)
    check_cpu_work(jeos, params)
    assert_eq(said, ["cpuwork start --load 50 --workers 0", "cpuwork check", "cpuwork stop"])`},
		{name: "damaged work", text: `
    check_memory_work(guest(["memwork"], said, (1, "memwork: FAILED: 1 damaged pages\n")), {"memory_work": "16M"})`, want: "FAIL memwork: FAILED: 1 damaged pages"},
		{name: "work that was never started", text: `
    check_memory_work(guest(["memwork"], said, (2, "memwork: is not running\n")), {"memory_work": "16M"})`, want: "ERROR memwork: is not running"},
		{name: "nothing that is not asked for", text: `
    for f in [start_memory_work, start_disk_work, start_cpu_work, check_memory_work, check_disk_work, check_cpu_work]:
        f(jeos, {})
        f(other, OWN)
    assert_eq(said, [])`},
		{name: "a guest with commands of its own", text: `
    params = OWN | {"cpu_work": "50"}
    start_cpu_work(other, params)
    check_cpu_work(other, params, stop = False)
    check_cpu_work(other, params)
    assert_eq(said, ["own &", "own check", "own check", "own kill"])`},
		{name: "a guest without any", text: `
    start_disk_work(other, {"disk_work": "16M"})`, want: "the guest has no command diskwork, and param migration_bg_command gives none instead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bed := bedtest.NewScriptedBed(t, 1, nil)
			extra := starlark.StringDict{"struct": starlark.NewBuiltin("struct", starlarkstruct.Make)}
			verdict := runOn(t, bed.Bed.Bed, extra, workScenario+tt.text+"\n")
			if tt.want == "" && len(verdict.Failures) > 0 {
				t.Errorf("got %v, want that it passes", verdict.Failures)
			}
			var got strings.Builder
			for _, f := range verdict.Failures {
				fmt.Fprintln(&got, result.StatusOf(f), f)
			}
			if !strings.Contains(got.String(), tt.want) {
				t.Errorf("got %s, want %q", got.String(), tt.want)
			}
		})
	}
}
