// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mhmig/mhmig/"

// layers are the packages from the bottom up. A package imports only packages
// of lower layers; those of one layer know nothing of each other. What lies
// below a package in the tree belongs to it.
var layers = [][]string{
	{"lang/printable"},
	{"lang/diag"},
	{"lang/library"},
	{"lang/cartesian", "lang/star"},
	{"lang/api", "lang/explain", "lang/format"},
	{"lang/doc", "lang/lint"},
	{"lang/assist"},
	{"lang/lsp"},
	{"runtime/exit", "runtime/excerpt", "runtime/version", "runtime/virtualtime", "runtime/credentials", "runtime/apt"},
	{"runtime/host", "runtime/qmp", "runtime/result", "runtime/barrier", "runtime/task", "runtime/jeos", "runtime/vmstate"},
	{"runtime/ledger", "runtime/guest", "runtime/guestclock", "runtime/lab", "runtime/debian", "runtime/terminal", "runtime/explore", "runtime/report", "runtime/compare", "runtime/history", "runtime/qemu", "runtime/prediction"},
	{"runtime/live", "runtime/hostsfile", "runtime/gueststate", "runtime/bootstrap", "runtime/interrupt", "runtime/capability"},
	{"runtime/vm", "runtime/cleanup", "runtime/memproof"},
	{"runtime/testbed"},
	{"runtime/migration", "runtime/attach", "runtime/check", "runtime/fake"},
	{"runtime/run"},
	{"runtime/pool"},
	{"builtins", "runtime/controller"}, // cmd joins them
	{"stdlib", "scenarios"},            // embedded data, which only cmd passes on
	{"cmd/usage", "cmd/complete"},
	{"cmd/inspect", "cmd/explore", "cmd/hostflags"},
	{"cmd/mhmig", "cmd/guestd"},
}

// confined are the dependencies that only some packages may know.
var confined = map[string][]string{
	"go.starlark.net":                       {"lang/star", "lang/lint", "lang/assist", "runtime/task", "builtins"},
	"golang.org/x/crypto/ssh":               {"runtime/host", "runtime/lab", "runtime/guest", "runtime/jeos"},
	"github.com/kevinburke/ssh_config":      {"runtime/host"},
	"github.com/gliderlabs/ssh":             {"runtime/lab", "runtime/jeos"},
	"github.com/alecthomas/participle":      {"lang/cartesian"},
	"github.com/digitalocean/go-qemu":       {"runtime/qmp"},
	"github.com/bazelbuild/buildtools":      {"lang/star"},
	"github.com/aymanbagabas/go-udiff":      {"lang/format"},
	"github.com/sourcegraph/jsonrpc2":       {"lang/lsp"},
	"github.com/spf13/cobra":                {"cmd/mhmig", "cmd/usage", "cmd/complete", "cmd/inspect", "cmd/explore"},
	"github.com/mattn/go-runewidth":         {"runtime/terminal"},
	"modernc.org/sqlite":                    {"runtime/history"},
	"github.com/aclements/go-moremath":      {"runtime/compare", "runtime/history"},
	"github.com/pelletier/go-toml":          {"runtime/run", "lang/library"},
	"golang.org/x/mod":                      {"lang/library"},
	"oras.land/oras-go":                     {"lang/library"},
	"mvdan.cc/sh":                           {"runtime/fake"},
	"github.com/rogpeppe/go-internal":       {}, // for tests only
	"github.com/google/go-cmp":              {},
	"go.uber.org/goleak":                    {},
	"github.com/chromedp":                   {},
	"github.com/santhosh-tekuri/jsonschema": {},
	"pgregory.net/rapid":                    {},
}

// TestImportsGoOneWay holds the architecture: which package may import which.
func TestImportsGoOneWay(t *testing.T) {
	t.Parallel()
	for name, imports := range packages(t) {
		layer, own := place(name)
		if layer < 0 {
			t.Errorf("%s: has no place in the table of layers", name)
			continue
		}
		for _, imported := range imports {
			if inner, ours := strings.CutPrefix(imported, module); ours {
				if below, other := place(inner); other != own && below >= layer {
					t.Errorf("%s imports %s, which is not below it", name, inner)
				}
				continue
			}
			for dependency, users := range confined {
				if within(imported, dependency) && !slices.Contains(users, own) {
					t.Errorf("%s imports %s, which is only for %q", name, imported, users)
				}
			}
		}
	}
}

// TestPackageNames: a package is named by what it is about.
func TestPackageNames(t *testing.T) {
	t.Parallel()
	vague := []string{"util", "utils", "common", "helpers", "types", "models", "pkg", "misc", "internal"}
	for name := range packages(t) {
		if slices.Contains(vague, path.Base(name)) || name == "runtime" {
			t.Errorf("%s: name the package by what it is about", name)
		}
	}
}

// TestCommandsAreSmall: commands parse flags and call a package, which has the work.
func TestCommandsAreSmall(t *testing.T) {
	t.Parallel()
	const limit = 3000
	lines := 0
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		lines += bytes.Count(text, []byte("\n"))
		return err
	})
	if err != nil || lines == 0 || lines >= limit {
		t.Errorf("cmd/mhmig has %d lines without tests (%v), want fewer than %d: move work to the package that it is about", lines, err, limit)
	}
}

// packages returns what each package of the module imports, its tests aside.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"...")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if name, ours := strings.CutPrefix(fields[0], module); ours {
			all[name] = fields[1:]
		}
	}
	if len(all) < 10 {
		t.Fatalf("%s: found only %d packages", list, len(all))
	}
	return all
}

// place returns the layer of a package and the package of the table that it
// belongs to, -1 if none.
func place(name string) (layer int, owner string) {
	for i, layer := range layers {
		for _, owner := range layer {
			if within(name, owner) {
				return i, owner
			}
		}
	}
	return -1, ""
}

func within(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }
