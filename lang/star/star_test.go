// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
)

// files are the texts of files by path. In them and in what is expected,
// DIR stands for the folder that they are written to.
type files map[string]string

func (f files) write(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range f {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func shelf(f files) fs.FS {
	library := fstest.MapFS{}
	for name, text := range f {
		library[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return library
}

// call runs the scenario's entry function, with None for its env.
func call(t *testing.T, s *star.Scenario) starlark.Value {
	t.Helper()
	v, err := starlark.Call(&starlark.Thread{}, s.Main, starlark.Tuple{starlark.None}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLoadGraph(t *testing.T) {
	t.Parallel()
	std := files{
		"work.star":       `load("inner/deep.star", "deep")` + "\ndef work(): return 'work ' + deep()\n",
		"inner/deep.star": `load("../base.star", "base")` + "\ndef deep(): return 'deep ' + base\n",
		"base.star":       "base = 'base'\n",
	}
	tests := []struct {
		name  string
		files files
		want  string
	}{
		{
			"beside, below and above",
			files{
				"main.star":      "load('beside.star', 'beside')\nload('below/one.star', 'one')\ndef migration_scenario(env): return beside + one\n",
				"beside.star":    "beside = 'beside '\n",
				"below/one.star": "load('./two.star', 'two')\nload('../beside.star', 'beside')\none = two + beside\n",
				"below/two.star": "two = 'two '\n",
			},
			"beside two beside ",
		},
		{
			"by its full path",
			files{
				"main.star":  "load('DIR/other.star', 'other')\ndef migration_scenario(env): return other\n",
				"other.star": "other = 'other'\n",
			},
			"other",
		},
		{
			"from a library, whose files load each other",
			files{"main.star": "load('@std//work.star', 'work')\ndef migration_scenario(env): return work()\n"},
			"work deep base",
		},
		{
			"one library from another",
			files{"main.star": "load('@team//t.star', 't')\ndef migration_scenario(env): return t\n"},
			"team base",
		},
		{
			"a name of a loaded file may be its entry",
			files{
				"main.star":  "load('other.star', entry = 'run')\nmigration_scenario = entry\n",
				"other.star": "def run(env): return 'run'\n",
			},
			"run",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			loader := &star.Loader{Libraries: library.Set{
				"std":  shelf(std),
				"team": shelf(files{"t.star": "load('@std//base.star', 'base')\nt = 'team ' + base\n"}),
			}}
			scenario, err := loader.Scenario(t.Context(), filepath.Join(test.files.write(t), "main.star"))
			if err != nil {
				t.Fatal(err)
			}
			if got := call(t, scenario); got != starlark.String(test.want) {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

func TestScenarioOfLibrary(t *testing.T) {
	t.Parallel()
	loader := &star.Loader{Libraries: map[string]fs.FS{"std": shelf(files{
		"s/main.star":  "load('other.star', 'other')\ndef migration_scenario(env): return other\n",
		"s/other.star": "other = 'other'\n",
	})}}
	scenario, err := loader.Scenario(t.Context(), "@std//s/main.star")
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, scenario); got != starlark.String("other") || scenario.Path != "@std//s/main.star" {
		t.Errorf("got %v of %s", got, scenario.Path)
	}
}

// TestLoadedOnce counts how often files run that are loaded in several ways
// and from several scenarios.
func TestLoadedOnce(t *testing.T) {
	t.Parallel()
	runs := map[string]int{}
	count := starlark.NewBuiltin("count", func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		runs[string(args[0].(starlark.String))]++
		return starlark.None, nil
	})
	dir := files{
		"one.star":     "load('a.star', 'items')\nload('sub/b.star', 'same')\ncount('one')\ndef migration_scenario(env): return items == same\n",
		"two.star":     "load('sub/../a.star', 'items')\ncount('two')\ndef migration_scenario(env): return items\n",
		"a.star":       "load('@std//c.star', 'c')\ncount('a')\nitems = [c]\n",
		"sub/b.star":   "load('../a.star', 'items')\nload('@std//c.star', 'c')\ncount('b')\nsame = items\n",
		"sub/bad.star": "",
	}.write(t)
	loader := &star.Loader{
		Predeclared: starlark.StringDict{"count": count},
		Libraries:   map[string]fs.FS{"std": shelf(files{"c.star": "count('c')\nc = 1\n"})},
	}
	for _, name := range []string{"one.star", "two.star", "one.star"} {
		if _, err := loader.Scenario(t.Context(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"one": 1, "two": 1, "a": 1, "b": 1, "c": 1}, runs); diff != "" {
		t.Errorf("runs of the files' top level (-want +got):\n%s", diff)
	}
}

func TestModulesAreFrozen(t *testing.T) {
	t.Parallel()
	dir := files{
		"main.star":  "load('other.star', 'items')\nown = {}\ndef migration_scenario(env):\n  if env == 1:\n    items.append(1)\n  own['x'] = 1\n",
		"other.star": "items = []\n",
	}.write(t)
	scenario, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(dir, "main.star"))
	if err != nil {
		t.Fatal(err)
	}
	for env, want := range []string{"cannot insert into frozen hash table", "append: cannot append to frozen list"} {
		_, err := starlark.Call(&starlark.Thread{}, scenario.Main, starlark.Tuple{starlark.MakeInt(env)}, nil)
		if err == nil || err.Error() != want {
			t.Errorf("env %d: got %v, want %s", env, err, want)
		}
	}
}

// TestLoadingIsSilent: what a file prints while it is loaded goes nowhere.
func TestLoadingIsSilent(t *testing.T) {
	dir := files{"main.star": "print('loading')\ndef migration_scenario(env): pass\n"}.write(t)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	before := os.Stderr
	os.Stderr = stderr // where starlark.Thread prints by itself
	_, err = (&star.Loader{}).Scenario(t.Context(), filepath.Join(dir, "main.star"))
	os.Stderr = before
	if err != nil {
		t.Fatal(err)
	}
	if printed, err := os.ReadFile(stderr.Name()); err != nil || len(printed) > 0 {
		t.Errorf("printed %q, %v; want nothing", printed, err)
	}
}

func TestDialect(t *testing.T) {
	t.Parallel()
	const program = `
total = 0
while total < 3:       # while and control flow at the top, names given twice
    total += 1
for i in [1, 2]:
    if i == 2:
        total = total + i

def migration_scenario(env):
    seen = set([1, 2, 2])
    n = 0
    while True:
        n += 1
        if n == 4:
            break
    return [total, len(seen), n, [double(x) for x in [1]][0]]

double = lambda x: 2 * x
`
	scenario, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(files{"main.star": program}.write(t), "main.star"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := call(t, scenario).String(), "[5, 2, 4, 2]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRecursionIsRefused(t *testing.T) {
	t.Parallel()
	const program = "def migration_scenario(env):\n  migration_scenario(env)\n"
	scenario, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(files{"main.star": program}.write(t), "main.star"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = starlark.Call(&starlark.Thread{}, scenario.Main, starlark.Tuple{starlark.None}, nil)
	if err == nil || !strings.Contains(err.Error(), "called recursively") {
		t.Errorf("got %v, want: called recursively", err)
	}
}

// TestDiagnostics: what is wrong in a file is told with the place and the line.
func TestDiagnostics(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files files
		want  diag.List
	}{
		{
			"syntax",
			files{"main.star": "x = 1\ndef migration_scenario(env):\r\n    return (\n"},
			diag.List{{Pos: diag.Pos{File: "DIR/main.star", Line: 4, Col: 1}, Message: "got the end of the block, want a value"}},
		},
		{
			"a line with CR LF",
			files{"main.star": "x = 1\r\ny = = 2\r\n"},
			diag.List{{Pos: diag.Pos{File: "DIR/main.star", Line: 2, Col: 5}, Message: "got '=', want a value", Source: "y = = 2"}},
		},
		{
			"all undefined names",
			files{"main.star": "def migration_scenario(env):\n    migrate(env)\n    x = envv.hosts\n    return nothing\n"},
			diag.List{
				{Pos: diag.Pos{File: "DIR/main.star", Line: 2, Col: 5}, Message: "undefined: migrate", Source: "    migrate(env)"},
				{Pos: diag.Pos{File: "DIR/main.star", Line: 3, Col: 9}, Message: "undefined: envv (did you mean env?)", Source: "    x = envv.hosts"},
				{Pos: diag.Pos{File: "DIR/main.star", Line: 4, Col: 12}, Message: "undefined: nothing", Source: "    return nothing"},
			},
		},
		{
			"in a file that it loads",
			files{"main.star": "load('other.star', 'x')\n", "other.star": "x = y\n"},
			diag.List{{Pos: diag.Pos{File: "DIR/other.star", Line: 1, Col: 5}, Message: "undefined: y", Source: "x = y"}},
		},
		{
			"no entry",
			files{"main.star": "def migrate_scenario(env): pass\n"},
			diag.List{{
				Pos: diag.Pos{File: "DIR/main.star"}, Message: "no function migration_scenario(env): a scenario must define it",
				Hint: "there is migrate_scenario",
			}},
		},
		{
			"an empty file",
			files{"main.star": ""},
			diag.List{{Pos: diag.Pos{File: "DIR/main.star"}, Message: "no function migration_scenario(env): a scenario must define it"}},
		},
		{
			"the entry is no function",
			files{"main.star": "migration_scenario = ['x']\n"},
			diag.List{{Pos: diag.Pos{File: "DIR/main.star"}, Message: "migration_scenario is a list, want a function"}},
		},
		{
			"too few parameters",
			files{"main.star": "x = 1\ndef migration_scenario(): pass\n"},
			diag.List{{
				Pos: diag.Pos{File: "DIR/main.star", Line: 2, Col: 1}, Message: "migration_scenario takes 0 parameters, want one: env",
				Source: "def migration_scenario(): pass",
			}},
		},
		{
			"too many parameters, in a file that it loads",
			files{"main.star": "load('other.star', 'run')\nmigration_scenario = run\n", "other.star": "def run(src, dst): pass\n"},
			diag.List{{
				Pos: diag.Pos{File: "DIR/other.star", Line: 1, Col: 1}, Message: "migration_scenario takes 2 parameters, want one: env",
				Source: "def run(src, dst): pass",
			}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := test.files.write(t)
			_, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(dir, "main.star"))
			got := diag.Of(err)
			for i := range got {
				got[i].Pos.File = strings.ReplaceAll(got[i].Pos.File, dir, "DIR")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%v\n(-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestLoadErrors: what goes wrong while files are loaded is told with the
// chain of places that led there, once.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files files
		want  string
	}{
		{
			"no such file",
			files{},
			"open DIR/main.star: no such file or directory",
		},
		{
			"no such file loaded",
			files{"main.star": "x = 1\nload('gone.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:2:1: in <toplevel>\n" +
				"Error: cannot load gone.star: open DIR/gone.star: no such file or directory",
		},
		{
			"no such name in it",
			files{"main.star": "load('a.star', 'itms')\n", "a.star": "items = []\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: load: name itms not found in module a.star (did you mean items?)",
		},
		{
			"no such file loaded, but one that is meant",
			files{"main.star": "load('work', 'x')\n", "work.star": "x = 1\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load work: open DIR/work: no such file or directory; did you mean DIR/work.star?",
		},
		{
			"no such library",
			files{"main.star": "load('@stb//work.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load @stb//work.star: no library @stb; did you mean @std?",
		},
		{
			"no such file in the library",
			files{"main.star": "load('@std//gone.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load @std//gone.star: library @std has no file gone.star",
		},
		{
			"one slash",
			files{"main.star": "load('@std/work.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load @std/work.star: \"@std/work.star\" is no file of a library; want @LIBRARY//FOLDER/FILE",
		},
		{
			"not a path in a library",
			files{"main.star": "load('@std//../work.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load @std//../work.star: \"@std//../work.star\" is no file of a library; want @LIBRARY//FOLDER/FILE",
		},
		{
			"out of a library",
			files{"main.star": "load('@std//out.star', 'x')\n"},
			"Traceback (most recent call last):\n  @std//out.star:1:1: in <toplevel>\n" +
				"Error: cannot load ../x.star: \"../x.star\" leaves the library @std",
		},
		{
			"a circle",
			files{"main.star": "load('a.star', 'x')\n", "a.star": "load('sub/b.star', 'x')\n", "sub/b.star": "load('../a.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/sub/b.star:1:1: in <toplevel>\n" +
				"Error: cannot load ../a.star: load cycle: DIR/a.star -> DIR/sub/b.star -> DIR/a.star",
		},
		{
			"itself",
			files{"main.star": "load('main.star', 'x')\n"},
			"Traceback (most recent call last):\n  DIR/main.star:1:1: in <toplevel>\n" +
				"Error: cannot load main.star: load cycle: DIR/main.star -> DIR/main.star",
		},
		{
			"at the top level of a loaded file",
			files{"main.star": "load('a.star', 'x')\n", "a.star": "def f(n):\n  return 1 // n\nx = f(0)\n"},
			"Traceback (most recent call last):\n  DIR/a.star:3:6: in <toplevel>\n  DIR/a.star:2:12: in f\n" +
				"Error: floored division by zero",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := test.files.write(t)
			loader := &star.Loader{Libraries: library.Set{
				"std":  shelf(files{"out.star": "load('../x.star', 'x')\n"}),
				"team": shelf(nil),
			}}
			_, err := loader.Scenario(t.Context(), filepath.Join(dir, "main.star"))
			if err == nil {
				t.Fatal("got no error")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir, "DIR")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if traced, ok := errors.AsType[*star.LoadError](err); ok && traced.Err.CallStack == nil {
				t.Errorf("no call stack in %#v", traced)
			}
		})
	}
}

// TestInterrupted: a file that never ends loading ends with the context.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	dir := files{
		"main.star":  "load('other.star', 'x')\n",
		"other.star": "begun()\nwhile True:\n    pass\n",
	}.write(t)
	errInterrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	var ended time.Time
	begun := starlark.NewBuiltin("begun", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		ended = time.Now()
		cancel(errInterrupted)
		return starlark.None, nil
	})
	loader := &star.Loader{Predeclared: starlark.StringDict{"begun": begun}}
	_, err := loader.Scenario(ctx, filepath.Join(dir, "main.star"))
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v, want %v", err, errInterrupted)
	}
	if took := time.Since(ended); took > time.Minute {
		t.Errorf("ended %v after the interruption, want a few milliseconds", took)
	}
}

// A file whose top level computes without end is not loaded. The memory of other tests
// would count.
func TestLimits(t *testing.T) { //nolint:paralleltest // see above
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	for program, want := range map[string]string{
		"while True: pass\n":                      "stopped after 100000 Starlark steps without an end",
		"x = 'x' * 1000\nwhile True: x = x + x\n": " of memory are in use, the limit is ",
	} {
		dir := files{"main.star": "load('other.star', 'x')\ndef migration_scenario(env): pass\n", "other.star": program}.write(t)
		loader := &star.Loader{Limits: star.Limits{Steps: 100_000, Memory: now.HeapAlloc + 64<<20}}
		_, err := loader.Scenario(t.Context(), filepath.Join(dir, "main.star"))
		var load *star.LoadError
		if !errors.As(err, &load) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "other.star:") {
			t.Errorf("%q: got %v, want %q", program, err, want)
		}
	}
}
