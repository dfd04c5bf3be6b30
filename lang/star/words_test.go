// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
)

// TestWords: what Starlark's parser stumbles over is told in words for people
// who write scenarios, at the word that is meant.
func TestWords(t *testing.T) {
	t.Parallel()
	const (
		noImport  = `there is no "import": scenarios are Starlark, which is like Python but smaller`
		loading   = `load("@std//work.star", "name") takes a name of another file`
		exception = "an error cannot be caught; ask before it happens, such as by session.cmd_status(), and leave cleaning up to cleanup(fn)"
	)
	foreign := func(word string) string { return strings.Replace(noImport, "import", word, 1) }
	name := func(word string) string {
		return fmt.Sprintf("%q is a reserved word and cannot be a name", word)
	}
	tests := []struct {
		program, place, message, hint string
	}{
		{"import os\n", "1:1", noImport, loading},
		{"def f():\n    import os\n", "2:5", noImport, loading},
		{"from x import y\n", "1:1", foreign("from"), loading},
		{"try:\n    f()\nexcept Error:\n    pass\n", "1:1", foreign("try"), exception},
		{"if True:\n    pass\nexcept Error:\n    pass\n", "3:1", foreign("except"), exception},
		{"class A:\n    pass\n", "1:1", foreign("class"), "use functions, and a dict for grouped values"},
		{"raise x\n", "1:1", foreign("raise"), `fail("...") ends the scenario as FAIL, error("...") as ERROR`},
		{"with a as b:\n    pass\n", "1:1", foreign("with"), "call the function, and cleanup(fn) for what must be undone at the end"},
		{"x is None\n", "1:3", foreign("is"), `compare by "==" and "!="`},
		{"if x is not None:\n    pass\n", "1:6", foreign("is"), `compare by "==" and "!="`},
		{"x = await y\n", "1:5", foreign("await"), "spawn(fn) returns a task, whose join() waits for it"},

		{"in = 3\n", "1:1", name("in"), "choose another one, such as in_"},
		{"pass = 1\n", "1:1", name("pass"), "choose another one, such as pass_"},
		{"for = 3\n", "1:1", name("for"), "choose another one, such as for_"},
		{"load = 3\n", "1:1", name("load"), "choose another one, such as load_"},
		{"lambda = 3\n", "1:1", name("lambda"), "choose another one, such as lambda_"},
		{"import = 3\n", "1:1", name("import"), "choose another one, such as import_"},
		{"größe = 1; in = 3\n", "1:12", name("in"), "choose another one, such as in_"},
		{"def class():\n    pass\n", "1:5", name("class"), "choose another one, such as class_"},
		{"def f(a, in):\n    pass\n", "1:10", name("in"), "choose another one, such as in_"},
		{"def f(**class):\n    pass\n", "1:9", name("class"), "choose another one, such as class_"},
		{"x = lambda in: 1\n", "1:12", name("in"), "choose another one, such as in_"},
		{"x.class = 3\n", "1:3", name("class"), "choose another one, such as class_"},
		{"x = a.in\n", "1:7", name("in"), "choose another one, such as in_"},
		{"f(class=1)\n", "1:3", name("class"), "choose another one, such as class_"},
		{"f(a, in = 3)\n", "1:6", name("in"), "choose another one, such as in_"},
		{"for import in x:\n    pass\n", "1:5", name("import"), "choose another one, such as import_"},
		{"load('a', class='b')\n", "1:11", name("class"), "choose another one, such as class_"},
		{"x = in\n", "1:5", `the keyword "in" is not allowed here, want a value`, ""},
		{"def f():\npass\n", "2:1", `the keyword "pass" is not allowed here, want an indented line`, ""},

		{"if a:\n    pass\nelse if b:\n    pass\n", "3:6", `got "else if"`, `write "elif"`},
		{"if a && b:\n    pass\n", "1:7", "got '&', want a value", `write "and", "or" and "not"`},
		{"assert x\n", "1:8", "got a name, want the end of the line", `write: if not CONDITION: fail("...")`},
		{"print 'x'\n", "1:7", "got a string, want the end of the line", "print is a function: print(...)"},
		{"x = f'a'\n", "1:6", "got a string, want the end of the line", `write "%s" % x, or "{}".format(x)`},
		{"y = 1 < x < 3\n", "1:11", "comparisons are not chained", "write: 1 < x and x < 3"},
		{"if a and f(b, 1) <= c[d < 1] + 2 != e(1) and g:\n    pass\n", "1:34", "comparisons are not chained", "write: f(b, 1) <= c[d < 1] + 2 and c[d < 1] + 2 != e(1)"},
		{"y = f(not a not in b in c, d) # é\n", "1:22", "comparisons are not chained", "write: a not in b and b in c"},
		{"y = a in b not in c\n", "1:12", "comparisons are not chained", "write: a in b and b not in c"},
		{"y = [x for x in z if größe << 1 > x > 2]\n", "1:37", "comparisons are not chained", "write: größe << 1 > x and x > 2"},
		{"y = (1 <\n    x < 3)\n", "2:7", "comparisons are not chained", `write "a < b and b < c"`},
		{"x++\n", "1:4", "got the end of the line, want a value", `write "x += 1"`},
		{"x[a].b-- # so\n", "1:14", "got the end of the line, want a value", `write "x[a].b -= 1"`},
		{"y = x++\n", "1:8", "got the end of the line, want a value", `there is no "++": write "+= 1", in a line of its own`},
		{"f(x++)\n", "1:6", "got ')', want a value", `there is no "++": write "+= 1", in a line of its own`},
		{"x = y +\n", "1:8", "got the end of the line, want a value", ""},
		{"y = 2 ** x\n", "1:7", "got '**', want the end of the line", "there is no power operator: write x * x, or math.pow(x, y), which returns a float"},
		{"x **= 2\n", "1:3", "got '**', want the end of the line", "there is no power operator: write x * x, or math.pow(x, y), which returns a float"},
		{"y = 'a' \"b\"\n", "1:9", "got a string, want the end of the line", `strings do not join by themselves: write "+" between them, or a comma`},
		{"f('a' 'b')\n", "1:7", "got a string, want ','", `strings do not join by themselves: write "+" between them, or a comma`},
		{"y = ['a' # one\n    'b']\n", "2:5", "got a string, want ']'", `strings do not join by themselves: write "+" between them, or a comma`},
		{"def f(x: int):\n    pass\n", "1:8", "got ':', want ')'", ""},
		{"for x in y\n    pass\n", "1:11", "got the end of the line, want ':'", ""},
		{"x = (1\n", "2:1", "got the end of the file, want ')'", ""},

		// Bytes that no program has. What is after a NUL would never run.
		{"def migration_scenario(env):\n    log('a')\n\x00\n    fail('x')\n", "3:1", "a NUL byte", "nothing after it would run; remove it, or save the file as UTF-8 if it is UTF-16"},
		{"x = 'größe\x00'\n", "1:11", "a NUL byte", "nothing after it would run; remove it, or save the file as UTF-8 if it is UTF-16"},
		{"x = 1 # a\x00\ny = 2\n", "1:10", "a NUL byte", "nothing after it would run; remove it, or save the file as UTF-8 if it is UTF-16"},
		{"x = 1\r\ny = 2\rz = '\xff'\n", "3:6", "a byte that is not UTF-8 text", "save the file as UTF-8"},
		{"\ufeffx = 1\n", "1:1", "a byte order mark before the program", "save the file as UTF-8 without one"},
		{"d\x00e\x00f\x00", "1:2", "a NUL byte", "nothing after it would run; remove it, or save the file as UTF-8 if it is UTF-16"},
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			// Loaded by another file, which need not be so good.
			dir := files{"main.star": "load('other.star', 'x')\n", "other.star": tt.program}.write(t)
			for _, name := range []string{"other.star", "main.star"} {
				_, err := (&star.Loader{}).Scenario(t.Context(), filepath.Join(dir, name))
				list := diag.Of(err)
				if len(list) != 1 {
					t.Fatalf("got %v, want one diagnostic", err)
				}
				want := fmt.Sprintf("%s:%s: %s; %s", filepath.Join(dir, "other.star"), tt.place, tt.message, tt.hint)
				if got := fmt.Sprintf("%v; %s", list[0], list[0].Hint); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

// A line eight times as long takes eight times as long to explain, and not 64 times: generated lists, and what is no
// program at all, have lines of a megabyte.
func TestExplainIsLinear(t *testing.T) {
	t.Parallel()
	const numbers = 150_000 // of which the time of a quadratic search is some minutes
	source := []byte("x = [" + strings.Repeat("é, ", numbers) + "1 1]\n")
	_, err := star.Dialect.Parse("x.star", source, 0)
	began := time.Now()
	list := diag.Of(star.Explain(err, source))
	if took := time.Since(began); took > time.Minute {
		t.Errorf("a line of %d bytes took %v", len(source), took)
	}
	if len(list) != 1 || list[0].Message != "got a number, want ']'" || list[0].Pos.Col != len("x = [1 ")+3*numbers+1 {
		t.Fatalf("got %v, want one diagnostic about the last number", list)
	}
}
