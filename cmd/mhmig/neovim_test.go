// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/api"
)

// wrongScenario has a wrong argument.
const wrongScenario = `"""Has a wrong argument."""

def migration_scenario(env):
    mig = migrate(["vm1"], env.hosts[0], env.hosts[1], fesh = True)
    mig.join()
`

// A user of Neovim, set up by the lines of the README, sees the wrong argument, and the members of a migration.
func TestNeovim(t *testing.T) {
	t.Parallel()
	nvim, err := exec.LookPath("nvim")
	if err != nil {
		t.Skip("NEOVIM IS NOT TRIED: there is no nvim; make test installs it")
	}
	dir := t.TempDir()
	answers := filepath.Join(dir, "answers.json")
	readme, err := os.ReadFile(filepath.Join(repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, setup, shown := strings.Cut(string(readme), "```lua\n")
	setup, _, _ = strings.Cut(setup, "```")
	if !shown {
		t.Fatal("README.md does not say how to set Neovim up")
	}
	for name, text := range map[string]string{"my.star": wrongScenario, "init.lua": setup} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(repository(), "testdata", "neovim", "editor.lua")
	editor := exec.CommandContext(t.Context(), nvim, "--headless", "-u", "init.lua", "-i", "NONE", "-n", "-S", script, "my.star")
	editor.Dir = dir
	editor.Env = append(os.Environ(), "PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir, "ANSWERS="+answers,
		"XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_STATE_HOME="+dir, "MHMIG_CACHE="+dir)
	if out, err := editor.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", editor, err, out)
	}
	data, err := os.ReadFile(answers)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Message, Underlined, Highlight string
		UnderlinedLine                 int `json:"underlined_line"`
		Members                        []string
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if got.Underlined != "fesh" || got.UnderlinedLine != 4 || got.Highlight != "DiagnosticUnderlineError" {
		t.Errorf("underlined: got %q in line %d as %s, want the wrong argument fesh", got.Underlined, got.UnderlinedLine, got.Highlight)
	}
	if want := "migrate has no parameter fesh\ndid you mean fresh?"; got.Message != want {
		t.Errorf("message: got %q, want %q", got.Message, want)
	}
	var want []string
	for _, c := range api.Classes() {
		if c.Name == "mig" {
			for _, a := range c.Attributes {
				want = append(want, a.Name)
			}
			for _, m := range c.Methods {
				want = append(want, m.Name)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got.Members)
	if diff := cmp.Diff(want, got.Members); diff != "" || len(want) == 0 {
		t.Errorf("members after mig. (-want +got):\n%s", diff)
	}
}
