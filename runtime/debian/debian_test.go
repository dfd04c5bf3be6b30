// SPDX-License-Identifier: Apache-2.0

package debian_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/debian"
	"github.com/mhmig/mhmig/stdlib"
)

// programs stand in for those that build: an archive with a kernel and an initrd, a disk
// that names its label, and a copy of that.
var programs = map[string]string{
	"mmdebstrap": `for archive; do :; done
mkdir -p system/boot system/etc && echo kernel >system/boot/vmlinuz-6.1 && echo initrd >system/boot/initrd.img-6.1
tar -C system -cf "$archive" . && rm -r system && echo run >>"$CALLS"`,
	"mke2fs": `while [ "$1" != -L ]; do shift; done; label=$2
while [ "$1" != -d ]; do shift; done
[ -e "$2/etc/machine-id" ] && echo "$label" >"$3"`,
	"qemu-img": `cp disk.raw disk.qcow2`,
	"unshare":  `while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"`,
}

// stage puts the programs into PATH, some replaced, and returns a cache and the file that
// has a line for each build.
func stage(t *testing.T, replaced map[string]string) (options debian.Options, calls string) {
	t.Helper()
	bin := t.TempDir()
	for name, script := range programs {
		if other, ok := replaced[name]; ok {
			script = other
		}
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	calls = filepath.Join(t.TempDir(), "calls")
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("CALLS", calls)
	return debian.Options{CacheDir: t.TempDir()}, calls
}

// content is what a file has.
func content(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// left are the folders of the cache, beside that of the image.
func left(t *testing.T, o debian.Options, image debian.Image) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(o.CacheDir, "debian"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != image.Version {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestBuildOnce(t *testing.T) {
	o, calls := stage(t, nil)
	if _, err := debian.Find(o); !errors.Is(err, debian.ErrNotBuilt) {
		t.Errorf("before: got %v, want ErrNotBuilt", err)
	}
	built, err := debian.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{built.Kernel: "kernel", built.Initrd: "initrd", built.Disk: debian.Label} {
		if got := content(t, file); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
	again, err := debian.Build(t.Context(), o)
	if err != nil || again != built {
		t.Errorf("again: got %+v, %v, want %+v", again, err, built)
	}
	if found, err := debian.Find(o); err != nil || found != built {
		t.Errorf("Find: got %+v, %v, want %+v", found, err, built)
	}
	if got := content(t, calls); got != "run" {
		t.Errorf("packages were installed %d times, want once", strings.Count(got, "run"))
	}
	if names := left(t, o, built); len(names) > 0 {
		t.Errorf("left: %v", names)
	}

	// One that somebody has damaged is built anew.
	if err := os.Remove(built.Disk); err != nil {
		t.Fatal(err)
	}
	if _, err := debian.Find(o); !errors.Is(err, debian.ErrNotBuilt) {
		t.Errorf("without its disk: got %v, want ErrNotBuilt", err)
	}
	if _, err := debian.Build(t.Context(), o); err != nil || content(t, built.Disk) != debian.Label {
		t.Errorf("anew: %v", err)
	}
}

// A build that fails leaves nothing, is no image, and says what the program said.
func TestBuildFails(t *testing.T) {
	tests := []struct{ program, script, said string }{
		{"mmdebstrap", `echo E: no mirror >&2; exit 25`, "exit status 25: E: no mirror"},
		{"mke2fs", `echo no room on the disk >&2; exit 1`, "no room on the disk"},
		{"qemu-img", `echo half >disk.qcow2; echo no compression >&2; exit 1`, "no compression"},
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			o, _ := stage(t, map[string]string{tt.program: tt.script})
			_, err := debian.Build(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.said) || !strings.HasPrefix(err.Error(), "build the Debian guest: ") {
				t.Errorf("got %v, want what the program said: %s", err, tt.said)
			}
			if _, err := debian.Find(o); !errors.Is(err, debian.ErrNotBuilt) {
				t.Errorf("Find: got %v, want ErrNotBuilt", err)
			}
			if names := left(t, o, debian.Image{}); len(names) > 0 {
				t.Errorf("left: %v", names)
			}
		})
	}
}

// A build that is cancelled ends the children of the program too, and waits for the
// program to clean up behind them, as mmdebstrap does with its mounts.
func TestBuildCancelled(t *testing.T) {
	o, calls := stage(t, map[string]string{"mmdebstrap": `trap : TERM
sh -c 'echo child >>"$CALLS"; exec sleep 600'
echo cleaned >>"$CALLS"`})
	ctx, cancel := context.WithCancelCause(t.Context())
	given := errors.New("given up")
	go func() {
		for ctx.Err() == nil {
			if data, err := os.ReadFile(calls); err == nil && strings.Contains(string(data), "child") {
				cancel(given)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	began := time.Now()
	if _, err := debian.Build(ctx, o); !errors.Is(err, given) {
		t.Errorf("got %v, want the cause of the cancel", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the build ended after %s", took)
	}
	if got := content(t, calls); got != "child\ncleaned" {
		t.Errorf("the program did %q, want the child's end and the cleanup", got)
	}
	if names := left(t, o, debian.Image{}); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// What a killed build has left is no image.
func TestHalfBuilt(t *testing.T) {
	o, _ := stage(t, nil)
	image, err := debian.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(image.Disk)
	if err := os.Rename(dir, filepath.Join(filepath.Dir(dir), "new-123")); err != nil {
		t.Fatal(err)
	}
	if _, err := debian.Find(o); !errors.Is(err, debian.ErrNotBuilt) {
		t.Errorf("got %v, want ErrNotBuilt", err)
	}
}

// The shipped config has the guest's login, and the label of its file system.
func TestConfigFits(t *testing.T) {
	t.Parallel()
	cfg, err := stdlib.FS.ReadFile("cfg/guest-os.cfg")
	if err != nil {
		t.Fatal(err)
	}
	_, own, found := strings.Cut(string(cfg), "@bootstrap:")
	if !found {
		t.Fatal("no variant bootstrap")
	}
	for _, want := range []string{"root=LABEL=" + debian.Label + " ", "password = " + debian.Password + "\n", "image_name = debian:disk\n"} {
		if !strings.Contains(own, want) {
			t.Errorf("guest-os.cfg has no %q", want)
		}
	}
}
