// SPDX-License-Identifier: Apache-2.0

package project_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/library/project"
)

// write writes files by path into a new folder.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, dir, cache, mhmig string) *project.Project {
	t.Helper()
	p, err := project.Open(dir, cache, mhmig)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The hash of a library is the one of package dirhash over its files.
func TestHash(t *testing.T) {
	t.Parallel()
	files := map[string]string{"mhmig.toml": "", "a.star": "x = 1\n", "deep/b c.cfg": "", "deep/a": "\x00"}
	want, err := dirhash.HashDir(write(t, files), "", dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".git/config", ".hidden", "deep/.x", "mhmig-vendor/net/a", "mhmig-results/1/log", "mhmig.lock", "inner/mhmig.toml", "inner/a.star"} {
		files[name] = name // none of which belongs to the library
	}
	got, err := project.HashFolder(write(t, files))
	if got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func TestSplitSource(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, source, version string
		folder                bool
	}{
		{"https://h/x.git", "https://h/x.git", "", false},
		{"https://h/x.git@v1.2.0", "https://h/x.git", "v1.2.0", false},
		{"ssh://git@h/x.git//a/b@main", "ssh://git@h/x.git//a/b", "main", false},
		{"ssh://git@h/x.git", "ssh://git@h/x.git", "", false},
		{"git@h:x.git", "git@h:x.git", "", false},
		{"git@h:x.git@1a2b3c4", "git@h:x.git", "1a2b3c4", false},
		{"../net", "../net", "", true},
		{"net@v1.0.0", "net", "v1.0.0", true},
	}
	for _, tt := range tests {
		source, version := project.SplitSource(tt.text)
		if source != tt.source || version != tt.version || project.IsFolder(source) != tt.folder {
			t.Errorf("SplitSource(%q) = %q, %q, a folder: %v; want %q, %q, %v", tt.text, source, version, project.IsFolder(source), tt.source, tt.version, tt.folder)
		}
	}
}

// The manifest is the user's file: all that mhmig does not set stays as it was.
func TestSetNeed(t *testing.T) {
	t.Parallel()
	need := &project.Need{Source: "../net", Version: "v1.0.0"}
	const line = `net = { source = "../net", version = "v1.0.0" }`
	tests := []struct {
		name, text string
		need       *project.Need
		want       string // "": an error
	}{
		{"no table", "# mine\nname = 'x'\nversion = 'v1.0.0'\n", need, "# mine\nname = 'x'\nversion = 'v1.0.0'\n\n[needs]\n" + line + "\n"},
		{"a table", "[needs] # all\n\nbase = { source = 'b' } # why\n[replace]\n", need, "[needs] # all\n" + line + "\n\nbase = { source = 'b' } # why\n[replace]\n"},
		{"replaced", "[needs]\na = { source = 'a' }\n \"net\"={ source = 'x' }\nb = { source = 'b' }\n", need, "[needs]\na = { source = 'a' }\n" + line + "\nb = { source = 'b' }\n"},
		{"not of another table", "[replace]\nnet = { source = 'x' }\n", need, "[replace]\nnet = { source = 'x' }\n\n[needs]\n" + line + "\n"},
		{"removed", "[needs]\nnet = { source = 'x' }\n# end\n", nil, "[needs]\n# end\n"},
		{"a table of its own", "[needs.net]\nsource = 'x'\n", need, ""},
		{"removed from a table of its own", "[needs.net]\nsource = 'x'\n", nil, ""},
		{"several lines", "[needs]\nnet = { source = 'x', allow = [\n  'log',\n] }\n", need, ""},
	}
	for _, tt := range tests {
		got, err := project.SetNeed([]byte(tt.text), "net", tt.need)
		if string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: got %v\n%s", tt.name, err, cmp.Diff(tt.want, string(got)))
		}
		if err != nil && !strings.Contains(err.Error(), "under [needs] by hand") {
			t.Errorf("%s: got %v, want what to do by hand", tt.name, err)
		}
	}
}

func TestOldMhmig(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"mhmig.toml":     "mhmig = \"v1.2.0\"\n[needs]\nnet = { source = \"net\" }\n",
		"net/mhmig.toml": "name = \"net\"\nversion = \"v1.0.0\"\nmhmig = \"v1.3.0\"\n",
	})
	cache := t.TempDir()
	if _, err := open(t, dir, cache, "").Sync(t.Context(), project.Review{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ mhmig, want string }{
		{"", ""},
		{"(devel)", ""},
		{"v0.0.0-20261128122942-cf4bd5c00000", ""}, // of a clone without tags
		{"v1.4.0", ""},
		{"v1.3.1-0.20261128122942-cf4bd5c00000", ""},
		{"v1.2.9", "mhmig.toml of @net requires mhmig v1.3.0, and this is v1.2.9"},
		{"v1.1.0", "mhmig.toml requires mhmig v1.2.0, and this is v1.1.0"},
	}
	for _, tt := range tests {
		_, err := open(t, dir, cache, tt.mhmig).Libraries(nil, nil)
		if got := text(err); got != tt.want {
			t.Errorf("mhmig %q: got %q, want %q", tt.mhmig, got, tt.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Several processes may fill one cache at the same time.
func TestConcurrently(t *testing.T) {
	t.Parallel()
	library1 := write(t, map[string]string{"mhmig.toml": "name = \"net\"\nversion = \"v1.0.0\"\n", "a.star": "x = 1\n"})
	cache := t.TempDir()
	group, ctx := errgroup.WithContext(t.Context())
	for range 8 {
		dir := write(t, map[string]string{"mhmig.toml": ""})
		group.Go(func() error {
			p, err := project.Open(dir, cache, "")
			if err != nil {
				return err
			}
			if _, err := p.Add(ctx, "net", library1, project.Review{}); err != nil {
				return err
			}
			set, err := p.Libraries(nil, nil)
			if err != nil {
				return err
			}
			_, err = set.ReadFile("@net//a.star")
			return errors.Join(err, p.Vendor(ctx))
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(cache, "libraries", "temporary"))
	if len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Two commands that change one project at the same time both take effect.
func TestSameProject(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"mhmig.toml":   "",
		"a/mhmig.toml": "name = \"a\"\nversion = \"v1.0.0\"\n",
		"b/mhmig.toml": "name = \"b\"\nversion = \"v1.0.0\"\n",
	})
	cache := t.TempDir()
	group, ctx := errgroup.WithContext(t.Context())
	for _, name := range []string{"a", "b"} {
		p := open(t, dir, cache, "")
		group.Go(func() error {
			_, err := p.Add(ctx, name, name, project.Review{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range open(t, dir, cache, "").Locked() {
		names = append(names, l.Name)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("locked (-want +got):\n%s", diff)
	}
}

// A change is breaking if what there was before is not to be had any more.
func TestUpdateUnknown(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"mhmig.toml":     "[needs]\nnet = { source = \"net\" }\n",
		"net/mhmig.toml": "name = \"net\"\nversion = \"v1.0.0\"\n",
	})
	if _, err := open(t, dir, t.TempDir(), "").Sync(t.Context(), project.Review{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "net/a.star"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir, t.TempDir(), "") // of another machine
	if _, err := other.Libraries(nil, nil); err != nil {
		t.Fatal(err)
	}
	review := project.Review{Compare: func(fs.FS, fs.FS) ([]string, error) { return nil, nil }}
	_, err := other.Update(t.Context(), []string{"net"}, review)
	breaking, ok := errors.AsType[*project.BreakingError](err)
	if !ok || len(breaking.Changes) != 1 || !strings.Contains(breaking.Error(), "unknown: library @net v1.0.0 from net has the hash") {
		t.Errorf("got %v, want that the change is unknown", err)
	}
	review.AllowBreaks = true
	if _, err := other.Update(t.Context(), []string{"net"}, review); err != nil {
		t.Error(err)
	}
	if faults, err := other.Verify(t.Context()); len(faults) > 0 || err != nil {
		t.Errorf("got %q, %v", faults, err)
	}
}

// The libraries of an archive are verified as others are; it is the same for the same files.
func TestArchive(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"mhmig.toml":     "[needs]\nnet = { source = \"net\" }\n",
		"soak.star":      "x = 1\n",
		"old.mhmig":      "",
		"net/mhmig.toml": "name = \"net\"\nversion = \"v1.0.0\"\n",
		"net/a.star":     "y = 1\n",
	})
	p := open(t, dir, t.TempDir(), "")
	if _, err := p.Sync(t.Context(), project.Review{}); err != nil {
		t.Fatal(err)
	}
	archives := [2]string{filepath.Join(t.TempDir(), "1.mhmig"), filepath.Join(t.TempDir(), "2.mhmig")}
	var contents [2][]byte
	for i, file := range archives {
		var err error
		if err := p.Archive(t.Context(), file, project.Call{Scenario: "soak.star", Config: "@net//my.cfg"}, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if contents[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(contents[0], contents[1]) {
		t.Error("two archives of the same files differ")
	}
	there := t.TempDir()
	call, err := project.Unpack(archives[0], there)
	want := project.Call{Scenario: filepath.Join(there, "soak.star"), Config: "@net//my.cfg"}
	if call != want || err != nil {
		t.Errorf("got %+v, %v; want %+v", call, err, want)
	}
	if err := os.WriteFile(filepath.Join(there, "mhmig-vendor/net/a.star"), []byte("y = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := open(t, there, t.TempDir(), "").Libraries(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.ReadFile("@net//a.star"); err == nil || !strings.Contains(err.Error(), "a.star has changed") {
		t.Errorf("got %v, want that a.star has changed", err)
	}
	if _, err := os.Stat(filepath.Join(there, "old.mhmig")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no older archive in it", err)
	}
}

func TestUnpackFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		parts map[string]string
		fault string
	}{
		{"of another program", map[string]string{"a": ""}, "it has no mhmig-archive.toml"},
		{"outside", map[string]string{"../out": ""}, "path escapes from parent"},
		{"a scenario outside", map[string]string{"mhmig-archive.toml": "scenario = '../my.star'"}, `it runs "../my.star", which is not in it`},
		{"a folder", map[string]string{"a/": ""}, `"a/" is not a regular file`},
	}
	for _, tt := range tests {
		file := filepath.Join(t.TempDir(), "x.mhmig")
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for name, text := range tt.parts {
			part, err := w.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(part, text)
		}
		if err := errors.Join(w.Close(), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
			t.Fatal(err)
		}
		if _, err := project.Unpack(file, t.TempDir()); err == nil || !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.fault)
		}
	}
}

// What git archives cannot write outside of its folder.
func TestExtract(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		entries []tar.Header
		fault   string
	}{
		{"plain", []tar.Header{{Name: "a/b", Typeflag: tar.TypeReg}, {Name: "c", Linkname: "a", Typeflag: tar.TypeSymlink}}, ""},
		{"dots", []tar.Header{{Name: "../out", Typeflag: tar.TypeReg}}, "path escapes from parent"},
		{"absolute", []tar.Header{{Name: "/out", Typeflag: tar.TypeReg}}, "path escapes from parent"},
		{"through a link", []tar.Header{{Name: "x", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "x/out", Typeflag: tar.TypeReg}}, "path escapes from parent"},
		{"twice", []tar.Header{{Name: "x", Typeflag: tar.TypeReg}, {Name: "x", Typeflag: tar.TypeReg}}, "file exists"},
	}
	for _, tt := range tests {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range tt.entries {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		top := t.TempDir()
		dir := filepath.Join(top, "dir")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := project.Extract(&archive, dir)
		if got := text(err); !strings.Contains(got, tt.fault) || (tt.fault == "") != (err == nil) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.fault)
		}
		if _, err := os.Lstat(filepath.Join(top, "out")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file outside: %v", tt.name, err)
		}
	}
}

// A fetch that is interrupted says so, and leaves nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"mhmig.toml": ""})
	errInterrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	_, err := open(t, dir, t.TempDir(), "").Add(ctx, "net", "file://"+dir+"@v1.0.0", project.Review{})
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v, want %v", err, errInterrupted)
	}
	if _, err := os.Stat(filepath.Join(dir, "mhmig.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no lock", err)
	}
}

var _ library.Bounded = project.Files
