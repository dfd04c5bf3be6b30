// SPDX-License-Identifier: Apache-2.0

package lint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/lint"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

var reader = cartesian.Reader{Libraries: library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}}

// shelf has the files that the tests' programs load.
var shelf = library.Set{"std": stdlib.FS, "x": fstest.MapFS{
	"a.star": {Data: []byte("a, b = 1, 2\nd = 3\n_e = 4\ndef c(): pass\n")}, "bad.star": {Data: []byte("def")},
}}

// found returns findings as "line:column rule: message".
func found(list diag.List) []string {
	var lines []string
	for _, d := range list {
		lines = append(lines, fmt.Sprintf("%d:%d %s: %s", d.Pos.Line, d.Pos.Col, d.Rule, d.Message))
	}
	return lines
}

// Each mistake is found, and what is right beside it is not.
func TestProgram(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source string
		want         []string
	}{
		{"syntax", "def f(:\n", []string{"1:7 : got ':', want ')'"}},
		{"unknown name", "def f():\n  migrte()\n  print(len([]), json, env2)\n", []string{"2:3 unknown-name: undefined: migrte", "3:24 unknown-name: undefined: env2"}},
		{
			"unknown loads", "load('a.star', 'a', 'bb', c = 'f')\nload('@std//work.star', 'start_memory_wrok')\nload('@std//wrok.star', 'g')\nload('../b.star', 'h')\nload('bad.star', 'i')\nprint(a, bb, c, start_memory_wrok, g, h, i)\n",
			[]string{
				"1:22 unknown-load: @x//a.star has no bb", "1:32 unknown-load: @x//a.star has no f", "2:26 unknown-load: @std//work.star has no start_memory_wrok",
				"3:6 unknown-load: library @std has no file wrok.star", "4:6 unknown-load: \"../b.star\" leaves the library @x",
			},
		},
		{"unused load", "load('a.star', 'a', 'b', c = 'd')\nb()\ndef e(): return [c for c in b]\n", []string{"1:17 unused-load: a is loaded and never used", "1:26 unused-load: c is loaded and never used"}},
		{"unused variable", "x = 1\n_y = 1\n_z = 2\ndef f(a):\n  b = a\n  c = 1\n  c += 1\n  d, e = 1, 2\n  _ = 3\n  g = _z\n  return lambda: g\n", []string{"2:1 unused-variable: _y is set and never used", "5:3 unused-variable: b is set and never used"}},
		{"set in a branch, read in another function", "def f():\n  x = 1\n  if x: y = 2\n  else: y = 3\n  def g(): return y\n  return g\n", nil},
		{"unused function", "def _f(): pass\ndef g():\n  def h(): pass\n  def i(): pass\n  i()\n", []string{"1:5 unused-function: the function _f is never used", "3:7 unused-function: the function h is never used"}},
		{"no such parameter", "sleep(5, chek = 1)\nwait_for(lambda: 1, timeot = 3)\n", []string{"1:10 wrong-argument: sleep has no parameter chek", "2:21 wrong-argument: wait_for has no parameter timeot"}},
		{"too many, too few", "sleep(1, 2)\nbarrier()\n", []string{"1:10 wrong-argument: sleep takes at most 1 arguments", "2:8 wrong-argument: barrier needs the argument tag"}},
		{"methods", "def f(vm, s):\n  vm.qmp()\n  vm.plug_disk('a', sise = 1)\n  vm.wait_for_login(1, True, 3)\n  s.join(1)\n  s.get()\n  json.encode()\n", []string{"2:9 wrong-argument: qmp needs the argument command", "3:21 wrong-argument: plug_disk has no parameter sise", "4:30 wrong-argument: wait_for_login takes at most 2 arguments", "7:14 wrong-argument: encode needs the argument x"}},
		{"what may be right", "def f(vm, args, fields):\n  vm.qmp(*args)\n  vm.qmp('stop', any_thing = 1)\n  log('x', y = 1)\n  spawn(f, 1, 2, 3)\n  sleep(**fields)\n  vm.wait(1)\ndef sleep(): pass\n", nil},
		{"unreachable", "def f():\n  return 1\n  print(1)\ndef g(x):\n  if x:\n    fail('a')\n    print(2)\n  while x:\n    break\n    print(3)\n  skip('b')\n", []string{"3:3 unreachable: this is never reached, after return", "7:5 unreachable: this is never reached, after fail(…)", "10:5 unreachable: this is never reached, after break"}},
		{"not joined", "def f(a, b):\n  migrate(['vm1'], a, b)\n  m = migrate(['vm1'], a, b)\n  m.cancel()\n  n = migrate(['vm1'], a, b)\n", []string{"2:3 not-joined: nobody waits for this migration", "3:3 not-joined: nobody waits for the migration m", "5:3 not-joined: nobody waits for the migration n"}},
		{"joined somewhere", "def f(a, b):\n  m = migrate(['vm1'], a, b)\n  m.join()\n  n = migrate(['vm1'], a, b)\n  print(n)\n  o = migrate(['vm1'], a, b)\n  wait_for(lambda: o.join(), 5)\n  return migrate(['vm1'], a, b)\n", nil},
		{"sleep", "def f(a, b):\n  m = migrate(['vm1'], a, b)\n  sleep(5)\n  m.join()\n  n = migrate(['vm1'], a, b)\n  sleep(a.params.seconds('delay'))\n  n.join()\n", []string{"3:3 sleep: the migration may have ended, or not have begun, after this time"}},
		{"one-sided barrier", "def f(mig):\n  if mig.is_src:\n    barrier('a')\n    sync('b')\n  elif not mig.is_src:\n    barrier('a')\n  if not mig.is_src:\n    barrier('c')\n  barrier('d')\n", []string{"4:5 one-sided-barrier: only one side of the migration reaches sync(\"b\")", "8:5 one-sided-barrier: only one side of the migration reaches barrier(\"c\")"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, found(lint.Program(shelf, "@x//x.star", []byte(tt.source)))); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing is said about what mhmig ships.
func TestShipped(t *testing.T) {
	t.Parallel()
	list := lint.Files(reader, []string{"../../scenarios", "../../stdlib"})
	if len(list) > 0 {
		t.Errorf("findings:\n%v", list)
	}
	if none := lint.Files(reader, []string{"../../none.star"}); len(none) != 1 || none[0].Message != "no such file or directory" {
		t.Errorf("got %v", none)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"an error", map[string]string{"x.cfg": "a = 1\nfoo\n"}, []string{"2:1 : neither an assignment, nor a condition, nor a keyword"}},
		{"a filter that matches nothing", map[string]string{"x.cfg": "variants:\n    - linux:\n    - windows:\nonly linxu\n"}, []string{`4:6 config: no variant has the label "linxu"`}},
		{"a filter that matches", map[string]string{"x.cfg": "variants:\n    - linux:\nonly linux\n"}, nil},
		{
			"params",
			map[string]string{"x.cfg": "mem = 1\npasswrod = a\nlogin_timeot_vm1 = 5\nrounds = 3\nmy_timeout = 4\nsmp_vm1 = 2\nvariants imags:\n    - a:\n        pasword_vm1 = 1\n        pasword_vm1 = 2\n"},
			[]string{`2:1 unknown-param: mhmig has no param "passwrod"`, `3:1 unknown-param: mhmig has no param "login_timeot_vm1"`, `7:1 unknown-param: mhmig has no param "imags"`},
		},
		{
			"a part that makes sense only where it is included",
			map[string]string{"part.cfg": "only linux\npasswrod = a\n", "all.cfg": "variants:\n    - linux:\ninclude part.cfg\n"},
			[]string{`2:1 unknown-param: mhmig has no param "passwrod"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, found(lint.Files(reader, []string{dir}))); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	list := lint.Program(shelf, "@x//dir/x.star", []byte("load('../a.star', 'a', 'b', ä = 'c')\nb()\na()\n"))
	var b bytes.Buffer
	if err := diag.WriteSARIF(&b, list, "mhmig", "v1"); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level string
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	r := log.Runs[0]
	if log.Version != "2.1.0" || r.Tool.Driver.Rules[0].ID != "unused-load" || len(r.Results) != 1 {
		t.Fatalf("got %s", b.String())
	}
	got, at := r.Results[0], r.Results[0].Locations[0].PhysicalLocation
	if got.RuleID != "unused-load" || got.Level != "warning" || !strings.Contains(got.Message.Text, "ä is loaded") ||
		at.ArtifactLocation.URI != "@x//dir/x.star" || at.Region.StartLine != 1 || at.Region.StartColumn != 29 {
		t.Errorf("got %+v", got)
	}
	b.Reset()
	if err := diag.WriteSARIF(&b, nil, "mhmig", "v1"); err != nil || !strings.Contains(b.String(), `"results": []`) {
		t.Errorf("without findings: %s, %v", b.String(), err)
	}
}

// FuzzProgram gives any text to the linter: it finds something in a line of it, or nothing.
func FuzzProgram(f *testing.F) {
	paths, err := filepath.Glob("../../scenarios/*.star")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source)
	}
	for _, source := range []string{
		"load('a', b = 'c')\nd = migrate(b)\nsleep()\nsleep(*d, **e)\ndef _f(a, *b, c = 1, **d): return [x for x, y in a if x]\n",
		"if not (mig.is_src): barrier('a')\nelse: sync()\nwhile x: break; y\nx.join(1)(2)\nlambda a, *, b: a\n", "fail('x'); y = z = 1\n",
	} {
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		lines := bytes.Count(source, []byte("\n")) + bytes.Count(source, []byte("\r")) + 1
		for _, d := range lint.Program(shelf, "@x//x.star", source) {
			if d.Message == "" || d.Pos.Line < 1 || d.Pos.Line > lines || d.Pos.Col < 1 {
				t.Errorf("%q: %+v in %d lines", source, d, lines)
			}
		}
	})
}
