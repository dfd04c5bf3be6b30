// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"errors"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
)

var messageParam = []Param{{"message", String, Required, "the text"}}

// verdictFunctions set the status, log and clean up.
var verdictFunctions = []*Builtin{
	{
		Name: "fail", Params: messageParam,
		Doc:     "Ends the scenario as FAIL: the system under test is wrong.",
		Returns: Never,
		Fn:      func(_ *task.Task, a *Args) (starlark.Value, error) { return nil, result.Fail.Wrap(verdict(a)) },
	},
	{
		Name: "error", Params: messageParam,
		Doc:     "Ends the scenario as ERROR: the test could not be done.",
		Returns: Never,
		Fn:      func(_ *task.Task, a *Args) (starlark.Value, error) { return nil, result.Error.Wrap(verdict(a)) },
	},
	{
		Name: "skip", Params: messageParam,
		Doc:     "Ends the scenario as SKIP: the test does not apply here. What is a FAIL or an ERROR afterwards, such as a QEMU that ended by a signal or a clean-up that failed, comes before it.",
		Returns: Never,
		Fn:      func(_ *task.Task, a *Args) (starlark.Value, error) { return nil, result.Skip.Wrap(verdict(a)) },
	},
	{
		Name: "warn", Params: messageParam,
		Doc:     "Records a warning. The scenario continues, and ends as WARN unless it fails.",
		Returns: Nothing,
		Fn:      warnFn,
	},
	{
		Name: "log", Params: messageParam, Fields: "fields",
		Doc: "Logs a message with fields, and the line of the scenario that calls. The log's own fields are " + strings.Join(ownKeys, ", ") +
			"; a field of the scenario with one of these names gets a _ appended.",
		Returns: Nothing,
		Fn:      logFn,
	},
	{
		Name: "cleanup", Params: []Param{{"fn", Function, Required, "the function to call"}}, Rest: "args",
		Doc:     "Registers fn(*args), to be called when the scenario ends, whatever its verdict. The last registered is called first.",
		Returns: Nothing,
		Fn:      cleanupFn,
	},
}

func verdict(a *Args) error { return errors.New(arg[string](a, "message")) }

func warnFn(t *task.Task, a *Args) (starlark.Value, error) {
	message := arg[string](a, "message")
	s := stateOf(t)
	s.warnings = append(s.warnings, message)
	logger(t).Warn(message, result.AtKey, position(t))
	return nil, nil
}

// ownKeys are the log's own fields, which its readers use.
var ownKeys = []string{
	"time", "level", "msg", "run", "variant", "task", "host", "vm", "side", "step",
	result.MigrationKey, result.BarrierKey, result.WaitedKey, result.AtKey,
}

func logFn(t *task.Task, a *Args) (starlark.Value, error) {
	var fields []any
	for _, kv := range a.Fields {
		name := string(kv[0].(starlark.String))
		if slices.Contains(ownKeys, name) {
			name += "_"
		}
		fields = append(fields, name, paramText(kv[1]))
	}
	logger(t).Info(strings.TrimRight(arg[string](a, "message"), "\n"), append(fields, result.AtKey, position(t))...)
	return nil, nil
}

func cleanupFn(t *task.Task, a *Args) (starlark.Value, error) {
	fn, args := arg[starlark.Callable](a, "fn"), a.Rest
	t.Scenario().AddCleanup(task.Cleanup{Name: fn.Name(), Func: func(c *task.Task) error {
		_, err := c.Call(fn, args...)
		return err
	}})
	return nil, nil
}
