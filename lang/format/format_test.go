// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/format"
)

// write makes files in a new folder, which it makes the working folder.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChanges(t *testing.T) {
	write(t, map[string]string{
		"in/a.cfg": "a=1\n", "in/good.cfg": "a = 1\n", "in/deep/b.star": "b=1\n", "in/.hidden/c.cfg": "c=1\n", "in/.d.cfg": "d=1\n",
		"in/notes.txt": "e=1\n", "in/bad.cfg": "f\n", "in/bad.star": "f(\n", "other.txt": "", "in/folder.cfg/g.cfg": "g=1\n",
	})
	if err := os.Symlink("a.cfg", "in/link.cfg"); err != nil {
		t.Fatal(err)
	}
	changes, faults := format.Changes([]string{"in", "other.txt", "none.cfg", "@std//cfg/base.cfg", "in/link.cfg"})
	var paths, messages []string
	for _, c := range changes {
		paths = append(paths, c.Path)
	}
	for _, f := range faults {
		messages = append(messages, f.Error())
	}
	if diff := cmp.Diff([]string{"in/a.cfg", "in/deep/b.star", "in/folder.cfg/g.cfg", "in/link.cfg"}, paths); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"in/bad.cfg:1:1: neither an assignment, nor a condition, nor a keyword",
		"in/bad.star:2:1: got the end of the file, want ')'",
		"other.txt: is neither a .star nor a .cfg file",
		"none.cfg: no such file or directory",
		"@std//cfg/base.cfg: is a file of a library, which can be changed in its own folder only",
	}, messages); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestDiffAndWrite(t *testing.T) {
	write(t, map[string]string{"a.cfg": "a=1\nb = 2\n"})
	if err := os.Symlink("a.cfg", "link.cfg"); err != nil {
		t.Fatal(err)
	}
	changes, faults := format.Changes([]string{"link.cfg"})
	if len(changes) != 1 || len(faults) > 0 {
		t.Fatalf("got %v, %v", changes, faults)
	}
	if diff := cmp.Diff("--- link.cfg.orig\n+++ link.cfg\n@@ -1,2 +1,2 @@\n-a=1\n+a = 1\n b = 2\n", changes[0].Diff()); diff != "" {
		t.Errorf("diff (-want +got):\n%s", diff)
	}
	if err := changes[0].Write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("a.cfg")
	if err != nil || string(text) != "a = 1\nb = 2\n" {
		t.Errorf("a.cfg is %q, %v", text, err)
	}
	if info, err := os.Lstat("link.cfg"); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("link.cfg is no link any more: %v, %v", info, err)
	}
	if info, err := os.Stat("a.cfg"); err != nil || info.Mode() != 0o640 {
		t.Errorf("a.cfg has mode %v, %v", info.Mode(), err)
	}
	if changes, faults := format.Changes([]string{"."}); len(changes)+len(faults) > 0 {
		t.Errorf("afterwards there are %v, %v", changes, faults)
	}
}
