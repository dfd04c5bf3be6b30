// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/result"
)

// structOf is a value with these attributes, whose type is name.
func structOf(name string, attributes starlark.StringDict) starlark.Value {
	s := starlarkstruct.FromStringDict(starlark.String(name), attributes)
	s.Freeze()
	return s
}

func texts(all []string) starlark.Value {
	var list []starlark.Value
	for _, text := range all {
		list = append(list, starlark.String(text))
	}
	return starlark.NewList(list)
}

// value is the outcome as a test has it.
func (e *ended) value() (starlark.Value, error) {
	var failures []starlark.Value
	if e.Message != "" {
		for _, f := range append([]result.Failure{e.Failure}, e.Further...) {
			failures = append(failures, structOf("failure", starlark.StringDict{
				"status": starlark.String(f.Status.String()), "message": starlark.String(f.Message), "host": starlark.String(f.Host), "vm": starlark.String(f.VM),
				"side": starlark.String(f.Side), "step": starlark.String(f.Phase), "position": starlark.String(f.Position), "evidence": starlark.String(f.Evidence),
			}))
		}
	}
	var migrations []starlark.Value
	for _, m := range e.migrations {
		vms := starlark.NewDict(len(m.VMs))
		for _, moved := range m.VMs {
			statistics, err := builtins.ToStarlark(moved.Query)
			if err != nil {
				return nil, err
			}
			v := structOf("moved", starlark.StringDict{"status": starlark.String(moved.Status), "stats": statistics, "samples": starlark.MakeInt(len(moved.Samples))})
			if err := vms.SetKey(starlark.String(moved.VM), v); err != nil {
				return nil, err
			}
		}
		migrations = append(migrations, structOf("migration", starlark.StringDict{
			"number": starlark.MakeInt(m.Number), "source": starlark.String(m.Source), "destination": starlark.String(m.Destination),
			"status": starlark.String(m.Status), "vms": vms,
		}))
	}
	var commands []starlark.Value
	for _, c := range e.commands {
		commands = append(commands, structOf("command", starlark.StringDict{
			"vm": starlark.String(c.VM), "host": starlark.String(c.Host), "side": starlark.String(c.Side), "name": starlark.String(c.Name),
		}))
	}
	return structOf("run", starlark.StringDict{
		"status": starlark.String(e.Status.String()), "message": starlark.String(e.Message), "failures": starlark.NewList(failures),
		"notices": texts(e.Notices), "warnings": texts(e.Warnings), "duration": starlark.Float(e.took.Seconds()),
		"migrations": starlark.NewList(migrations), "commands": starlark.NewList(commands), "log": starlark.String(e.log),
	}), nil
}

// runClasses are what run returns, and what that has.
var runClasses = []api.Class{
	{
		Name: "run", Doc: "How a run has ended.",
		Attributes: []api.Attribute{
			{Name: "status", Type: "string", Doc: "PASS, WARN, SKIP, CANCEL, FAIL or ERROR"},
			{Name: "message", Type: "string", Doc: "of the first failure, or why it was skipped; without one \"\""},
			{Name: "failures", Type: "list[failure]", Doc: "all failures in their order"},
			{Name: "notices", Type: "list[string]", Doc: "what is no problem"},
			{Name: "warnings", Type: "list[string]", Doc: "what the scenario has warned of"},
			{Name: "duration", Type: "float", Doc: "the seconds of virtual time that it took"},
			{Name: "migrations", Type: "list[migration]", Doc: "the migrations in their order"},
			{Name: "commands", Type: "list[command]", Doc: "the QMP commands in their order"},
			{Name: "log", Type: "string", Doc: "the variant's log"},
		},
	},
	{
		Name: "failure", Doc: "A failure of a run.",
		Attributes: []api.Attribute{
			{Name: "status", Type: "string", Doc: "FAIL or ERROR, as a rule"},
			{Name: "message", Type: "string", Doc: "what went wrong"},
			{Name: "host", Type: "string", Doc: "on which host, or \"\""},
			{Name: "vm", Type: "string", Doc: "of which VM, or \"\""},
			{Name: "side", Type: "string", Doc: "source or destination, or \"\""},
			{Name: "step", Type: "string", Doc: "the step of the migration, or \"\""},
			{Name: "position", Type: "string", Doc: "where in the scenario: file:line:col, or \"\""},
			{Name: "evidence", Type: "string", Doc: "the logs and states of both hosts, or \"\""},
		},
	},
	{
		Name: "migration", Doc: "A migration of a run.",
		Attributes: []api.Attribute{
			{Name: "number", Type: "int", Doc: "which one, from 1"},
			{Name: "source", Type: "string", Doc: "the name of the source"},
			{Name: "destination", Type: "string", Doc: "the name of the destination"},
			{Name: "status", Type: "string", Doc: "QEMU's, of the VM that is furthest from success"},
			{Name: "vms", Type: "dict[string, moved]", Doc: "its VMs by their names"},
		},
	},
	{
		Name: "moved", Doc: "The migration of one VM.",
		Attributes: []api.Attribute{
			{Name: "status", Type: "string", Doc: "QEMU's"},
			{Name: "stats", Type: "dict[string, any]", Doc: "the source's last query-migrate"},
			{Name: "samples", Type: "int", Doc: "how many samples of query-migrate there are"},
		},
	},
	{
		Name: "command", Doc: "A QMP command that a QEMU has got.",
		Attributes: []api.Attribute{
			{Name: "name", Type: "string", Doc: "the command, such as migrate"},
			{Name: "vm", Type: "string", Doc: "of which VM"},
			{Name: "host", Type: "string", Doc: "the name of its host"},
			{Name: "side", Type: "string", Doc: "destination for a QEMU that waits for a migration, else source"},
		},
	},
}
