// SPDX-License-Identifier: Apache-2.0

package assist_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/assist"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

var libraries = library.Set{"std": stdlib.FS, "scenarios": scenarios.FS, "x": fstest.MapFS{
	"a.star":       {Data: []byte("\"\"\"What is shared.\"\"\"\n\ndef first(vm, size = 5):\n    \"\"\"Logs in.\"\"\"\n    return vm.wait_for_login()\n\nlimit = 5\n\ndef _own():\n    pass\n")},
	"deep/b.star":  {Data: []byte("def other(): pass\n")},
	"net/all.cfg":  {Data: []byte("variants:\n    - wire:\n    - radio:\n")},
	"net/note.txt": {Data: []byte("")},
}}

// at splits a text with a cursor in it.
func at(t *testing.T, text string) (string, int) {
	t.Helper()
	before, after, ok := strings.Cut(text, "‸")
	if !ok {
		t.Fatalf("no cursor in %q", text)
	}
	return before + after, len(before)
}

// workspace returns a workspace in which one file is open.
func workspace(name, text string) *assist.Workspace {
	return assist.New(libraries, map[string]string{name: text})
}

func TestCompleteProgram(t *testing.T) {
	t.Parallel()
	const mig = "join status src stats vm wait"
	for _, tt := range []struct{ name, text, want, not string }{
		{"members of what a function returns", "mig = migrate([], 1, 2)\nmig.‸\n", mig, "qmp print"},
		{"at the end of the file", "mig = migrate([], 1, 2)\nmig.‸", mig, "qmp"},
		{"before more statements", "def migration_scenario(env):\n    mig = migrate([], 1, 2)\n    mig.‸\n    mig.join()\n", mig, "qmp"},
		{"a part of the name", "def f():\n    mig = migrate([], 1, 2)\n    mig.jo‸\n", mig, "qmp"},
		{"in the middle of a call", "def f():\n    mig = migrate([], 1, 2)\n    mig.jo‸in(check = True)\n", mig, "qmp"},
		{"a call in a call", "def migration_scenario(env):\n    log(env.vm(\"vm1\").‸)\n", "qmp wait_for_login state", "join"},
		{"a call that is not closed", "def migration_scenario(env):\n    log(env.vm(\"vm1\").‸\n    sleep(5)\n", "qmp wait_for_login state", "join"},
		{"a call over several lines", "def migration_scenario(env):\n    migrate(\n        [\"vm1\"],\n        env.‸\n        env.hosts[1],\n    )\n", "hosts master vm", "join"},
		{"of an element", "def migration_scenario(env):\n    env.hosts[0].‸\n", "run address facts", "join hosts"},
		{"of a loop's variable", "def migration_scenario(env):\n    for h in env.hosts:\n        h.‸\n", "run address", "hosts"},
		{"in a comprehension", "def migration_scenario(env):\n    return [h.‸ for h in env.hosts]\n", "run address", "hosts"},
		{"in a head", "def migration_scenario(env):\n    vm = env.vm(\"vm1\")\n    if vm.‸\n        vm.pause()\n", "state qmp", "join"},
		{"of two names at once", "def migration_scenario(env):\n    vm, a = env.vm(\"vm1\"), 1\n    vm.‸\n", "qmp", "join"},
		{"of a parameter, by who passes the function", "def migration_scenario(env):\n    def work(m):\n        m.‸\n    migrate([], 1, 2, work)\n", mig, "qmp"},
		{"by its keyword", "def work(m):\n    m.‸\ndef migration_scenario(env):\n    migrate([], 1, 2, check_work = work)\n", mig, "qmp"},
		{"by spawn", "def work(a, b):\n    b.‸\ndef migration_scenario(env):\n    spawn(work, 1, env.vm(\"vm1\"))\n", "qmp", "join"},
		{"by who calls the function", "def work(a, b):\n    b.‸\ndef migration_scenario(env):\n    work(1, b = env.vm(\"vm1\"))\n", "qmp", "join"},
		{"by its name alone", "def work(vm1):\n    vm1.‸\n", "qmp", "join"},
		{"of what a function of the file returns", "def login(vm):\n    if vm:\n        return None\n    return vm.wait_for_login()\nlogin(x).‸\n", "cmd sendline", "join"},
		{"of what a loaded function returns", "load(\"@x//a.star\", \"first\")\ns = first(1)\ns.‸\n", "cmd sendline", "join"},
		{"of a module", "json.‸\n", "encode decode", "join"},
		{"of a string", "'a'.‸\n", "upper strip format", "join_none append"},
		{"of a list", "x = []\nx.‸\n", "append extend", "upper"},
		{"of what is not known", "x.‸\n", "", "append upper join"},
		{"after another broken line", "def f(env):\n    x = = 1\n    vm = env.vm(\"a\")\n    if vm\n        pass\n    vm.‸\n", "qmp", ""},
		{"before a broken function", "vm = migrate([], 1, 2).vm(\"a\")\nvm.‸\ndef g(:\n    x\n", "qmp", ""},
		{"in a string that is not closed", "x = \"a.‸\n", "", "upper"},
		{"in a comment", "# mig.‸\n", "", "join print"},
		{"in a number", "x = 1.‸\n", "", "upper"},
		{"names", "load(\"@x//a.star\", \"first\")\ntop = 1\ndef f(a, *, b = 1):\n    c = 2\n    ‸\n    d = [e for e in a]\n", "a b c d f first top migrate json len while", "e mhmig_asked_about"},
		{"names in a comprehension", "x = [a + ‸ for a in [1]]\n", "a x migrate", ""},
		{"names in a lambda", "x = lambda a: ‸\n", "a x migrate", ""},
		{"parameters of a builtin", "def f(vm):\n    vm.wait_for_login(‸)\n", "timeout_= check_= migrate", ""},
		{"parameters of a function of mhmig", "migrate([], 1, 2, hold = True, ‸\n", "fresh_= may_fail_=", "hold_="},
		{"parameters of a function of the file", "def f(a, b = 1, **c):\n    pass\nf(‸)\n", "a_= b_=", "c_="},
		{"parameters of a loaded function", "load(\"@x//a.star\", \"first\")\nfirst(1, ‸)\n", "vm_= size_=", ""},
		{"the value of an argument", "migrate([], 1, 2, hold = ‸\n", "True migrate", "fresh_="},
		{"a new name", "def ‸\n", "", "migrate"},
		{"libraries", "load(\"‸\")\n", "@std// @x//", ""},
		{"files of a library", "load(\"@x//‸\")\n", "@x//a.star @x//deep/", "@x//net/all.cfg"},
		{"files of a library's folder", "load(\"@x//deep/‸\", \"a\")\n", "@x//deep/b.star", ""},
		{"names to load", "load(\"@x//a.star\", \"‸\")\n", "first limit", "_own migrate"},
		{"names to load that are not there yet", "load(\"@x//a.star\", \"first\", \"‸\")\n", "limit", "first"},
		{"a name to load as another", "load(\"@x//a.star\", b = \"‸\")\n", "first limit", "_own"},
		{"params", "def migration_scenario(env):\n    env.params.int(\"‸\")\n", "mem mig_timeout", "join"},
		{"params by an index", "def migration_scenario(env):\n    x = env.params[\"me‸\"]\n", "mem mig_timeout", ""},
		{"params of a migration", "migrate([], 1, 2, params = {\"‸\n", "mig_speed mem", ""},
		{"no params elsewhere", "log(\"‸\")\n", "", "mem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, offset := at(t, tt.text)
			checkItems(t, workspace("@x//my.star", text).Complete("@x//my.star", offset), tt.want, tt.not)
		})
	}
}

// checkItems checks that a completion has some items and others not; "_" stands for a blank.
func checkItems(t *testing.T, c assist.Completion, want, not string) {
	t.Helper()
	var labels []string
	for _, item := range c.Items {
		labels = append(labels, strings.ReplaceAll(strings.TrimSpace(item.Label), " ", "_"))
	}
	for name := range strings.FieldsSeq(want) {
		if !slices.Contains(labels, name) {
			t.Errorf("no %q in %q", name, labels)
		}
	}
	for name := range strings.FieldsSeq(not) {
		if slices.Contains(labels, name) {
			t.Errorf("%q is in %q", name, labels)
		}
	}
	if want == "" && len(labels) > 0 {
		t.Errorf("got %q, want nothing", labels)
	}
}

// What is there of a name already is replaced, on both sides of the cursor.
func TestCompletionReplacesTheWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"my.star", "mig = migrate([], 1, 2)\nmig.jo‸in()\n", "join"},
		{"my.star", "mig‸r\n", "migr"},
		{"my.star", "load(\"@x//a.‸\", \"x\")\n", "@x//a."},
		{"my.cfg", "only RHEL.6‸.4\n", "6"},
		{"my.cfg", "  mi‸g_timeout = 5\n", "mig_timeout"},
		{"my.cfg", "include @std//cf‸\n", "@std//cf"},
		{"my.cfg", "a = ${mem‸}\n", "mem"},
	} {
		text, offset := at(t, tt.text)
		c := workspace(tt.name, text).Complete(tt.name, offset)
		if got := text[c.From:c.To]; got != tt.want {
			t.Errorf("%q: replaces %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestCompleteConfig(t *testing.T) {
	t.Parallel()
	const sets = "variants name:\n    - @linux:\n        variants:\n            - RHEL.6:\n            - Fedora:\n    - windows:\nown_key = 1\n"
	for _, tt := range []struct{ name, text, want, not string }{
		{"params, keys, keywords, variants at the beginning of a line", sets + "‸\n", "mem mig_timeout own_key only include linux", "yes"},
		{"in a block", "variants:\n    - a:\n        mi‸\n", "mig_timeout", ""},
		{"variants after only", sets + "only ‸\n", "linux RHEL 6 Fedora windows", "mem own_key"},
		{"after no", sets + "no lin‸\n", "linux", "mem"},
		{"after a comma", sets + "only linux, ‸\n", "windows", "mem"},
		{"after a dot", sets + "only linux..‸\n", "Fedora windows", ""},
		{"in a condition", sets + "linux, ‸\n", "windows", "mem"},
		{"after a condition", sets + "linux: only ‸\n", "windows", "mem"},
		{"dependencies", sets + "variants:\n    - a:\n    - b: ‸\n", "a linux", "mem"},
		{"a new variant", sets + "variants:\n    - ‸\n", "", "mem"},
		{"an include", "include ‸\n", "@std// @x//", "mem"},
		{"files of a library", "include @x//net/‸\n", "@x//net/all.cfg", "@x//net/note.txt @x//a.star"},
		{"variants of an include", "include @x//net/all.cfg\nonly ‸\n", "wire radio", ""},
		{"a choice", "mig_protocol = ‸\n", "cpr-exec cpr-reboot cpr-transfer exec fd file rdma tcp unix x-rdma", "mem"},
		{"yes or no", "kill_vm_vm1 = ‸\n", "yes no", "mem"},
		{"a scenario", "type = ‸\n", "migration_multi_host", "mem"},
		{"a key in a value", "own = 1\nx = a ${‸\n", "own mem", ""},
		{"a key to delete", "own = 1\ndel ‸\n", "own mem", "only"},
		{"a comment", "# only ‸\n", "", "mem"},
		{"with errors elsewhere", sets + "a b c\n??\n  - x\nonly ‸\n", "linux windows", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, offset := at(t, tt.text)
			checkItems(t, workspace("/none/my.cfg", text).Complete("/none/my.cfg", offset), tt.want, tt.not)
		})
	}
}

// A filter can name the variants of the configs that include its own, and of what these include.
func TestVariantsOfOtherConfigs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"all.cfg":   "include guests.cfg\ninclude tests.cfg\n",
		"tests.cfg": "variants:\n    - migrate:\n",
		"other.cfg": "variants:\n    - unrelated:\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "guests.cfg")
	w := workspace(name, "variants:\n    - linux:\nonly ")
	checkItems(t, w.Complete(name, len("variants:\n    - linux:\nonly ")), "linux migrate", "unrelated")
}

func TestHover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, text, want string }{
		{"a builtin", "my.star", "mig‸rate([], 1, 2)\n", "migrate(vms, src, dst"},
		{"a method", "my.star", "m = migrate([], 1, 2)\nm.jo‸in()\n", "mig.join("},
		{"an attribute", "my.star", "m = migrate([], 1, 2)\nm.sta‸tus\n", "mig.status: string"},
		{"an argument", "my.star", "migrate([], 1, 2, hol‸d = True)\n", "hold: "},
		{"a variable", "my.star", "m = migrate([], 1, 2)\nprint(‸m)\n", "m: mig"},
		{"a function", "my.star", "def f(a, b = 1):\n    \"\"\"Does it.\"\"\"\nf‸(1)\n", "def f(a, b = 1)\n```\nDoes it."},
		{"a loaded function", "my.star", "load(\"@x//a.star\", \"fi‸rst\")\n", "def first(vm, size = 5)\n```\nLogs in."},
		{"a loaded file", "my.star", "load(\"@x//‸a.star\", \"first\")\n", "What is shared."},
		{"Starlark's own", "my.star", "le‸n([])\n", "Returns how many elements"},
		{"a param", "my.cfg", "mig_time‸out = 5\n", "mig_timeout = SECONDS"},
		{"a param of an object", "my.cfg", "mem_v‸m1 = 5\n", "unit`: MiB"},
		{"a param by its value", "my.cfg", "mem = 5‸\n", "unit`: MiB"},
		{"a param where else it is set", "my.cfg", "mem = 5\nvariants:\n    - a:\n        me‸m = 6\n", "- my.cfg:1: `mem = 5`\n- my.cfg:4: `mem = 6`"},
		{"a variant", "my.cfg", "variants os:\n    - linux:\nonly lin‸ux\n", "my.cfg:2, of the set os"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, offset := at(t, tt.text)
			h, ok := workspace(tt.file, text).Hover(tt.file, offset)
			if !ok || !strings.Contains(h.Doc, tt.want) {
				t.Errorf("got %q, want %q in it", h.Doc, tt.want)
			}
		})
	}
	for _, text := range []string{"x‸yz.foo()\n", "‸", "1 +‸ 2\n", "\"mig‸rate\"\n"} {
		text, offset := at(t, text)
		if h, ok := workspace("my.star", text).Hover("my.star", offset); ok {
			t.Errorf("%q: got %q, want nothing", text, h.Doc)
		}
	}
}

func TestDefinition(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, text, want string }{
		{"a variable", "my.star", "a = 1\nprint(‸a)\n", `my.star 0 "a"`},
		{"a parameter", "my.star", "def f(ab):\n    return a‸b\n", `my.star 6 "ab"`},
		{"a parameter, from a call", "my.star", "def f(ab):\n    pass\nf(a‸b = 1)\n", `my.star 6 "ab"`},
		{"a loaded name", "my.star", "load(\"@x//a.star\", \"first\")\nfir‸st(1)\n", `@x//a.star 27 "first"`},
		{"in load", "my.star", "load(\"@x//a.star\", b = \"fir‸st\")\n", `@x//a.star 27 "first"`},
		{"a loaded file", "my.star", "load(\"@x//a.s‸tar\", \"first\")\n", `@x//a.star 0 ""`},
		{"a builtin", "my.star", "migr‸ate()\n", ""},
		{"a variant", "my.cfg", "variants:\n    - linux:\nonly li‸nux\n", `my.cfg 16 "linux"`},
		{"a variant in a condition", "my.cfg", "variants:\n\t- linux:\nli‸nux:\n    a = 1\n", `my.cfg 13 "linux"`},
		{"a variant of an include", "my.cfg", "include @x//net/all.cfg\nno rad‸io\n", `@x//net/all.cfg 28 "radio"`},
		{"an include", "my.cfg", "include @x//net/‸all.cfg\n", `@x//net/all.cfg 0 ""`},
		{"a key", "my.cfg", "a = 1\nb = ${‸a}\n", `my.cfg 0 "a"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, offset := at(t, tt.text)
			var got []string
			for _, p := range workspace(tt.file, text).Definition(tt.file, offset) {
				got = append(got, fmt.Sprintf("%s %d %q", p.File, p.From, p.Text[p.From:p.To]))
			}
			if got := strings.Join(got, "; "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, to, want, fault string }{
		{"a local", "def f():\n    a‸ = 1\n    def g():\n        return a\n    return a\na = 2\n", "b", "def f():\n    b = 1\n    def g():\n        return b\n    return b\na = 2\n", ""},
		{"one that hides another", "def f(a):\n    return [a‸ for a in a]\n", "b", "def f(a):\n    return [b for b in a]\n", ""},
		{"a parameter, with its calls", "def f(a, b = 1):\n    return a‸\nf(a = 2)\nprint(sep = 1)\n", "x", "def f(x, b = 1):\n    return x\nf(x = 2)\nprint(sep = 1)\n", ""},
		{"from a call", "def f(a):\n    return a\nf(a‸ = 2)\n", "x", "def f(x):\n    return x\nf(x = 2)\n", ""},
		{"a loaded name", "load(\"@x//a.star\", \"first\", \"limit\")\nfirs‸t(limit)\n", "go", "load(\"@x//a.star\", go = \"first\", \"limit\")\ngo(limit)\n", ""},
		{"one that is loaded as another", "load(\"@x//a.star\", go = \"first\")\ng‸o(1)\n", "run", "load(\"@x//a.star\", run = \"first\")\nrun(1)\n", ""},
		{"a global that only the file has", "_a = 1\nprint(_a‸)\n", "_b", "_b = 1\nprint(_b)\n", ""},
		{"a global of a scenario", "ä = 1\ndef migration_scenario(env):\n    return ä‸\n", "ö", "ö = 1\ndef migration_scenario(env):\n    return ö\n", ""},
		{"a global that others can load", "a = 1\nprint(‸a)\n", "b", "", "other files can load a"},
		{"the scenario's function", "def migration_‸scenario(env):\n    pass\n", "b", "", "looks for migration_scenario by its name"},
		{"a builtin", "prin‸t(1)\n", "b", "", "print is not defined in this file"},
		{"an attribute", "a = 1\na.b‸\n", "c", "", "b is an attribute"},
		{"to a name that is taken", "def f(a):\n    b = 1\n    return a‸ + b\n", "b", "", "b is taken"},
		{"to the name of a builtin that is used", "def f(a):\n    print(a‸)\n", "print", "", "print is taken"},
		{"to a keyword", "def f(a‸):\n    return a\n", "if", "", `"if" cannot be a name`},
		{"to no name", "def f(a‸):\n    return a\n", "a b", "", `"a b" cannot be a name`},
		{"in a file with errors", "def f(a‸):\n    return a +\n", "b", "", "the file has errors"},
		{"nothing", "1 ‸+ 2\n", "b", "", "there is no name here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, offset := at(t, tt.text)
			edits, err := workspace("my.star", text).Rename("my.star", offset, tt.to)
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("got %v, %v, want the error %s", edits, err, tt.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(edits, func(a, b assist.Edit) int { return b.From - a.From })
			for _, e := range edits {
				text = text[:e.From] + e.Text + text[e.To:]
			}
			if diff := cmp.Diff(tt.want, text); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, text, want string }{
		{"my.star", "ä = 1; sleep(5, chek = 1)\n", `wrong-argument "chek"`},
		{"my.star", "load(\"@x//none.star\", \"a\")\na()\n", `unknown-load "\"@x//none.star\""`},
		{"my.star", "def f(\n", ` "("`},
		{"/none/my.cfg", "variants:\n\t- linux:\n\t- windows:\nonly\tlinxu\n", `config "linxu"`},
		{"/none/my.cfg", "a = 1\n\tfoo\n", ` "foo"`},
		{"/none/my.cfg", "passwrod = 1\n", `unknown-param "passwrod"`},
	} {
		var got []string
		for _, p := range workspace(tt.file, tt.text).Diagnose(tt.file) {
			got = append(got, fmt.Sprintf("%s %q", p.Rule, tt.text[p.From:p.To]))
		}
		if got := strings.Join(got, "; "); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, text, want string }{
		{"my.star", "a = 1\nb=2\nc = 3\n", "a = 1\nb = 2\nc = 3\n"},
		{"my.cfg", "a = 1\nb=2\n", "a = 1\nb = 2\n"},
		{"my.cfg", "a = 1\n", "a = 1\n"},
		{"my.star", "a = 1", "a = 1\n"},
		{"my.star", "a = 1\n\n\n\n", "a = 1\n"},
	} {
		edits, err := workspace(tt.file, tt.text).Format(tt.file)
		got := tt.text
		for _, e := range edits {
			got = got[:e.From] + e.Text + got[e.To:]
		}
		if err != nil || got != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	if _, err := workspace("my.star", "a = = 1\n").Format("my.star"); err == nil {
		t.Error("a file with errors is formatted")
	}
}

// FuzzWorkspace asks about any place of any text: nothing panics, and what is answered lies in the text.
func FuzzWorkspace(f *testing.F) {
	for _, pattern := range []string{"../../scenarios/*.star", "../../stdlib/*.star", "../../stdlib/cfg/*.cfg"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("no seeds (%v)", err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text), uint(len(text)/2), filepath.Ext(path) == ".cfg")
		}
	}
	for _, text := range []string{"mig.", "load(", "load(\"", "f(a.b(c[", "def f(:\n  x.", "x = [a for a in a.", "only a..", "a: b: only", "${", "include ~", "\r\r\n", "é.é(é = "} {
		f.Add(text, uint(len(text)), false)
		f.Add(text, uint(len(text)), true)
	}
	f.Fuzz(func(t *testing.T, text string, offset uint, isConfig bool) {
		name := "@x//my.star"
		if isConfig {
			name = "@x//my.cfg"
		}
		at := int(offset % uint(len(text)+1))
		w := workspace(name, text)
		inside := func(what string, s assist.Span) {
			if s.From < 0 || s.From > s.To || s.To > len(text) {
				t.Errorf("%s at %d of %q: %+v", what, at, text, s)
			}
		}
		inside("complete", w.Complete(name, at).Span)
		h, _ := w.Hover(name, at)
		inside("hover", h.Span)
		for _, p := range w.Definition(name, at) {
			if p.File == name {
				inside("define", p.Span)
			}
		}
		for _, p := range w.Diagnose(name) {
			inside("diagnose", p.Span)
		}
		edits, _ := w.Rename(name, at, "other")
		for _, e := range edits {
			inside("rename", e.Span)
		}
	})
}
