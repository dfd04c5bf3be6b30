// SPDX-License-Identifier: Apache-2.0

package jeos_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/jeos/jeostest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// archive is an initramfs by name.
func archive(t *testing.T, path string) map[string]cpio.Record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]cpio.Record{}
	for _, r := range records {
		if dir := filepath.Dir(r.Name); dir != "." && byName[dir].Name == "" {
			t.Errorf("%s comes before its folder", r.Name)
		}
		byName[r.Name] = r
	}
	return byName
}

func content(t *testing.T, r cpio.Record) string {
	t.Helper()
	b := make([]byte, r.FileSize)
	if _, err := r.ReadAt(b, 0); len(b) > 0 && err != nil {
		t.Fatalf("%s: %v", r.Name, err)
	}
	return string(b)
}

// parts are files of this machine and the test's own that stand for the
// distribution's: no module, since all drivers are said to be in the kernel.
func parts(t *testing.T) jeos.Options {
	t.Helper()
	dir := t.TempDir()
	modules := filepath.Join(dir, "modules", "6.1.0-test")
	if err := os.MkdirAll(filepath.Join(modules, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	var builtin strings.Builder
	for _, name := range []string{"virtio_pci", "virtio_net", "virtio_blk", "virtio_console", "virtio_scsi", "sd_mod", "virtio_balloon", "virtio-rng", "button", "evdev"} {
		builtin.WriteString("kernel/drivers/" + name + ".ko\n")
	}
	kernel := filepath.Join(dir, "vmlinuz")
	for path, text := range map[string]string{
		filepath.Join(modules, "modules.builtin"): builtin.String(),
		kernel: "not a bzImage: is taken as it is",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox-static")
	}
	return jeos.Options{CacheDir: t.TempDir(), Kernel: kernel, Modules: modules, Busybox: busybox, Shell: "/bin/sh"}
}

func TestBuildFromPaths(t *testing.T) {
	t.Parallel()
	o := parts(t)
	if _, err := jeos.Find(t.Context(), jeos.Options{CacheDir: o.CacheDir}); !errors.Is(err, jeos.ErrNotBuilt) {
		t.Errorf("Find before Build: got %v, want ErrNotBuilt", err)
	}
	image, err := jeos.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	found, err := jeos.Find(t.Context(), jeos.Options{CacheDir: o.CacheDir})
	if err != nil || found != image {
		t.Errorf("Find: got %+v, %v; want what Build returned: %+v", found, err, image)
	}
	other, err := jeos.Find(t.Context(), jeos.Options{CacheDir: o.CacheDir}.WithProgram("another"))
	if err != nil || other.Version == image.Version {
		t.Errorf("Find for another program: got %+v, %v; want an image of its own from the same parts", other, err)
	}
	if image.KernelRelease != "6.1.0-test" || image.KernelParams != jeos.KernelParams {
		t.Errorf("image: got %+v", image)
	}
	files := archive(t, image.Initrd)
	for link, target := range map[string]string{
		"init": "bin/busybox", "bin/memwork": "guestd", "bin/diskwork": "guestd", "bin/mount": "busybox", "sbin": "bin",
	} {
		if got := content(t, files[link]); got != target {
			t.Errorf("link %s: got %q, want %q", link, got, target)
		}
	}
	const typeMask, charDev, perm = 0o170000, 0o020000, 0o777
	if r := files["dev/console"]; r.Mode&typeMask != charDev || r.Rmajor != 5 || r.Rminor != 1 {
		t.Errorf("dev/console: got %v, want character device 5, 1", r)
	}
	for name, want := range map[string]uint64{
		"bin/guestd": 0o755, "bin/sh": 0o755, "bin/busybox": 0o755, "bin/nohup": 0o755, "bin/killall": 0o755, "etc/rc": 0o755, "etc/inittab": 0o644,
		"etc/guestd.key": 0o600, "etc/guestd.seed": 0o600,
	} {
		if r, ok := files[name]; !ok || r.Mode&perm != want {
			t.Errorf("%s: got mode %o, %t; want %o", name, r.Mode&perm, ok, want)
		}
	}
	// /bin/sh of this machine is not static.
	if !slices.ContainsFunc(keys(files), func(name string) bool { return strings.Contains(name, "libc.so") }) {
		t.Error("the shell's libraries are missing")
	}
}

func keys(files map[string]cpio.Record) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	return names
}

// TestBuildOnce checks that a built image is left alone, that a damaged one is
// made anew, and that another program makes another image.
func TestBuildOnce(t *testing.T) {
	t.Parallel()
	o := parts(t)
	first, err := jeos.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	again := jeos.Options{CacheDir: o.CacheDir}
	key := content(t, archive(t, first.Initrd)["etc/guestd.key"])
	second, err := jeos.Build(t.Context(), again)
	if err != nil || second != first {
		t.Fatalf("second Build: got %+v, %v; want %+v", second, err, first)
	}
	if got := content(t, archive(t, second.Initrd)["etc/guestd.key"]); got != key {
		t.Error("second Build: the image was made anew")
	}
	if err := os.Remove(first.Kernel); err != nil {
		t.Fatal(err)
	}
	if _, err := jeos.Build(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first.Kernel); err != nil {
		t.Errorf("Build after damage: %v", err)
	}
	other, err := jeos.Build(t.Context(), again.WithProgram("another"))
	if err != nil || other.Version == first.Version {
		t.Errorf("another program: got version %s, %v; want not %s", other.Version, err, first.Version)
	}
}

func TestBuildPrunes(t *testing.T) {
	t.Parallel()
	o := parts(t)
	image, err := jeos.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	old, recent := filepath.Join(o.CacheDir, "jeos", "old"), filepath.Join(o.CacheDir, "jeos", "recent")
	for dir, age := range map[string]time.Duration{old: 48 * time.Hour, recent: time.Hour, filepath.Dir(image.Kernel): 48 * time.Hour} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := jeos.Build(t.Context(), jeos.Options{CacheDir: o.CacheDir}); err != nil { // in use again
		t.Fatal(err)
	}
	if _, err := jeos.Build(t.Context(), jeos.Options{CacheDir: o.CacheDir}.WithProgram("another")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{old: false, recent: true, filepath.Dir(image.Kernel): true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: got %v, want kept: %t", dir, err, want)
		}
	}
}

func TestBuildAtTheSameTime(t *testing.T) {
	t.Parallel()
	o := parts(t)
	var images [4]jeos.Image
	var group sync.WaitGroup
	for i := range images {
		group.Go(func() {
			var err error
			if images[i], err = jeos.Build(t.Context(), o); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, image := range images[1:] {
		if image != images[0] {
			t.Errorf("got %+v and %+v", images[0], image)
		}
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*testing.T, *jeos.Options)
		want   string
	}{
		{"some paths", func(_ *testing.T, o *jeos.Options) { o.Shell = "" }, "give all four or none"},
		{"no kernel", func(_ *testing.T, o *jeos.Options) { o.Kernel = "/nowhere" }, "read the kernel: open /nowhere"},
		{"no modules", func(_ *testing.T, o *jeos.Options) { o.Modules = "/nowhere" }, "read the kernel's modules: lstat /nowhere"},
		{"driver missing", func(t *testing.T, o *jeos.Options) {
			if err := os.WriteFile(filepath.Join(o.Modules, "modules.builtin"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "has no module virtio_pci, which the guest needs"},
		{"dynamic busybox", func(_ *testing.T, o *jeos.Options) { o.Busybox = "/bin/ls" }, "give a static busybox"},
		{"script as shell", func(t *testing.T, o *jeos.Options) {
			o.Shell = filepath.Join(t.TempDir(), "sh")
			if err := os.WriteFile(o.Shell, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "read the shell: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := parts(t)
			tt.change(t, &o)
			if _, err := jeos.Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if left, err := filepath.Glob(filepath.Join(o.CacheDir, "jeos", "new-*")); len(left) > 0 || err != nil {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestBuildIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := jeos.Options{CacheDir: t.TempDir()}
	if _, err := jeos.Build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestDistribution looks at what the packages gave.
func TestDistribution(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads packages: not with -short")
	}
	image := jeostest.Image(t)
	kernel, err := os.ReadFile(image.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(kernel[:4]), "\x7fELF") {
		t.Errorf("kernel begins with %q: the guest boots slowly", kernel[:4])
	}
	packed, err := os.ReadFile(image.BzImage)
	if err != nil || string(packed[0x202:0x206]) != "HdrS" { // of the boot protocol
		t.Errorf("%s is no bzImage, %v", image.BzImage, err)
	}
	files := archive(t, image.Initrd)
	dir := "lib/modules/" + image.KernelRelease + "/"
	needs := map[string][]string{}
	for line := range strings.Lines(content(t, files[dir+"modules.dep"])) {
		module, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[module] = strings.Fields(rest)
		if files[dir+module].FileSize == 0 {
			t.Errorf("module %s is missing", module)
		}
	}
	// modprobe loads the last one first.
	for module, want := range map[string]string{
		"virtio_blk.ko": "virtio.ko virtio_ring.ko", "sr_mod.ko": "cdrom.ko scsi_mod.ko scsi_common.ko", "ata_piix.ko": "libata.ko scsi_mod.ko scsi_common.ko",
	} {
		if got := strings.Join(needs[module], " "); got != want {
			t.Errorf("%s depends on %q, want %q", module, got, want)
		}
	}
	aliases := content(t, files[dir+"modules.alias"])
	for _, want := range []string{"alias virtio:d00000001v* virtio_net\n", "alias scsi:t-0x05* sr_mod\n", "alias fs-iso9660 isofs\n"} {
		if !strings.Contains(aliases, want) {
			t.Errorf("modules.alias has no %q", want)
		}
	}
}
