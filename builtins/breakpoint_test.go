// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// typed is a prompt with lines that a user types.
type typed struct {
	lines []string
	pause time.Duration // before each line and before the end

	shown bytes.Buffer
}

func (p *typed) Write(b []byte) (int, error) { return p.shown.Write(b) }
func (p *typed) Close() error                { return nil }

func (p *typed) ReadLine(ctx context.Context, prompt string) (string, error) {
	select {
	case <-time.After(p.pause):
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if len(p.lines) == 0 {
		return "", io.EOF
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	p.shown.WriteString(prompt + line + "\n")
	return line, nil
}

// TestBreakpoint prints variables of all kinds, changes mutable ones, causes errors,
// and continues.
func TestBreakpoint(t *testing.T) {
	t.Parallel()
	person := &typed{pause: 20 * time.Millisecond, lines: []string{
		"number + GLOBAL", "shared", "outer", "env.vms", "items.append(3)",
		"number = 40", "number + 2", "def twice(x):", "    return 2 * x", "", "twice(number)",
		"for i in range(2):", "    print(i)", "", "env.hosts[0].run(\"echo hi\").stdout",
		"1 +", "import os", "nothing", "[][7]", "broken()", "sleep(0.01)", "later", "help", "vars", "continue", "unread",
	}}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		debug: builtins.Options{Prompt: func(context.Context) (builtins.Prompt, error) { return person, nil }},
		source: `
GLOBAL = 5

def broken():
    fail("it is broken")

def inner(env, outer):
    number, items, shared = 2, [1], "s"
    ticks = []
    def ticker():
        while len(ticks) < 20:
            ticks.append(shared)
            sleep(0.001)
    task = spawn(ticker)
    def nested():
        return outer
    breakpoint()
    later = 1
    assert_eq(number, 2)
    assert_eq(items, [1, 3])
    assert_eq(task.done, True)

def migration_scenario(env):
    inner(env, "o")
`,
	})
	e.want(t, result.Pass)
	shown := person.shown.String()
	for _, words := range []string{
		"breakpoint at @test//scenario.star:17:15, in inner (task main of 001-test)\nvariables: env, items, nested, number, outer, shared, task, ticker, ticks\n",
		">>> number + GLOBAL\n7\n", ">>> shared\n\"s\"\n", ">>> outer\n\"o\"\n", ">>> env.vms\n[\"vm1\", \"vm2\"]\n",
		"number: changed here only; the scenario's variable keeps its value\n", ">>> number + 2\n42\n",
		">>> def twice(x):\n...     return 2 * x\n... \n", ">>> twice(number)\n80\n", "\"hi\\n\"\n",
		">>> 1 +\nprompt:1:4: got the end of the line, want a value\n    1 +\n       ^\n",
		">>> import os\nprompt:1:1: there is no \"import\": ", ">>> nothing\nprompt:1:1: undefined: nothing\n",
		">>> [][7]\nprompt:1:3: index 7 out of range: empty list\n",
		">>> broken()\n@test//scenario.star:5:9: it is broken\n", "prompt:1:1: undefined: later\n",
		"may wait: vm.wait_for_login()", "variables: env, i, items, ", "number, outer, shared, task, ticker, ticks, twice\n",
	} {
		if !strings.Contains(shown, words) {
			t.Errorf("the prompt does not show %q", words)
		}
	}
	if t.Failed() {
		t.Logf("it showed:\n%s", shown)
	}
	if len(person.lines) != 1 {
		t.Errorf("%d lines were not read, want the one behind continue", len(person.lines))
	}
}

// TestBreakpointInNested: a nested function that does not use the variables of its
// enclosing functions still sees those, and its callers', the innermost first; a
// task, which has no callers, sees env.
func TestBreakpointInNested(t *testing.T) {
	t.Parallel()
	person := &typed{lines: []string{"env.vms", "caller", "same", "free", "continue", "env.vms", "caller", "free", "continue", "env.vms"}}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		debug: builtins.Options{Prompt: func(context.Context) (builtins.Prompt, error) { return person, nil }},
		source: `
def call(fn):
    caller, same = "calls", "callers"
    fn()

def migration_scenario(env):
    same, free = "outermost", "is free"
    def check():
        same = "inner"
        breakpoint()
    def worker():
        use = free
        breakpoint()
    call(lambda: [check()])
    spawn(worker).join()
    spawn(breakpoint).join()
`,
	})
	e.want(t, result.Pass)
	shown := person.shown.String()
	for _, words := range []string{
		"in check (task main of 001-test)\nvariables: caller, check, env, fn, free, same, worker\n",
		">>> env.vms\n[\"vm1\", \"vm2\"]\n>>> caller\n\"calls\"\n>>> same\n\"inner\"\n>>> free\n\"is free\"\n>>> continue\n",
		"\nvariables: env, free, use\n",
		">>> env.vms\n[\"vm1\", \"vm2\"]\n>>> caller\nprompt:1:1: undefined: caller\n>>> free\n\"is free\"\n",
		"\nvariables: env\n",
	} {
		if !strings.Contains(shown, words) {
			t.Errorf("the prompt does not show %q", words)
		}
	}
	if t.Failed() {
		t.Logf("it showed:\n%s", shown)
	}
}

// Without a terminal a breakpoint is skipped, with a warning.
func TestBreakpointWithoutTerminal(t *testing.T) {
	t.Parallel()
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{source: "def migration_scenario(env):\n    breakpoint()\n"})
	e.want(t, result.Pass)
	e.wantLog(t, "no terminal: breakpoint skipped")
}

// A sibling's failure ends the prompt.
func TestBreakpointEndsWithScenario(t *testing.T) {
	t.Parallel()
	person := &typed{pause: time.Hour}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		debug: builtins.Options{Prompt: func(context.Context) (builtins.Prompt, error) { return person, nil }},
		source: `
def migration_scenario(env):
    spawn(lambda: [sleep(0.05), fail("sibling")])
    breakpoint()
`,
	})
	e.want(t, result.Fail, "sibling")
}
