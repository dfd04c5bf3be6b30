// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.starlark.net/syntax"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// needGuest matches the examples that log in to a guest, change its devices, or need root: what they do is tested
// elsewhere, on real guests and hosts.
var needGuest = regexp.MustCompile(`login\(|reboot\(|\.clock\(|vm\("vm1"\)\.(up|down)load|plug_|\.device\(|block_port|nc -l|@std//(walk|freeze).star`)

// needConnection matches those that a bed in virtual time, whose hosts have no connections, cannot run.
var needConnection = regexp.MustCompile(`\.start\("|\bon\(env.hosts`)

// The examples of mhmig doc are as they say: each is of what it shows, its calls have arguments that exist, it is
// formatted, and it passes, on hosts of the lab or on scripted QEMUs in virtual time, unless it needs a guest.
func TestDocExamples(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, name := range slices.Sorted(maps.Keys(doc.Examples())) {
		body := doc.Examples()[name]
		if formatted, err := star.Reformat(name, []byte(body)); err != nil || string(formatted) != body {
			t.Errorf("%s is not formatted: %v\n%s", name, err, formatted)
		}
		loads, rest := "", body
		if strings.HasPrefix(body, "load(") {
			loads, rest, _ = strings.Cut(body, "\n\n")
		}
		source := loads + "\ndef migration_scenario(env):\n    " + strings.ReplaceAll(strings.TrimSpace(rest), "\n", "\n    ") + "\n"
		method, isMethod := strings.CutPrefix(name[max(0, strings.LastIndexByte(name, '.')):], ".")
		if isMethod && !strings.Contains(body, "."+method+"(") {
			t.Errorf("the example of %s does not use it", name)
		}
		checkCalls(t, name, source)
		run := !needGuest.MatchString(body)
		if run {
			ran++
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch {
			case !run:
				(&testRun{source: source}).load(t)
				return
			case needConnection.MatchString(body):
				runScenario(t, bedtest.NoQEMU(t), &testRun{source: source, params: cartesian.Params{"vms": ""}}).want(t, result.Pass)
				return
			}
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 2, cartesian.Params{"mig_timeout": "300"})
				// A guest that writes: its migrations last long enough to be waited for.
				writing := qmptest.Script{Load: func() qmptest.Load { return qmptest.Load{RAM: 128 << 20, Used: 64 << 20, Dirty: 16 << 20} }}
				bed.QEMUs.Script("vm1", writing, writing)
				if verdict := runOn(t, bed.Bed.Bed, nil, source); len(verdict.Failures) > 0 {
					t.Errorf("%v\n%s", verdict.Failures, source)
				}
				for _, i := range bed.Instances() {
					_ = bed.Remove(t.Context(), i)
				}
			})
		})
	}
	if all := len(doc.Examples()); ran < all/2 {
		t.Errorf("only %d of %d examples run", ran, all)
	}
}

// checkCalls compares the calls of builtins in a program with their parameters. A method is known by its name alone.
func checkCalls(t *testing.T, name, source string) {
	t.Helper()
	file, err := star.Dialect.Parse(name, source, 0)
	if err != nil {
		t.Error(err)
		return
	}
	functions, methods := map[string][]api.Builtin{}, map[string][]api.Builtin{}
	for _, f := range api.Functions() {
		functions[f.Name] = append(functions[f.Name], f)
	}
	for _, m := range api.Modules() {
		for _, f := range m.Functions {
			methods[f.Name] = append(methods[f.Name], f)
		}
	}
	for _, c := range api.Classes() {
		for _, m := range c.Methods {
			methods[m.Name] = append(methods[m.Name], m)
		}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok {
			return true
		}
		var candidates []api.Builtin
		switch fn := call.Fn.(type) {
		case *syntax.Ident:
			candidates = functions[fn.Name]
		case *syntax.DotExpr:
			candidates = methods[fn.Name.Name]
		}
		var faults []string
		for _, b := range candidates {
			fault := wrongCall(call, b)
			if fault == "" {
				return true
			}
			faults = append(faults, fault)
		}
		if len(faults) > 0 {
			t.Errorf("%s: %s", name, strings.Join(faults, "; "))
		}
		return true
	})
}

// wrongCall says what is wrong in a call of b, "" if nothing is.
func wrongCall(call *syntax.CallExpr, b api.Builtin) string {
	given := map[string]bool{}
	position := 0
	for _, arg := range call.Args {
		if named, ok := arg.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
			key := named.X.(*syntax.Ident).Name
			if !slices.ContainsFunc(b.Params, func(p api.Parameter) bool { return p.Name == key }) && b.Fields == "" {
				return fmt.Sprintf("%s has no parameter %s", b.Name, key)
			}
			given[key] = true
			continue
		}
		if position < len(b.Params) {
			given[b.Params[position].Name] = true
		} else if b.Rest == "" {
			return fmt.Sprintf("%s has %d parameters", b.Name, len(b.Params))
		}
		position++
	}
	for _, p := range b.Params {
		if !p.Optional && !given[p.Name] {
			return fmt.Sprintf("%s needs %s", b.Name, p.Name)
		}
	}
	return ""
}
