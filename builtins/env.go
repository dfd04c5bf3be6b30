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
		Doc:  "What a scenario runs on: the variant's params, its hosts and its VMs.",
		Attrs: []Attr{
			{"params", "the variant's params", func(s *Scene, _ any) (starlark.Value, error) {
				return s.params(s.bed.Params()), nil
			}},
			{"hosts", "all hosts, in the order of --hosts", func(s *Scene, _ any) (starlark.Value, error) {
				var hosts []starlark.Value
				for _, h := range s.bed.Hosts() {
					hosts = append(hosts, s.host(h))
				}
				return starlark.NewList(hosts), nil
			}},
			{"master", "the first host", func(s *Scene, _ any) (starlark.Value, error) {
				return s.host(s.bed.Hosts()[0]), nil
			}},
			{"vms", "the names of the variant's VMs (the param vms)", func(s *Scene, _ any) (starlark.Value, error) {
				return stringList(s.bed.VMs()), nil
			}},
		},
		Methods: []*Builtin{
			{
				Name: "vm", Params: []Param{{"name", String, "one of vms"}},
				Doc: "Returns the VM; it stands for the instance that runs, wherever that is.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					s, name := sceneOf(t), arg[string](a, "name")
					if !slices.Contains(s.bed.VMs(), name) {
						return nil, misusef("name: no VM %q; the param vms has %s", name, cmp.Or(strings.Join(s.bed.VMs(), ", "), "none"))
					}
					return s.vm(name, nil), nil
				},
			},
			{
				Name: "artifact",
				Params: []Param{
					{"name", String, "the file's name"},
					{"data", Content, "what is in it"},
				},
				Doc: "Keeps a file among the variant's results.",
				Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
					if err := sceneOf(t).bed.SaveArtifact(arg[string](a, "name"), []byte(arg[string](a, "data"))); err != nil {
						return nil, misuse{err}
					}
					return nil, nil
				},
			},
		},
	}
}
