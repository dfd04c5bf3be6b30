// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
)

// Prompt is a talk with the user at a terminal.
type Prompt interface {
	io.Writer
	// ReadLine shows prompt and returns the next line, without its end: io.EOF when
	// there are no more. It blocks, until ctx ends.
	ReadLine(ctx context.Context, prompt string) (string, error)
	Close() error
}

// debugFunctions are for people who look into a running scenario. It is no
// variable, as the prompt offers all functions.
func debugFunctions() []*Builtin {
	return []*Builtin{{
		Name: "breakpoint", Waits: true,
		Doc:     "Opens a Starlark prompt at the terminal, with the variables of the function that calls it, of that one's callers, and env. Other tasks and all timeouts keep running. Without a terminal a warning is logged and the scenario continues.",
		Returns: Nothing,
		Fn:      breakpointFn,
	}}
}

const promptHelp = `An expression shows its value: env.hosts, vm.state, vm.qmp("query-status").
A statement is carried out; what waits, waits: vm.wait_for_login().
What is assigned here is known here only: the scenario's own variables keep their
values, though what they refer to can be changed: items.append(1).
  help       says this
  vars       lists the variables
  continue   or Ctrl-D goes on with the scenario
  Ctrl-C     ends the run
`

func breakpointFn(t *task.Task, _ *Args) (starlark.Value, error) {
	s := sceneOf(t)
	if s.debug.Prompt == nil {
		logger(t).Warn("no terminal: breakpoint passed", result.AtKey, position(t))
		return nil, nil
	}
	p, err := task.Wait(t, s.debug.Prompt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	frames := callerFrames(t.Thread())
	frame := frames[0]
	talk := &talk{task: t, prompt: p, frames: frames, env: s.Env(), own: starlark.StringDict{}}
	fmt.Fprintf(p, "breakpoint at %s, in %s (task %s of %s)\n", frame.Position(), frame.Callable().Name(), t.Name, s.bed.Variant())
	talk.list()
	fmt.Fprintln(p, "help says what can be done here; continue or Ctrl-D goes on")
	return nil, talk.run()
}

// callerFrames are the frames of Starlark code, the innermost first: at least
// one, be it of a builtin that was given to spawn.
func callerFrames(thread *starlark.Thread) []starlark.DebugFrame {
	var frames []starlark.DebugFrame
	for depth := 1; depth < thread.CallStackDepth(); depth++ {
		frame := thread.DebugFrame(depth)
		if _, code := frame.Callable().(*starlark.Function); code {
			frames = append(frames, frame)
		}
	}
	if len(frames) == 0 {
		frames = append(frames, thread.DebugFrame(thread.CallStackDepth()-1))
	}
	return frames
}

// talk is the prompt of one breakpoint.
type talk struct {
	task   *task.Task
	prompt Prompt
	frames []starlark.DebugFrame // the one that stands still, and those that have called it
	env    starlark.Value
	own    starlark.StringDict // what was assigned at the prompt
}

// run reads and evaluates until the user wants the scenario to go on. Its error
// is that of a scenario that was stopped meanwhile.
func (k *talk) run() error {
	for {
		line, err := task.Wait(k.task, func(ctx context.Context) (string, error) { return k.prompt.ReadLine(ctx, ">>> ") })
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		switch strings.TrimSpace(line) {
		case "":
		case "continue":
			return nil
		case "help", "help()":
			fmt.Fprint(k.prompt, promptHelp)
		case "vars":
			k.list()
		default:
			if err := k.perform(line); err != nil {
				k.show(err)
			}
		}
	}
}

// perform parses a statement that begins with line, reading on where it goes on,
// and carries it out.
func (k *talk) perform(line string) error {
	text := []byte(line + "\n")
	file, err := task.Wait(k.task, func(ctx context.Context) (*syntax.File, error) {
		next := text
		return star.Dialect.ParseCompoundStmt("prompt", func() ([]byte, error) {
			if now := next; now != nil {
				next = nil
				return now, nil
			}
			more, err := k.prompt.ReadLine(ctx, "... ")
			text = append(text, more+"\n"...)
			return []byte(more + "\n"), err
		})
	})
	if err != nil {
		return star.Explain(err, text)
	}
	names := k.names()
	if len(file.Stmts) == 1 {
		if sole, ok := file.Stmts[0].(*syntax.ExprStmt); ok {
			v, err := starlark.EvalExprOptions(star.Dialect, k.task.Thread(), sole.X, names)
			if err == nil && v != starlark.None {
				fmt.Fprintln(k.prompt, printable.Lines(v.String()))
			}
			return err
		}
	}
	theirs := k.variables()
	err = starlark.ExecREPLChunk(file, k.task.Thread(), names)
	for _, name := range assigned(file) {
		v, ok := names[name]
		if !ok {
			continue // it did not come to that
		}
		if k.own[name] == nil && theirs[name] != nil {
			fmt.Fprintf(k.prompt, "%s: changed here only; the scenario's own keeps its value\n", name)
		}
		k.own[name] = v
	}
	return err
}

// show tells an error, with its place.
func (k *talk) show(err error) {
	if list := diag.Of(err); list != nil {
		_ = diag.Render(k.prompt, list, false) // it is as lost as all else here would be
		return
	}
	if at := task.Position(err); at != "" {
		fmt.Fprintf(k.prompt, "%s: ", at)
	}
	fmt.Fprintln(k.prompt, printable.Lines(err.Error()))
}

// list names the variables.
func (k *talk) list() {
	all := k.variables()
	maps.Copy(all, k.own)
	fmt.Fprintf(k.prompt, "variables: %s\n", strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// names is all that can be named at the prompt.
func (k *talk) names() starlark.StringDict {
	all := universe()
	if fn, ok := k.frames[0].Callable().(*starlark.Function); ok {
		maps.Copy(all, fn.Globals())
	}
	maps.Copy(all, k.variables())
	maps.Copy(all, k.own)
	return all
}

// variables are those of the functions that stand still, and those that these
// have of the functions around them, with their values of now. Of two with one
// name it is the inner one. A task begins with no caller, so env is added.
func (k *talk) variables() starlark.StringDict {
	all := starlark.StringDict{"env": k.env}
	for _, frame := range slices.Backward(k.frames) {
		fn, ok := frame.Callable().(*starlark.Function)
		if !ok {
			continue
		}
		for i := range fn.NumFreeVars() {
			if b, v := fn.FreeVar(i); v != nil {
				all[b.Name] = v
			}
		}
		for i := range frame.NumLocals() {
			if b, v := frame.Local(i); v != nil {
				if v = uncelled(v); v != nil {
					all[b.Name] = v
				}
			}
		}
	}
	return all
}

// uncelled returns the value of a local variable. The interpreter keeps one that
// inner functions share in a cell, a type of its own whose only field is the
// value, and offers no way into it. Nil: it has none yet.
func uncelled(v starlark.Value) starlark.Value {
	cell := reflect.ValueOf(v)
	if v.Type() != "cell" || cell.Kind() != reflect.Pointer {
		return v
	}
	if of := cell.Type().Elem(); of.Kind() != reflect.Struct || of.NumField() != 1 || of.Field(0).Type != reflect.TypeFor[starlark.Value]() {
		return v
	}
	return *(*starlark.Value)(cell.UnsafePointer())
}

// assigned is the names that a file's statements give values to.
func assigned(file *syntax.File) []string {
	var names []string
	target := func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Ident:
			names = append(names, n.Name)
		case *syntax.IndexExpr, *syntax.DotExpr, *syntax.SliceExpr:
			return false // a part of what has a name already
		}
		return true
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			syntax.Walk(n.LHS, target)
		case *syntax.ForStmt:
			syntax.Walk(n.Vars, target)
		case *syntax.DefStmt:
			names = append(names, n.Name.Name)
			return false
		}
		return true
	})
	return names
}
