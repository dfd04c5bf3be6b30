// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The README shows the scenarios and the tests that testdata/script runs.
func TestREADMEShowsATestedScenario(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := txtar.ParseFile(filepath.Join(repository(), "testdata/script/exec-first-scenario.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := txtar.ParseFile(filepath.Join(repository(), "testdata/script/test.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(tests.Files, func(f txtar.File) bool { return !strings.HasPrefix(f.Name, "readme/") })
	if len(files) != 2 {
		t.Errorf("test.txtar has %d files of the README, want 2", len(files))
	}
	for _, f := range append(files, script.Files...) {
		if !strings.Contains(string(readme), "```python\n"+string(f.Data)+"```\n") {
			t.Errorf("README.md does not show %s as it is in testdata/script", f.Name)
		}
	}
}

// The README shows what explain, list --diff and doc say as testdata/script checks it.
func TestREADMEShowsTestedExplanations(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := txtar.ParseFile(filepath.Join(repository(), "testdata/script/explain-shipped.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := txtar.ParseFile(filepath.Join(repository(), "testdata/script/doc.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(script.Files, docs.Files...) {
		if shown := f.Name != "my.cfg" && f.Name != "barrier" && f.Name != "state" && f.Name != "mem" && f.Name != "near"; shown && !strings.Contains(string(readme), indented(string(f.Data))) {
			t.Errorf("README.md does not show %s as it is in testdata/script", f.Name)
		}
	}
}

// linkedPath is the target of a link to a file or folder of the repository.
var linkedPath = regexp.MustCompile(`\]\(([\w./-]+)\)`)

// The diffs of CONTRIBUTING.md apply: the lines that they do not add are in one of the
// Go files that their section links to.
func TestCONTRIBUTINGDiffsApply(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository(), "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	diffs := 0
	for section := range strings.SplitSeq(string(text), "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		source := linkedSource(t, section)
		for _, diff := range strings.Split(section, "```diff\n")[1:] {
			diffs++
			diff, _, _ = strings.Cut(diff, "```")
			for line := range strings.Lines(diff) {
				context, isContext := strings.CutPrefix(line, " ")
				if isContext && strings.TrimSpace(context) != "…" && !strings.Contains(source, "\n"+context) {
					t.Errorf("%s: the line %q is not in the files of this section", title, context)
				}
			}
		}
	}
	if diffs < 5 {
		t.Errorf("got %d diffs, want those of a param, a device, a transport, a builtin and a scenario", diffs)
	}
}

// linkedSource is the text of the Go files and configs that a section links to, and of Go
// files in folders that it links to.
func linkedSource(t *testing.T, section string) string {
	t.Helper()
	var source strings.Builder
	for _, link := range linkedPath.FindAllStringSubmatch(section, -1) {
		path := filepath.Join(repository(), link[1])
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if ext := filepath.Ext(path); ext == ".go" || ext == ".cfg" {
			files = []string{path}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(data)
		}
	}
	return source.String()
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}
