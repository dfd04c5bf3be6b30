// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"cmp"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
)

// envClass is what migration_scenario is called with.
func envClass() *Class {
	return &Class{
		Name: "env",
		Doc:  "What migration_scenario is called with: the variant's params, its hosts and its VMs.",
		Attrs: []Attr{
			{"params", "params", "the variant's params", func(s *scenarioState, _ any) (starlark.Value, error) {
				return s.params(s.bed.Params()), nil
			}},
			{"hosts", "list[host]", "all hosts, in the order of --hosts", func(s *scenarioState, _ any) (starlark.Value, error) {
				var hosts []starlark.Value
				for _, h := range s.bed.Hosts() {
					hosts = append(hosts, s.host(h))
				}
				return starlark.NewList(hosts), nil
			}},
			{"master", "host", "the first host", func(s *scenarioState, _ any) (starlark.Value, error) {
				return s.host(s.bed.Hosts()[0]), nil
			}},
			{"vms", "list[string]", "the names of the variant's VMs: the param vms", func(s *scenarioState, _ any) (starlark.Value, error) {
				return stringList(s.bed.VMs()), nil
			}},
			{"image_dir", "string", "the variant's own folder for discs and the like, as a path below images_base_dir: no other variant or run uses it, and it goes away with what is in it", func(s *scenarioState, _ any) (starlark.Value, error) {
				return starlark.String(s.bed.ImageDir()), nil
			}},
		},
		Methods: []*Builtin{
			{
				Name: "vm", Params: []Param{{"name", String, Required, "one of vms"}},
				Doc:     "Returns a VM by its name. The value stands for the instance that runs, on whichever host that is.",
				Returns: Return{"vm", "the VM"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					s, name := stateOf(t), arg[string](a, "name")
					if !slices.Contains(s.bed.VMs(), name) {
						return nil, misusef("name: no VM %q; the param vms has %s", name, cmp.Or(strings.Join(s.bed.VMs(), ", "), "none"))
					}
					return s.vm(name, nil), nil
				},
			},
			{
				Name: "file", Params: []Param{{"path", String, Required, "a file below the folder of the scenario's own file, or @LIBRARY//FILE"}},
				Doc: "Reads a file that belongs to the scenario: not one elsewhere, and at most 64 MiB. " +
					"vm.upload and host.upload take the bytes; str(…) makes a string of them.",
				Returns: Return{"bytes", "the content"},
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					data, err := stateOf(t).scenario.ReadFile(arg[string](a, "path"))
					if err != nil {
						return nil, misuse{err}
					}
					return starlark.Bytes(data), nil
				},
			},
			{
				Name: "artifact",
				Params: []Param{
					{"name", String, Required, "the file's name"},
					{"data", Content, Required, "its content"},
				},
				Doc:     "Saves a file among the variant's results.",
				Returns: Nothing,
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					if err := stateOf(t).bed.SaveArtifact(arg[string](a, "name"), []byte(arg[string](a, "data"))); err != nil {
						return nil, misuse{err}
					}
					return nil, nil
				},
			},
		},
	}
}
