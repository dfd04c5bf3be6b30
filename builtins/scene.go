// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"log/slog"
	"strings"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Scene is what the builtins of one running scenario work on: the variant's
// test bed and what the scenario has made of it so far.
type Scene struct {
	bed        *testbed.Bed
	log        *slog.Logger
	room       *barrier.Room // all hosts, for parties outside a migration
	migrations int           // how many were begun
	classes    map[string]*Class
	objects    map[any]*object
	warnings   []string
	debug      Debug
}

// NewScene returns the scene of one scenario on bed.
func NewScene(bed *testbed.Bed) *Scene {
	s := &Scene{
		bed:     bed,
		log:     bed.Log(),
		room:    barrier.New(bed.HostNames()...),
		classes: map[string]*Class{},
		objects: map[any]*object{},
	}
	for _, c := range Classes() {
		s.classes[c.Name] = c
	}
	return s
}

// Env returns the value that migration_scenario is called with.
func (s *Scene) Env() starlark.Value { return s.object("env", s, s.bed.Params()["shortname"]) }

// sceneOf is the one way from a task to its scene.
func sceneOf(t *task.Task) *Scene { return t.Env().(*Scene) }

// object returns the handle for a piece of state that scenarios may come by
// more than once: always the same one, so that two handles for one host are
// equal.
func (s *Scene) object(class string, self any, label string) *object {
	o, known := s.objects[self]
	if !known {
		o = s.newObject(class, self, label)
		s.objects[self] = o
	}
	return o
}

// newObject returns the only handle that there will be for a piece of state.
func (s *Scene) newObject(class string, self any, label string) *object {
	return &object{class: s.classes[class], scene: s, self: self, label: label}
}

// scope is what sets a task apart from the main one: the party it is when it
// meets others, and where.
type scope struct {
	host  *testbed.Host
	party string          // what it is called in room
	room  *barrier.Room   // where it meets by default
	side  *migration.Side // nil outside a migration

	owner *task.Task // the one that the scope was made for; others are spawned in it
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
		return sceneOf(t).log
	case sc.side != nil:
		return sc.side.Log()
	default:
		return sceneOf(t).log.With("host", sc.host.Name())
	}
}

// Print is where Starlark's print goes.
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

// universe is the functions and constants that every scenario file sees.
func universe() starlark.StringDict {
	all := starlark.StringDict{}
	for _, b := range Functions() {
		all[b.Name] = b.value(nil, b.Name)
	}
	return all
}

// Predeclared returns the names that scenario files see beside Starlark's own.
// Two builtins of one name are an error.
func Predeclared() (starlark.StringDict, error) {
	seen := map[string]bool{}
	for _, b := range Functions() {
		if seen[b.Name] {
			return nil, fmt.Errorf("builtin %s is registered twice", b.Name)
		}
		seen[b.Name] = true
	}
	return universe(), nil
}

// Functions returns the table of all functions, in the order of the reference.
func Functions() []*Builtin {
	var all []*Builtin
	for _, family := range [][]*Builtin{migrationFunctions, meetingFunctions, taskFunctions, verdictFunctions, debugFunctions()} {
		all = append(all, family...)
	}
	return all
}

// Classes returns the table of all kinds of values, in the order of the reference.
func Classes() []*Class {
	return []*Class{
		envClass(), hostClass(), resultClass(), processClass(), faultClass(),
		vmClass(), sessionClass(), migClass(), taskClass(), paramsClass(),
	}
}
