// SPDX-License-Identifier: Apache-2.0

package star_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/star"
)

func TestReformat(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, source, want string }{
		{"empty", "", ""},
		{"calls and values", "x={'a':1}\nf(a=1,b = [ 1,2 ],*c)\n", "x = {\"a\": 1}\nf(a = 1, b = [1, 2], *c)\n"},
		{"what is loaded first stays so", "y=1\nload('b.star','c','a')\nload('a.star',d='e')\n", "y = 1\n\nload(\"b.star\", \"c\", \"a\")\nload(\"a.star\", d = \"e\")\n"},
		{"docstrings stay", "def f():\n   \"\"\"A\n     b\n  c\"\"\"\n", "def f():\n    \"\"\"A\n     b\n  c\"\"\"\n"},
		{
			"comments", "#a\ndef f(x): #b\n  #c\n  return x # d\n#e\n",
			"#a\ndef f(x):  #b\n    #c\n    return x  # d\n\n#e\n",
		},
		{
			"while", "while  not x and (a or\n  b): # c\n   while True:pass\n   break\n",
			"while not x and (a or\n                 b):  # c\n    while True:\n        pass\n    break\n",
		},
		{
			"while behind else and in strings", "if a:\n  f()\nelse:\n  while b:\n    f('while x:', '''\nif   w: ''')\nif a:\n  f()\nelse: # c\n  while b: f()\n",
			"if a:\n    f()\nelse:\n    while b:\n        f(\"while x:\", \"\"\"\nif   w: \"\"\")\nif a:\n    f()\nelse:  # c\n    while b:\n        f()\n",
		},
		{"characters of several bytes before while", "if 'äöü' in x: while_ = 1\nwhile 'ä': pass\n", "if \"äöü\" in x:\n    while_ = 1\nwhile \"ä\":\n    pass\n"},
		{"other line ends", "a=1\r\nb='''x\r\ny'''\rc=2", "a = 1\nb = \"\"\"x\ny\"\"\"\nc = 2\n"},
		{"bytes", "x = [ b'ä\\x00',rb'\\d\"',b\"\"\"c\nd\"\"\" ] # e\nf(b = b\"b\")\n", "x = [b\"ä\\x00\", rb'\\d\"', b\"\"\"c\nd\"\"\"]  # e\nf(b = b\"b\")\n"},
		{"signs", "a=not - + 1\nb=- x\n", "a = not (-(+1))\nb = -x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := star.Reformat("x.star", []byte(tt.source))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
			checkAgain(t, got)
		})
	}
}

// checkAgain fails if formatted source is not left alone.
func checkAgain(t *testing.T, formatted []byte) {
	t.Helper()
	again, err := star.Reformat("x.star", formatted)
	if err != nil {
		t.Fatalf("%v\n%q", err, formatted)
	}
	if diff := cmp.Diff(string(formatted), string(again)); diff != "" {
		t.Errorf("formatted again (-once +twice):\n%s", diff)
	}
}

func TestReformatErrors(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"x = 1\nimport y\n": `x.star:2:1: there is no "import": scenarios are Starlark, which is like Python but smaller`,
		"x = '\x00'":        "x.star:1:6: a NUL byte",
		"x = 1 1":           "x.star:1:7: got a number, want the end of the line",
	} {
		if got, err := star.Reformat("x.star", []byte(source)); err == nil || err.Error() != want {
			t.Errorf("%q: got %q, %v; want %s", source, got, err, want)
		}
	}
}

// The shipped scenarios, the library and the tests' scenarios are formatted.
func TestShippedProgramsAreFormatted(t *testing.T) {
	t.Parallel()
	n := 0
	for _, pattern := range []string{"stdlib/*.star", "scenarios/*.star", "scenarios/testdata/*.star"} {
		paths, err := filepath.Glob(filepath.Join("..", "..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			formatted, err := star.Reformat(path, source)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(source, formatted) {
				t.Errorf("%s is not formatted: run mhmig fmt (-have +want):\n%s", path, cmp.Diff(string(source), string(formatted)))
			}
			n++
		}
	}
	if n < 15 {
		t.Errorf("found only %d programs", n)
	}
}

// FuzzReformat gives any text to the formatter: what is a program comes out as the same program, and stays so.
func FuzzReformat(f *testing.F) {
	for _, pattern := range []string{"../../stdlib/*.star", "../../scenarios/*.star", "../../builtins/testdata/*.star"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("no seeds in %s (%v)", pattern, err)
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(source)
		}
	}
	for _, source := range []string{
		"while not x and (a or\n  b): # c\n  break\n", "if a: pass\nelse: # c\n  while 'ä': pass\n", "x = [a for a in b if c] # d\n", "x = [ b'ä\\x00',rb'\\d\"' ]\n",
		"def f(a, *b, c = 1, **d):\n  \"\"\"e\"\"\"\n  return lambda: -a[1:]\n", "load('a', b = 'c')\nd = '\\u00e4\\x41' + r'e'\n",
	} {
		f.Add([]byte(source))
	}
	f.Fuzz(func(t *testing.T, source []byte) {
		formatted, err := star.Reformat("x.star", source)
		if err != nil {
			if strings.Contains(err.Error(), "bug") {
				t.Fatal(err)
			}
			return
		}
		checkAgain(t, formatted)
	})
}
