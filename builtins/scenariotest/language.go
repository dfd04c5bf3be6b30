// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/star"
)

// runRow is the builtin run.
var runRow = api.Builtin{
	Name: "run",
	Doc:  "Runs a scenario for one variant, on fake hosts, in virtual time. Without a scenario, the variant's param type names one: beside the test, else one of mhmig's.",
	Params: []api.Parameter{
		optional("scenario", "string", "string", "None", "a file, as load would find it"),
		optional("params", "dict[string, any]", "a dict of params", "{}", "override those of the variant"),
		optional("config", "string", "string", "None", "a config, as load would find it; without it the default one"),
		optional("filter", "string | list[string]", "a statement, or a list of them", "[]", "applied after the config, in defaults mode; they must leave one variant"),
		optional("hosts", "int", "int", "0", "how many hosts; 0: as many as the scenario says, else two"),
		optional("timeout", "int | float | string", "seconds", "21600", "seconds of virtual time that it may take"),
	},
	Returns: api.Return{Type: "run", Doc: "how it ended"},
}

// tRows are the methods of the value that a test gets.
func tRows() []*row {
	return []*row{
		{api.Builtin{
			Name: "log", Doc: "Adds a line to the test's output, which is shown if it fails, or with -v.", Returns: none,
			Params: []api.Parameter{required("message", "any", "anything", "what to show")},
		}, func(c *call) (starlark.Value, error) {
			var message starlark.Value
			if err := c.unpack("message", &message); err != nil {
				return nil, err
			}
			text, ok := starlark.AsString(message)
			if !ok {
				text = message.String()
			}
			c.test.output = append(c.test.output, text)
			return nil, nil
		}},
		{api.Builtin{
			Name: "skip", Doc: "Ends the test, which is neither passed nor failed.", Returns: api.Return{Type: "never"},
			Params: []api.Parameter{required("reason", "string", "string", "why it cannot be done")},
		}, func(c *call) (starlark.Value, error) {
			var reason string
			if err := c.unpack("reason", &reason); err != nil {
				return nil, err
			}
			return nil, &skipError{reason}
		}},
	}
}

// value is the value that the test function gets.
func (t *test) value() starlark.Value { return &value{kind: "t", rows: tRows()} }

// language are the names that test files have besides those of scenarios.
func language() starlark.StringDict {
	return starlark.StringDict{
		"run":    star.Guarded(starlark.NewBuiltin("run", runScenario)),
		"fake":   &value{kind: "fake", rows: fakeRows()},
		"expect": &value{kind: "expect", rows: expectRows()},
	}
}

// Language describes these names, for lang/api.
func Language() api.Tests {
	describe := func(rows []*row) []api.Builtin {
		var all []api.Builtin
		for _, r := range rows {
			all = append(all, r.Builtin)
		}
		return all
	}
	return api.Tests{
		Functions: []api.Builtin{runRow},
		Modules: []api.Module{
			{Name: "fake", Doc: "The fake hosts and VMs of a test: what they are like, and what goes wrong with them. Hosts and guests have a shell, files in memory and common programs (cat, dd, grep, sha256sum, …); guests also have /proc, /sys and JeOS's commands. A command that they do not have is named in the test's failure.", Functions: describe(fakeRows())},
			{Name: "expect", Doc: "What a test expects: each of these functions fails the test, with what was got and what was wanted.", Functions: describe(expectRows())},
		},
		Classes: append([]api.Class{
			{Name: "t", Doc: "The test that runs: its function may take it as its parameter.", Methods: describe(tRows())},
			{Name: "fake.vm", Doc: "A fake VM, in all runs of the test.", Methods: describe(vmRows())},
			{Name: "fake.host", Doc: "A fake host, in all runs of the test. It has no commands in the background: host.start is an error.", Methods: describe(hostRows())},
		}, runClasses...),
	}
}
