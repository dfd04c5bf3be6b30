// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"log/slog"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// scenarioState is the state of one running scenario, which its builtins share: the
// variant's test bed and the scenario's values.
type scenarioState struct {
	bed        *testbed.Bed
	log        *slog.Logger
	barriers   *barrier.Group // of all hosts, for parties outside a migration
	migrations int            // how many were started
	classes    map[string]*Class
	objects    map[any]*object
	warnings   []string
	scenario   *star.Scenario
	options    Options
}

// newScenarioState returns the state of a scenario on bed.
func newScenarioState(bed *testbed.Bed) *scenarioState {
	s := &scenarioState{
		bed:      bed,
		log:      bed.Log(),
		barriers: barrier.New(bed.HostNames()...),
		classes:  map[string]*Class{},
		objects:  map[any]*object{},
	}
	for _, c := range Classes() {
		s.classes[c.Name] = c
	}
	return s
}

// env returns the value that migration_scenario is called with.
func (s *scenarioState) env() starlark.Value { return s.object("env", s, s.bed.Params()["shortname"]) }

// stateOf returns the state of a task's scenario.
func stateOf(t *task.Task) *scenarioState { return t.Env().(*scenarioState) }

// object returns the handle of a value that scenarios can get more than once: always
// the same handle, so that two handles of one host are equal.
func (s *scenarioState) object(class string, self any, label string) *object {
	o, known := s.objects[self]
	if !known {
		o = s.newObject(class, self, label)
		s.objects[self] = o
	}
	return o
}

// newObject returns a new handle of a value.
func (s *scenarioState) newObject(class string, self any, label string) *object {
	return &object{class: s.classes[class], state: s, self: self, label: label}
}

// scope is the scope of a task that runs on a host, unlike the main task: its party and
// barriers, and its side of a migration.
type scope struct {
	host     *testbed.Host
	party    string          // its name at barriers
	barriers *barrier.Group  // of its barriers, by default
	side     *migration.Side // nil outside a migration

	owner *task.Task // the task that the scope was created for; others are spawned in it
	shell shellSync
}

func scopeOf(t *task.Task) *scope {
	sc, _ := t.Scope().(*scope)
	return sc
}

// logger returns the log of a task: with its host and side, if it has one.
func logger(t *task.Task) *slog.Logger {
	sc := scopeOf(t)
	switch {
	case sc == nil:
		return stateOf(t).log
	case sc.side != nil:
		return sc.side.Log()
	default:
		return stateOf(t).log.With("host", sc.host.Name())
	}
}

// Print logs the message of Starlark's print.
func Print(t *task.Task, message string) {
	logger(t).Info(strings.TrimRight(message, "\n"), "task", t.Name, result.AtKey, position(t))
}

// position is the line of the .star file that called the running builtin.
func position(t *task.Task) string {
	if pos := t.CallerPosition(); pos.Line > 0 {
		return pos.String()
	}
	return ""
}

// predeclared returns the predeclared functions and modules by name.
func predeclared() starlark.StringDict {
	all := starlark.StringDict{}
	for _, b := range Functions() {
		all[b.Name] = b.value(nil, b.Name)
	}
	for _, m := range Modules() {
		all[m.Name] = m.Module
	}
	return all
}

// Predeclared returns the predeclared names of scenario files, besides Starlark's. Two
// builtins with one name are an error.
func Predeclared() (starlark.StringDict, error) {
	all := predeclared()
	seen := map[string]bool{}
	for _, b := range Functions() {
		if seen[b.Name] {
			return nil, fmt.Errorf("builtin %s is registered twice", b.Name)
		}
		seen[b.Name] = true
	}
	for _, m := range Modules() {
		if seen[m.Name] {
			return nil, fmt.Errorf("module %s has the name of a builtin", m.Name)
		}
	}
	return all, nil
}

// Functions returns the table of all functions, in the order of the reference.
func Functions() []*Builtin {
	var all []*Builtin
	for _, family := range [][]*Builtin{migrationFunctions, barrierFunctions, taskFunctions, verdictFunctions, debugFunctions()} {
		all = append(all, family...)
	}
	return all
}

// Classes returns the table of all kinds of values, in the order of the reference.
func Classes() []*Class {
	return []*Class{
		envClass(), hostClass(), resultClass(), processClass(), faultClass(),
		vmClass(), deviceClass(), snapshotClass(), expectationClass(), sessionClass(), clockClass(), migClass(), taskClass(), paramsClass(),
	}
}
