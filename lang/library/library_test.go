// SPDX-License-Identifier: Apache-2.0

package library_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/mhmig/mhmig/lang/library"
)

var libraries = library.Set{
	"std":  fstest.MapFS{"cfg/base.cfg": {Data: []byte("mem = 1\n")}, "work.star": {Data: []byte("x = 1\n")}},
	"team": fstest.MapFS{},
}

func TestResolve(t *testing.T) {
	t.Parallel()
	tests := []struct{ from, name, want, fault string }{
		{"", "a.cfg", "a.cfg", ""},
		{"", "@std//cfg/base.cfg", "@std//cfg/base.cfg", ""},
		{"x/a.cfg", "b.cfg", "x/b.cfg", ""},
		{"x/a.cfg", "../b.cfg", "b.cfg", ""},
		{"x/a.cfg", "/b.cfg", "/b.cfg", ""},
		{"x/a.cfg", "@std//cfg/base.cfg", "@std//cfg/base.cfg", ""},
		{"x/a.cfg", "@b.cfg", "x/@b.cfg", ""}, // a file may be called so
		{"@std//cfg/a.cfg", "b.cfg", "@std//cfg/b.cfg", ""},
		{"@std//cfg/a.cfg", "../b.cfg", "@std//b.cfg", ""},
		{"@std//cfg/a.cfg", "@team//b.cfg", "@team//b.cfg", ""},
		{"@std//cfg/a.cfg", "../../b.cfg", "", `"../../b.cfg" leaves the library @std`},
		{"@std//cfg/a.cfg", "/etc/passwd", "", `"/etc/passwd" leaves the library @std`},
		{"", "@std//../b.cfg", "", `"@std//../b.cfg" is no file of a library; want @LIBRARY//FOLDER/FILE`},
		{"", "@std//", "", `"@std//" is no file of a library; want @LIBRARY//FOLDER/FILE`},
		{"", "@std///etc/passwd", "", `"@std///etc/passwd" is no file of a library; want @LIBRARY//FOLDER/FILE`},
	}
	for _, tt := range tests {
		got, err := library.Resolve(tt.from, tt.name)
		if fault := text(err); got != tt.want || fault != tt.fault {
			t.Errorf("Resolve(%q, %q) = %q, %q; want %q, %q", tt.from, tt.name, got, fault, tt.want, tt.fault)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	own := filepath.Join(t.TempDir(), "own.cfg")
	if err := os.WriteFile(own, []byte("mem = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		set               library.Set
		name, want, fault string
		missing           bool
	}{
		{libraries, "@std//cfg/base.cfg", "mem = 1\n", "", false},
		{libraries, own, "mem = 2\n", "", false},
		{nil, own, "mem = 2\n", "", false},
		{libraries, "@std//cfg/none.cfg", "", "library @std has no file cfg/none.cfg", true},
		{libraries, "@sdt//cfg/base.cfg", "", "no library @sdt; did you mean @std?", false},
		{libraries, "@colleagues//cfg/base.cfg", "", "no library @colleagues, only @std, @team; mhmig lib add colleagues SOURCE adds one", false},
		{nil, "@std//cfg/base.cfg", "", "no library @std", false},
	}
	for _, tt := range tests {
		got, err := tt.set.ReadFile(tt.name)
		if fault := text(err); string(got) != tt.want || fault != tt.fault || errors.Is(err, fs.ErrNotExist) != tt.missing {
			t.Errorf("ReadFile(%q) = %q, %q; want %q, %q", tt.name, got, fault, tt.want, tt.fault)
		}
		if got, want := tt.set.Exists(tt.name), tt.fault == ""; got != want {
			t.Errorf("Exists(%q) = %v, want %v", tt.name, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"ping_pong.star", "other.cfg", "folder.star/x"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, ending, want string }{
		{dir + "/ping_pong", ".star", dir + "/ping_pong.star"},
		{dir + "/pnig_pong.star", ".star", dir + "/ping_pong.star"},
		{dir + "/pnig_pong", ".star", dir + "/ping_pong.star"},
		{dir + "/other.star", ".star", ""},
		{dir + "/folder", ".star", ""},
		{dir + "/gone/ping_pong", ".star", ""},
		{"@std//work", ".star", "@std//work.star"},
		{"@std//wrok.star", ".star", "@std//work.star"},
		{"@std//cfg/bsae.cfg", ".cfg", "@std//cfg/base.cfg"},
		{"@sdt//work.star", ".star", "@std//work.star"},
		{"@colleagues//work.star", ".star", ""},
	}
	for _, tt := range tests {
		if got := libraries.Nearest(tt.name, tt.ending); got != tt.want {
			t.Errorf("Nearest(%q, %q) = %q, want %q", tt.name, tt.ending, got, tt.want)
		}
	}
}
