// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/stdlib"
)

// keyboard is a prompt at which the user presses Tab at the end of lines, and Ctrl-C while something runs that is called
// slow, or when a line is "^C".
type keyboard struct {
	typed
	candidates func(line string) (int, []string)
	last       string
}

func (k *keyboard) ReadLine(ctx context.Context, prompt string) (string, error) {
	for {
		line, err := k.typed.ReadLine(ctx, prompt)
		k.last = line
		if before, tab := strings.CutSuffix(line, "\t"); tab {
			from, names := k.candidates(before)
			k.shown.WriteString("offered: " + before[:from] + "|" + strings.Join(names, " ") + "\n")
			continue
		}
		if line == "^C" {
			err = terminal.ErrDropped
		}
		return line, err
	}
}

func (k *keyboard) Complete(candidates func(line string) (int, []string)) { k.candidates = candidates }

func (k *keyboard) Stoppable(ctx context.Context) (context.Context, func()) {
	running, end := context.WithCancelCause(ctx)
	if strings.Contains(k.last, "slow") || k.last == "" {
		timer := time.AfterFunc(50*time.Millisecond, func() { end(errors.New("stopped")) })
		return running, func() { timer.Stop(); end(nil) }
	}
	return running, func() { end(nil) }
}

func wantShown(t *testing.T, k *keyboard, words ...string) {
	t.Helper()
	shown := k.shown.String()
	at := 0
	for _, w := range words {
		i := strings.Index(shown[at:], w)
		if i < 0 {
			t.Errorf("after %q it does not show %q; all:\n%s", shown[max(0, at-60):at], w, shown)
			return
		}
		at += i + len(w)
	}
}

// TestSession: in a session with hosts everything can be used, an error ends nothing, and what runs can be stopped.
func TestSession(t *testing.T) {
	t.Parallel()
	person := &keyboard{typed: typed{lines: []string{
		"env.hosts[0].run(\"echo hi\").stdout", "nothing", "x = [1]", "x.append(", "2)", "x", "sleep(600) # slow", "x",
		"while True:", "    pass", "", "x + [3]", "def f(a):", "^C", "f", "env.host\t", "env.hosts[0].ru\t", "env.master.na\t", "migr\t", "x.app\t", "breakpoint()",
		"cleanup(log, \"cleaned up\")", "vars",
	}}}
	e := runScenario(t, bedtest.NoQEMU(t), &testRun{
		debug:  builtins.Options{Session: true, Prompt: func(context.Context) (builtins.Prompt, error) { return person, nil }},
		source: "def migration_scenario(env):\n    fail(\"not in a session\")\n",
	})
	e.want(t, result.Pass)
	wantShown(t, person, "env.hosts are ", "\"hi\\n\"\n", "prompt:1:1: undefined: nothing\n", "... 2)\n>>> x\n[1, 2]\n",
		"# slow\n", "stopped\n", ">>> x\n[1, 2]\n", "pass\n... \n", "stopped\n", "[1, 2, 3]\n", "undefined: f\n",
		"offered: env.|hosts\n", "offered: env.hosts[0].|run\n", "offered: env.master.|name\n", "offered: |migrate migrate_wait\n", "offered: x.|append\n",
		"variables: env, x\n")
}

// TestInteract: without hosts there is the language, and what needs hosts says so.
func TestInteract(t *testing.T) {
	t.Parallel()
	person := &keyboard{typed: typed{lines: []string{
		"def twice(x):", "    return 2 * x", "", "twice(21)", "json.encode({\"a\": [1]})", "print(\"shown\")",
		"migrate([\"vm1\"], 1, 2)", "env", "1 +", "[][3]", "load(\"@std//params.star\", pick = \"chosen\")", "pick", "load(\"@std//parms.star\", \"x\")", "pi\t", "sor\t", "continue", "unread",
	}}}
	if err := builtins.Interact(t.Context(), person, library.Set{"std": stdlib.FS}, star.Limits{}); err != nil {
		t.Fatal(err)
	}
	wantShown(t, person, "The language alone", "42\n", `{\"a\":[1]}`, "shown\n",
		"prompt:1:8: migrate needs hosts, which this session does not have: mhmig repl --lab embedded makes some",
		"undefined: env", "prompt:1:4: got the end of the line, want a value\n    1 +\n       ^\n", "index 3 out of range", ">>> pick\n<function chosen>\n", "library @std has no file parms.star", "offered: |pick\n", "offered: |sorted\n")
	if !slices.Equal(person.lines, []string{"unread"}) {
		t.Errorf("not read: %q", person.lines)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := builtins.Interact(ctx, &keyboard{}, nil, star.Limits{}); !errors.Is(err, enough) && !errors.Is(err, io.EOF) {
		t.Errorf("with a context that has ended: got %v", err)
	}
}
