// SPDX-License-Identifier: Apache-2.0

package library_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/library"
)

// A file of a scenario's folder, or of a library, and nothing outside of these.
func TestReadRelative(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "own")
	for name, data := range map[string]string{"secret": "no", "own/data": "1", "own/deep/data": "2", "own/@odd": "3"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"in": "deep/data", "out": "../secret", "away": top, "etc": "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "huge"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "huge"), library.MaxFile+1); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "my.star")
	tests := []struct{ from, name, want, fault string }{
		{own, "data", "1", ""},
		{own, "deep/data", "2", ""},
		{own, "deep/../data", "1", ""},
		{own, "in", "2", ""},
		{own, "@odd", "3", ""},
		{own, "@std//cfg/base.cfg", "mem = 1\n", ""},
		{"@std//work.star", "cfg/base.cfg", "mem = 1\n", ""},
		{own, "none", "", `"none" in the folder of ` + own + ": no such file or directory"},
		{own, "../secret", "", `"../secret" leaves the folder of ` + own},
		{own, "deep/../../secret", "", "leaves the folder of"},
		{own, "/etc/passwd", "", `"/etc/passwd" leaves the folder of ` + own},
		{own, "", "", `"" leaves the folder of ` + own},
		{own, "out", "", `"out" in the folder of ` + own + ": path escapes from parent"},
		{own, "away/secret", "", "path escapes from parent"},
		{own, "etc", "", "path escapes from parent"},
		{own, "deep", "", "is not a regular file"},
		{own, "huge", "", "is larger than 64 MiB"},
		{own, "@std//../x", "", "is no file of a library"},
		{own, "@none//x", "", "no library @none"},
		{"@std//cfg/base.cfg", "../work.star", "", `"../work.star" leaves the folder of @std//cfg/base.cfg`},
	}
	for _, tt := range tests {
		got, err := libraries.ReadRelative(tt.from, tt.name)
		if fault := text(err); string(got) != tt.want || !strings.Contains(fault, tt.fault) || (tt.fault == "") != (err == nil) {
			t.Errorf("ReadRelative(%q, %q) = %.40q, %q; want %q, %q", tt.from, tt.name, got, fault, tt.want, tt.fault)
		}
	}
	if _, err := libraries.ReadRelative(own, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}
