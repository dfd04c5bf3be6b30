// SPDX-License-Identifier: Apache-2.0

package doc_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

func index(t *testing.T) *doc.Index {
	t.Helper()
	x, err := doc.New(library.Set{"std": stdlib.FS, "scenarios": scenarios.FS})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Everything that scenarios and configs can use has a text and an example.
func TestNothingIsWithoutDoc(t *testing.T) {
	t.Parallel()
	x := index(t)
	count := map[doc.Kind]int{}
	unused := doc.Examples()
	for _, kind := range doc.Kinds {
		for _, topic := range x.Topics(kind) {
			count[kind]++
			delete(unused, topic.Name)
			if topic.Doc == "" || topic.Heading == "" || topic.Summary() == "" {
				t.Errorf("%s %s has no text", kind, topic.Name)
			}
			if needless := kind == doc.File || kind == doc.Missing; topic.Example == "" && !needless {
				t.Errorf("%s %s has no example", kind, topic.Name)
			}
			for _, part := range topic.Parts {
				if part.Doc == "" || strings.HasPrefix(part.Doc, " (") {
					t.Errorf("%s %s: %s has no text", kind, topic.Name, part.Name)
				}
			}
		}
	}
	for name := range unused {
		t.Errorf("the example %s is of nothing", name)
	}
	want := map[doc.Kind]int{
		doc.Builtin: len(api.Functions()), doc.Module: len(api.Modules()), doc.Class: len(api.Classes()), doc.Param: len(api.All()),
		doc.Missing: len(api.UnsupportedParams()), doc.Starlark: len(star.Universe()) - 1, // fail is a function of mhmig
	}
	for _, m := range api.Modules() {
		want[doc.Method] += len(m.Functions)
	}
	for _, c := range api.Classes() {
		want[doc.Method] += len(c.Methods)
		want[doc.Attribute] += len(c.Attributes)
	}
	for _, kind := range doc.Kinds {
		if want, known := want[kind]; known && count[kind] != want || count[kind] == 0 {
			t.Errorf("%d topics of kind %s, want %d", count[kind], kind, want)
		}
	}
	t.Logf("topics: %v", count)
}

// The examples of Starlark's own functions are right.
func TestUniverse(t *testing.T) {
	t.Parallel()
	var names []string
	for _, topic := range index(t).Topics(doc.Starlark) {
		names = append(names, topic.Name)
		expression, value, _ := strings.Cut(topic.Example, "  # ")
		thread := &starlark.Thread{Print: func(*starlark.Thread, string) {}}
		got, err := starlark.EvalOptions(star.Dialect, thread, topic.Name, expression, nil)
		if err != nil || got.String() != value {
			t.Errorf("%s is %v, %v; the example says %s", expression, got, err, value)
		}
	}
	slices.Sort(names)
	want := slices.DeleteFunc(star.Universe(), func(name string) bool { return name == "fail" })
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("Starlark's own names (-want +got):\n%s", diff)
	}
}

// The examples of params are lines of a config with valid values.
func TestParamExamples(t *testing.T) {
	t.Parallel()
	for _, topic := range index(t).Topics(doc.Param) {
		p, _ := api.Find(topic.Name)
		c, err := cartesian.ParseFS(fstest.MapFS{"x.cfg": {Data: []byte(topic.Example)}}, "x.cfg")
		if err != nil {
			t.Errorf("%s: %v", topic.Name, err)
			continue
		}
		for v, err := range c.Variants(t.Context(), cartesian.Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range slices.Sorted(maps.Keys(v.Params)) {
				if found, ok := api.Find(key); !strings.HasPrefix(key, "_") && (!ok || found.Name != p.Name) && !isReserved(key) {
					t.Errorf("%s: the example sets %s", topic.Name, key)
				}
			}
			if strings.HasSuffix(p.Name, "_*") {
				continue
			}
			values := api.Read(v.Params)
			values.Check(p)
			if err := values.Err(); err != nil {
				t.Errorf("%s: %v", topic.Name, err)
			}
		}
	}
}

func isReserved(key string) bool { return slices.Contains([]string{"name", "shortname", "dep"}, key) }

func TestFind(t *testing.T) {
	t.Parallel()
	x := index(t)
	for name, want := range map[string]string{
		"migrate": "migrate", "migrate()": "migrate", "mig.join": "mig.join", "join": "mig.join, task.join", "mem": "mem",
		"mem_vm1_host2": "mem", "@std//work.star": "@std//work.star", "start_load": "start_load", "vm.state": "vm.state",
		"sorted": "sorted", "json": "json", "encode": "json.encode", "multihost_migration": "multihost_migration",
		"migarte": "did you mean migrate?", "mig.jion": "did you mean mig.join?", "quux": "did you mean ?",
		"rtc_bsae": "did you mean rtc_base?",
	} {
		topics, near := x.Find(name)
		var got []string
		for _, topic := range topics {
			got = append(got, topic.Name)
		}
		if topics == nil {
			got = []string{"did you mean " + near + "?"}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: got %q, want %s", name, got, want)
		}
	}
}

// Text of a library is escaped for terminals, and an error in one names its file.
func TestLibraries(t *testing.T) {
	t.Parallel()
	team := fstest.MapFS{"deep/odd.star": {Data: []byte("\"\"\"About \\x1b[2Jit.\"\"\"\ndef f(a,\n  b = 1):\n  \"\"\"Does\n\n      code\n  more.\"\"\"\n")}}
	x, err := doc.New(library.Set{"team": team})
	if err != nil {
		t.Fatal(err)
	}
	topics := append(x.Topics(doc.File), x.Topics(doc.Shared)...)
	var b strings.Builder
	if err := doc.Write(&b, topics, 30); err != nil {
		t.Fatal(err)
	}
	want := `@team//deep/odd.star
    [library file]

    About \x1b[2Jit.

    f(a, b = 1): Does

f(a, b = 1)
    [function of @team//deep/odd.star]

    Does

        code
    more.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	_, err = doc.New(library.Set{"team": fstest.MapFS{"bad.star": {Data: []byte("def")}}})
	if list := diag.Of(err); len(list) != 1 || list[0].Pos.File != "@team//bad.star" {
		t.Errorf("got %v", err)
	}
}

// The stub has everything, and Python, where it is installed, can use it.
func TestStub(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "stub.py")
	var b strings.Builder
	if err := doc.WriteStub(&b); err != nil {
		t.Fatal(err)
	}
	x := index(t)
	if got, want := strings.Count(b.String(), "def "), len(x.Topics(doc.Builtin))+len(x.Topics(doc.Method)); got < want {
		t.Errorf("%d functions, want %d", got, want)
	}
	for _, line := range []string{
		"\nclass mig:\n", "\n    is_src: \"bool\"\n", `def join(self, timeout: "int | float | str" = ..., check: "bool" = ...) -> "bool":`,
		"\ndef spawn(fn: \"Callable[..., Any]\", *args: Any) -> \"task\":\n", "\n    @staticmethod\n    def encode(",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the stub has no %q", line)
		}
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("NOT TESTED: whether Python can use the stub, as there is no python3")
	}
	check := "\nimport typing\nfor _c in list(vars().values()):\n    if isinstance(_c, type) and _c.__module__ == \"__main__\":\n        typing.get_type_hints(_c)\n"
	if err := os.WriteFile(path, []byte(b.String()+check), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), python, path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
