// SPDX-License-Identifier: Apache-2.0

package project_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/library/project"
)

// pin is a library, or a Go module, at a version.
type pin struct{ name, version string }

// randomNeeds is a graph of libraries, each version of which needs some versions of others.
func randomNeeds(r *rand.Rand) map[pin][]pin {
	names := []string{"a", "b", "c", "d", "e"}
	versions := []string{"v1.0.0", "v1.1.0", "v1.2.0", "v1.10.0"}
	needs := map[pin][]pin{}
	for _, name := range names {
		for _, version := range versions {
			needs[pin{name, version}] = nil
			for _, other := range names {
				if other != name && r.IntN(3) == 0 {
					needs[pin{name, version}] = append(needs[pin{name, version}], pin{other, versions[r.IntN(len(versions))]})
				}
			}
		}
	}
	root := pin{"root", "v1.0.0"}
	needs[root] = []pin{{"a", versions[r.IntN(len(versions))]}, {"b", versions[r.IntN(len(versions))]}}
	return needs
}

// TestVersionsAsGo: the go command, with modules that require each other just so, chooses the same versions.
func TestVersionsAsGo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("NOT TESTED: needs git")
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			needs := randomNeeds(rand.New(rand.NewPCG(seed, 0)))
			ours, byGo := chosenByUs(t, needs), chosenByGo(t, needs)
			for name := range byGo {
				if _, here := ours[name]; !here && !reachable(needs, ours)[name] {
					delete(byGo, name) // go lists what only versions need that were not chosen
				}
			}
			if diff := cmp.Diff(byGo, ours); diff != "" {
				t.Errorf("of %v (-go +mhmig):\n%s", needs, diff)
			}
		})
	}
}

// reachable are the libraries that the project and the chosen versions need.
func reachable(needs map[pin][]pin, chosen map[string]string) map[string]bool {
	all := map[string]bool{}
	queue := []pin{{"root", "v1.0.0"}}
	for len(queue) > 0 {
		for _, need := range needs[queue[0]] {
			if !all[need.name] {
				all[need.name] = true
				queue = append(queue, pin{need.name, chosen[need.name]})
			}
		}
		queue = queue[1:]
	}
	return all
}

func run(t *testing.T, dir, stdin string, command ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), command[0], command[1:]...)
	c.Dir, c.Stdin = dir, strings.NewReader(stdin)
	c.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOSUMDB=off", "GOTOOLCHAIN=local",
		"GOPROXY=file://"+filepath.Join(dir, "proxy"), "GOMODCACHE="+filepath.Join(dir, "cache"))
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	return string(out)
}

func chosenByUs(t *testing.T, needs map[pin][]pin) map[string]string {
	repository := t.TempDir()
	source := func(name string) string { return "file://" + repository + "//" + name }
	manifest := func(p pin) string {
		var text strings.Builder
		fmt.Fprintf(&text, "name = %q\nversion = %q\n[needs]\n", p.name, p.version)
		for _, need := range needs[p] {
			fmt.Fprintf(&text, "%s = { source = %q, version = %q }\n", need.name, source(need.name), need.version)
		}
		return text.String()
	}
	var history strings.Builder
	for p := range needs {
		text := manifest(p)
		fmt.Fprintf(&history, "commit refs/tags/%s/%s\ncommitter t <t@example.com> 0 +0000\ndata 0\nM 644 inline %s/mhmig.toml\ndata %d\n%s\n",
			p.name, p.version, p.name, len(text), text)
	}
	run(t, repository, "", "git", "init", "-q", "--bare", ".")
	run(t, repository, history.String(), "git", "fast-import", "--quiet")

	dir := write(t, map[string]string{"mhmig.toml": manifest(pin{"root", "v1.0.0"})})
	p := open(t, dir, t.TempDir(), "")
	if _, err := p.Sync(t.Context(), project.Review{}); err != nil {
		t.Fatal(err)
	}
	chosen := map[string]string{}
	for _, l := range p.Locked() {
		chosen[l.Name] = l.Version
	}
	return chosen
}

func chosenByGo(t *testing.T, needs map[pin][]pin) map[string]string {
	dir := t.TempDir()
	const prefix = "example.com/"
	for p, required := range needs {
		var text strings.Builder
		text.WriteString("module " + prefix + p.name + "\n\ngo 1.16\n") // with all of the graph, as Go has it since 1.17 only in part
		for _, need := range required {
			fmt.Fprintf(&text, "require %s%s %s\n", prefix, need.name, need.version)
		}
		file := filepath.Join(dir, "proxy", prefix+p.name, "@v", p.version+".mod")
		if p.name == "root" {
			file = filepath.Join(dir, "go.mod")
		}
		info := fmt.Sprintf(`{"Version": %q}`, p.version)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text.String()), 0o644),
			os.WriteFile(strings.TrimSuffix(file, ".mod")+".info", []byte(info), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	chosen := map[string]string{}
	for modules := json.NewDecoder(strings.NewReader(run(t, dir, "", "go", "list", "-m", "-json", "all"))); modules.More(); {
		var m struct{ Path, Version string }
		if err := modules.Decode(&m); err != nil {
			t.Fatal(err)
		}
		if m.Version != "" { // of the main module
			chosen[strings.TrimPrefix(m.Path, prefix)] = m.Version
		}
	}
	return chosen
}
