// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The README shows the scenario that testdata/script runs.
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
	for _, f := range script.Files {
		if !strings.Contains(string(readme), "```python\n"+string(f.Data)+"```\n") {
			t.Errorf("README.md does not show %s as it is in %s", f.Name, "testdata/script/exec-first-scenario.txtar")
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
