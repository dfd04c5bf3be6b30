// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// wait_for ends at its timeout, whatever its function does.
func TestWaitForEnds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	for _, tt := range []struct{ name, fn, message string }{
		{"an answer that is never true", `lambda: False`, "wait_for: it: timeout after 1s"},
		{"a busy loop", `busy`, "wait_for: it: timeout after 1s: the function has not returned; it was at @test//scenario.star:"},
		{"a nested wait_for", `lambda: wait_for(lambda: False, 600)`, "not returned; it was at @test//scenario.star:6:"},
		{"a busy loop in a nested wait_for", `lambda: wait_for(busy, 600)`, "wait_for: it: timeout after 1s: the function has not returned"},
		{"sleep", `lambda: sleep(600)`, "not returned; it was at @test//scenario.star:6:"},
		{"a command", `lambda: env.hosts[0].run("sleep 600")`, "wait_for: it: timeout after 1s: the function has not returned"},
		{"another task", `lambda: spawn(sleep, 600).join()`, "wait_for: it: timeout after 1s: the function has not returned"},
		{"other tasks", `lambda: parallel([lambda: sleep(600)])`, "wait_for: it: timeout after 1s: the function has not returned"},
		{"a failure", `lambda: fail("at once")`, "at once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def busy():
    while True:
        pass
def migration_scenario(env):
    wait_for(` + tt.fn + `, 1, step = 0.1, what = "it")
`})
			status := result.Error
			if tt.name == "a failure" {
				status = result.Fail
			}
			e.want(t, status, tt.message)
			if took := time.Since(began); took > awaitTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A function that a limit has stopped does not affect the scenario; it is called
// once more at the timeout, and a step is cut at the timeout.
func TestWaitForLooksAgain(t *testing.T) {
	t.Parallel()
	runScenario(t, bedtest.NoQEMU(t), &testRun{source: `
def migration_scenario(env):
    looks = []
    assert_eq(wait_for(lambda: looks.append(1) or len(looks) == 2 and "twice", 0.2, step = 60), "twice")
    assert_eq(wait_for(lambda: "at once", 0), "at once")
    assert_eq(wait_for(lambda: wait_for(lambda: "inner", 5), 1), "inner")
`}).want(t, result.Pass)
}
