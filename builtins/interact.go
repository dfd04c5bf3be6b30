// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/task"
)

const interactHelp = `An expression shows its value, a statement is executed; def, for, if and open
brackets go on in the next lines, up to an empty one. load reads files anew.
  help       prints this help
  vars       lists the variables
  continue   or Ctrl-D ends the session, and cleans up
  Ctrl-C     ends what runs, or drops what is typed
  Tab        completes names
mhmig doc NAME says what a name is for.
`

// session runs a session in the place of a scenario's function.
func session(t *task.Task) error {
	s := stateOf(t)
	return hold(t, func() error {
		prompt, err := task.Wait(t, s.options.Prompt)
		if err != nil {
			return err
		}
		defer prompt.Close()
		fmt.Fprintf(prompt, "%s: env.hosts are %s. help lists the commands, Ctrl-D ends.\n", s.bed.Variant(), strings.Join(s.bed.HostNames(), ", "))
		p := &promptSession{task: t, prompt: prompt, env: s.env(), builtins: predeclared(), help: interactHelp, assigned: starlark.StringDict{}}
		p.loadFrom(s.options.Libraries, s.options.Limits)
		return p.run()
	})
}

// loadFrom lets what is typed load files: anew each time, as they may have been edited.
func (p *promptSession) loadFrom(libraries library.Set, limits star.Limits) {
	p.task.Thread().Load = func(_ *starlark.Thread, path string) (starlark.StringDict, error) {
		loader := &star.Loader{Predeclared: p.builtins, Libraries: libraries, Limits: limits, Print: func(at, message string) {
			fmt.Fprintln(p.prompt, printable.Lines(at+": "+message))
		}}
		return loader.File(p.task.Context(), path)
	}
}

// hold calls f with the scenario's lock, as a builtin.
func hold(t *task.Task, f func() error) error {
	_, err := t.Call(starlark.NewBuiltin("session", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, f()
	}))
	return err
}

// Interact runs a session of the language alone: there are no hosts, and functions that need some say so. It blocks until
// the user ends it, or ctx ends. Errors of what is typed are shown, and are no errors of the session.
func Interact(ctx context.Context, prompt Prompt, libraries library.Set, limits star.Limits) error {
	sc := task.New(ctx, nil, func(_ *task.Task, message string) { fmt.Fprintln(prompt, printable.Lines(message)) })
	sc.Limits = limits
	names := starlark.StringDict{}
	for _, b := range Functions() {
		names[b.Name] = starlark.NewBuiltin(b.Name, needsHosts)
	}
	for _, m := range Modules() {
		names[m.Name] = m.Module
	}
	failures := sc.Run(func(t *task.Task) error {
		return hold(t, func() error {
			fmt.Fprintln(prompt, "The language alone: --hosts or --lab give it hosts. help lists the commands, Ctrl-D ends.")
			p := &promptSession{task: t, prompt: prompt, builtins: names, help: interactHelp, assigned: starlark.StringDict{}}
			p.loadFrom(libraries, limits)
			return p.run()
		})
	}, cleanupTimeout)
	if len(failures) > 0 {
		return failures[0].Err // of the only task
	}
	return nil
}

func needsHosts(_ *starlark.Thread, b *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	return nil, errors.New(b.Name() + " needs hosts, which this session does not have: mhmig repl --lab embedded makes some, --hosts NAME,NAME takes yours")
}
