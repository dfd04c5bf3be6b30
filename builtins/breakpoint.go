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
	"github.com/mhmig/mhmig/runtime/terminal"
)

// Prompt is a terminal for the prompt of a breakpoint.
type Prompt interface {
	io.Writer
	// ReadLine shows prompt and returns the next line, without its end: io.EOF when
	// there are no more, terminal.ErrDropped when the user does not want it. It blocks,
	// until ctx ends.
	ReadLine(ctx context.Context, prompt string) (string, error)
	Close() error
}

// A stopper is a Prompt at which the user can end what runs.
type stopper interface {
	// Stoppable returns a context that ends when the user wants that. release must be
	// called when it has ended otherwise.
	Stoppable(ctx context.Context) (running context.Context, release func())
}

// A completer is a Prompt that completes names: candidates returns what may stand in a
// line from a byte on.
type completer interface {
	Complete(candidates func(line string) (from int, names []string))
}

// debugFunctions are for debugging a scenario. It is a function, since a variable would
// depend on itself: the prompt offers all functions.
func debugFunctions() []*Builtin {
	return []*Builtin{{
		Name: "breakpoint", Waits: true,
		Doc:     "Opens a Starlark prompt at the terminal, with the variables of the function that calls it, of that one's callers, and env. Other tasks and all timeouts keep running. Without a terminal a warning is logged and the scenario continues.",
		Returns: Nothing,
		Fn:      breakpointFn,
	}}
}

const promptHelp = `An expression shows its value: env.hosts, vm.state, vm.qmp("query-status").
A statement is executed, and may wait: vm.wait_for_login().
Assignments are visible here only: the scenario's variables keep their values, but
mutable values can be changed: items.append(1).
  help       prints this help
  vars       lists the variables
  continue   or Ctrl-D continues the scenario
  Ctrl-C     ends the run
`

func breakpointFn(t *task.Task, _ *Args) (starlark.Value, error) {
	s := stateOf(t)
	switch {
	case s.options.Session:
		logger(t).Warn("the session has the terminal: breakpoint skipped", result.AtKey, position(t))
		return nil, nil
	case s.options.Prompt == nil:
		logger(t).Warn("no terminal: breakpoint skipped", result.AtKey, position(t))
		return nil, nil
	}
	p, err := task.Wait(t, s.options.Prompt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	frames := callerFrames(t.Thread())
	frame := frames[0]
	prompt := &promptSession{task: t, prompt: p, frames: frames, env: s.env(), builtins: predeclared(), help: promptHelp, assigned: starlark.StringDict{}}
	fmt.Fprintf(p, "breakpoint at %s, in %s (task %s of %s)\n", frame.Position(), frame.Callable().Name(), t.Name, s.bed.Variant())
	prompt.list()
	fmt.Fprintln(p, "help lists the commands; continue or Ctrl-D continues the scenario")
	return nil, prompt.run()
}

// callerFrames are the frames of Starlark functions, innermost first: at least one, which
// is that of a builtin if spawn was called with one.
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

// promptSession is the prompt of one breakpoint, or of a session without a scenario.
type promptSession struct {
	task     *task.Task
	prompt   Prompt
	frames   []starlark.DebugFrame // of the function with the breakpoint, and of its callers; nil in a session
	env      starlark.Value        // nil without hosts
	builtins starlark.StringDict
	help     string
	assigned starlark.StringDict // variables that were assigned at the prompt
}

// run reads and executes statements until the user continues the scenario. Its error is
// that of a scenario that was stopped meanwhile.
func (p *promptSession) run() error {
	for {
		if c, ok := p.prompt.(completer); ok {
			c.Complete(p.completion().candidates)
		}
		line, err := task.Wait(p.task, func(ctx context.Context) (string, error) { return p.prompt.ReadLine(ctx, ">>> ") })
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, terminal.ErrDropped):
			continue
		case err != nil:
			return err
		}
		switch strings.TrimSpace(line) {
		case "":
		case "continue":
			return nil
		case "help", "help()":
			fmt.Fprint(p.prompt, p.help)
		case "vars":
			p.list()
		default:
			if err := p.exec(line); err != nil {
				p.show(err)
			}
		}
	}
}

// exec parses a statement that begins with line, reads further lines if it continues,
// and executes it.
func (p *promptSession) exec(line string) error {
	text := []byte(line + "\n")
	dropped := false
	file, err := task.Wait(p.task, func(ctx context.Context) (*syntax.File, error) {
		next := text
		return promptDialect.ParseCompoundStmt("prompt", func() ([]byte, error) {
			if now := next; now != nil {
				next = nil
				return now, nil
			}
			more, err := p.prompt.ReadLine(ctx, "... ")
			dropped = dropped || errors.Is(err, terminal.ErrDropped)
			text = append(text, more+"\n"...)
			return []byte(more + "\n"), err
		})
	})
	switch {
	case dropped:
		return nil
	case err != nil:
		return star.Explain(err, text)
	}
	return p.execute(file)
}

// promptDialect is the dialect of what is typed: what a line loads is there in the next one.
var promptDialect = func() *syntax.FileOptions {
	options := *star.Dialect
	options.LoadBindsGlobally = true
	return &options
}()

// execute executes a statement, until the user stops it.
func (p *promptSession) execute(file *syntax.File) error {
	run := func() (starlark.Value, error) { return starlark.None, p.evaluate(file) }
	s, ok := p.prompt.(stopper)
	if !ok {
		_, err := run()
		return err
	}
	ctx, release := s.Stoppable(p.task.Context())
	defer release()
	_, err := p.task.Within(ctx, run)
	return err
}

// evaluate executes a statement, and shows the value of an expression.
func (p *promptSession) evaluate(file *syntax.File) error {
	names := p.names()
	if len(file.Stmts) == 1 {
		if sole, ok := file.Stmts[0].(*syntax.ExprStmt); ok {
			v, err := starlark.EvalExprOptions(promptDialect, p.task.Thread(), sole.X, names)
			if err == nil {
				err = star.CheckWritable(v)
			}
			if err == nil && v != starlark.None {
				fmt.Fprintln(p.prompt, printable.Lines(v.String()))
			}
			return err
		}
	}
	variables := p.variables()
	err := starlark.ExecREPLChunk(file, p.task.Thread(), names)
	for _, name := range assignedNames(file) {
		v, ok := names[name]
		if !ok {
			continue // it was not executed
		}
		if p.assigned[name] == nil && variables[name] != nil {
			fmt.Fprintf(p.prompt, "%s: changed here only; the scenario's variable keeps its value\n", name)
		}
		p.assigned[name] = v
	}
	return err
}

// show prints an error, with its position.
func (p *promptSession) show(err error) {
	if list := diag.Of(err); list != nil {
		_ = diag.Render(p.prompt, list, false) // an error of the terminal is reported by ReadLine
		return
	}
	if at := task.Position(err); at != "" {
		fmt.Fprintf(p.prompt, "%s: ", at)
	}
	fmt.Fprintln(p.prompt, printable.Lines(err.Error()))
}

// list prints the names of the variables.
func (p *promptSession) list() {
	all := p.variables()
	maps.Copy(all, p.assigned)
	fmt.Fprintf(p.prompt, "variables: %s\n", strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// names returns all variables and functions that statements can use.
func (p *promptSession) names() starlark.StringDict {
	all := maps.Clone(p.builtins)
	if len(p.frames) > 0 {
		if fn, ok := p.frames[0].Callable().(*starlark.Function); ok {
			maps.Copy(all, fn.Globals())
		}
	}
	maps.Copy(all, p.variables())
	maps.Copy(all, p.assigned)
	return all
}

// variables returns the local and free variables of the functions on the call stack,
// with their current values. Of two with one name it is the inner one. The stack of a
// task does not include its parent, so env is added.
func (p *promptSession) variables() starlark.StringDict {
	all := starlark.StringDict{}
	if p.env != nil {
		all["env"] = p.env
	}
	for _, frame := range slices.Backward(p.frames) {
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
				if v = localValue(v); v != nil {
					all[b.Name] = v
				}
			}
		}
	}
	return all
}

// localValue returns the value of a local variable, nil if it has none yet. The
// interpreter keeps a variable that inner functions share in a cell, an unexported
// type whose only field is the value.
func localValue(v starlark.Value) starlark.Value {
	cell := reflect.ValueOf(v)
	if v.Type() != "cell" || cell.Kind() != reflect.Pointer {
		return v
	}
	if of := cell.Type().Elem(); of.Kind() != reflect.Struct || of.NumField() != 1 || of.Field(0).Type != reflect.TypeFor[starlark.Value]() {
		return v
	}
	return *(*starlark.Value)(cell.UnsafePointer())
}

// assignedNames returns the names that a file's statements assign.
func assignedNames(file *syntax.File) []string {
	var names []string
	target := func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Ident:
			names = append(names, n.Name)
		case *syntax.IndexExpr, *syntax.DotExpr, *syntax.SliceExpr:
			return false // an element of a variable
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
		case *syntax.LoadStmt:
			for _, to := range n.To {
				names = append(names, to.Name)
			}
		}
		return true
	})
	return names
}
