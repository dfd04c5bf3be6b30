// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// imageFacts is the output of qemu-img info.
type imageFacts struct {
	Format  string `json:"format"`
	Size    int64  `json:"virtual-size"`
	Backing string `json:"backing-filename"`
}

func facts(t *testing.T, file string) imageFacts {
	t.Helper()
	out, err := exec.Command("qemu-img", "info", "--output=json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var f imageFacts
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// prepareImages creates the disks of a VM with these params.
func (s *site) prepareImages(name string, p cartesian.Params) (*vm.Images, error) {
	c, err := vm.ParseConfig(name, p)
	if err != nil {
		return nil, err
	}
	return vm.PrepareImages(s.bed.t.Context(), s.placement, c)
}

func TestPrepareImages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	outside := b.write("outside.raw", make([]byte, 1<<20), 0o644)
	counter := filepath.Join(b.dir, "shared/images/counter.raw")
	existing := b.write("shared/existing.raw", []byte("precious"), 0o644)
	old := b.write("shared/old.raw", []byte("of no worth"), 0o644)

	images, err := s.prepareImages("vm1", cartesian.Params{
		"images": "overlay far own named kept anew plain", "image_format": "raw",
		"image_name_overlay": "images/counter",
		"image_name_far":     strings.TrimSuffix(outside, ".raw"),
		"create_image_own":   "yes", "image_size_own": "3M", "image_format_own": "qcow2",
		"image_name_named": "named", "image_overlay_named": "no", "create_image_named": "yes", "image_size_named": "2M",
		"image_name_kept": "existing", "image_overlay_kept": "no", "create_image_kept": "yes", "image_size_kept": "2M",
		"image_name_anew": "old", "image_overlay_anew": "no", "force_create_image_anew": "yes", "image_size_anew": "2M",
		"image_name_plain": "images/counter", "image_overlay_plain": "no",
	})
	if err != nil {
		t.Fatal(err)
	}
	made := func(image string) string { return filepath.Join(b.dir, "shared/v1/vm1-"+image+".qcow2") }
	if diff := cmp.Diff([]string{made("overlay"), made("far"), made("own")}, images.Paths()); diff != "" {
		t.Error(diff)
	}
	for file, want := range map[string]imageFacts{
		made("overlay"):                          {"qcow2", 1 << 20, "../images/counter.raw"}, // relative: hosts may mount it at different paths
		made("far"):                              {"qcow2", 1 << 20, outside},
		made("own"):                              {"qcow2", 3 << 20, ""},
		filepath.Join(b.dir, "shared/named.raw"): {"raw", 2 << 20, ""},
		old:                                      {"raw", 2 << 20, ""},
		counter:                                  {"raw", 1 << 20, ""},
	} {
		if diff := cmp.Diff(want, facts(t, file)); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
		}
	}
	if data, err := os.ReadFile(existing); err != nil || string(data) != "precious" {
		t.Errorf("an existing image was overwritten: %q, %v", data, err)
	}
	if n := len(b.ledger.pending()); n != 3 {
		t.Errorf("the ledger holds %d entries, want 3", n)
	}

	if err := images.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(b.dir, "shared/v1/*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, file := range []string{counter, outside, existing, old} {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("a user's image is gone: %v", err)
		}
	}
}

// After an error no files remain, not even those created before it.
func TestPrepareImagesFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	b.write("shared/odd.qcow2", []byte("this is no qcow2"), 0o644)
	tests := []struct {
		name   string
		params cartesian.Params
		want   []string
	}{
		{"a missing base", cartesian.Params{"image_name_image2": "images/rhel64-64"}, []string{"vm1: prepare image2 on host1: host1: no file " + b.dir + "/shared/images/rhel64-64.raw (param image_name)"}},
		{"a missing image", cartesian.Params{"image_name_image2": "x", "image_overlay_image2": "no"}, []string{"host1: no file " + b.dir + "/shared/x.raw (param image_name)"}},
		{"a broken base", cartesian.Params{"image_name_image2": "odd", "image_format_image2": "qcow2"}, []string{"vm1: prepare image2 on host1: qemu-img create: ", "Image is not in qcow2 format"}},
		{"no qemu-img", cartesian.Params{"qemu_img_binary": "/opt/none/qemu-img"}, []string{"host1: no program /opt/none/qemu-img (on Debian it is in package qemu-utils); install it there or set param qemu_img_binary"}},
		{"a bad size", cartesian.Params{"create_image_image2": "yes", "image_size_image2": "big"}, []string{`vm1: image2: param image_size: got "big"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := cartesian.Params{"images": "image1 image2", "image_name": "images/counter", "image_format": "raw"}
			maps.Copy(p, tt.params)
			_, err := s.prepareImages("vm1", p)
			if err == nil {
				t.Fatal("PrepareImages: no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("PrepareImages: got %v, want %q in it", err, want)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(b.dir, "shared/v1/*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if pending := b.ledger.pending(); len(pending) > 0 {
				t.Errorf("the ledger still holds %v", pending)
			}
		})
	}
}

// create_image does not replace an existing image_name, like virt-test; the guest
// writes to an overlay on it, whatever its format.
func TestCreateImageKeeps(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	counter := filepath.Join(b.dir, "shared/images/counter.raw")
	before, err := os.ReadFile(counter)
	if err != nil {
		t.Fatal(err)
	}
	p := cartesian.Params{
		"images": "kept suffixed forced missing", "image_format": "raw", "image_name": "images/counter", "create_image": "yes", "create_image_suffixed": "no",
		"create_image_suffixed_vm1": "yes", "image_name_missing": "images/missing", "image_size_missing": "3M", "image_size": "5M",
		"force_create_image_forced": "yes", "image_size_forced": "2M",
	}
	images, err := s.prepareImages("vm1", p.Object("vm1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"kept", "suffixed"}, images.Kept); diff != "" {
		t.Errorf("kept (- want, + got):\n%s", diff)
	}
	made := func(file string) string { return filepath.Join(b.dir, "shared/v1/vm1-"+file) }
	for file, want := range map[string]imageFacts{
		made("kept.qcow2"):     {"qcow2", 1 << 20, "../images/counter.raw"},
		made("suffixed.qcow2"): {"qcow2", 1 << 20, "../images/counter.raw"},
		made("forced.raw"):     {"raw", 2 << 20, ""},
		made("missing.raw"):    {"raw", 3 << 20, ""},
	} {
		if diff := cmp.Diff(want, facts(t, file)); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
		}
	}
	if after, err := os.ReadFile(counter); err != nil || string(after) != string(before) {
		t.Errorf("the image that was there is another: %v", err)
	}

	placement := s.placement
	placement.Kept = images.Kept
	c, err := vm.ParseConfig("vm1", p.Object("vm1"))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := vm.CommandLine(c, placement, vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 32 << 10}, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range images.Paths() {
		if line := strings.Join(spec.Argv, " "); !strings.Contains(line, "filename="+file+",") {
			t.Errorf("the command line does not have %s:\n%s", file, line)
		}
	}
	if err := images.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A file that is not an image is an error at once: opening a named pipe hangs.
func TestSpecialImages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	images := filepath.Join(b.dir, "shared/images")
	if err := syscall.Mkfifo(filepath.Join(images, "pipe.qcow2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(images, "folder.qcow2"), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(images, "socket.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, target := range map[string]string{"zero.raw": "/dev/zero", "link.qcow2": "pipe.qcow2"} {
		if err := os.Symlink(target, filepath.Join(images, name)); err != nil {
			t.Fatal(err)
		}
	}
	for overlay, base := range map[string]string{"on_pipe": "pipe.qcow2", "on_that": "on_pipe.qcow2"} {
		command := exec.Command("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base, filepath.Join(images, overlay+".qcow2"), "1M")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for image, data := range map[string]string{"of_pipe": filepath.Join(images, "data.raw"), "beside_pipe": "data.raw"} {
		command := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+data+",data_file_raw=on", image+".qcow2", "1M")
		command.Dir = images
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	over := exec.Command("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "of_pipe.qcow2", filepath.Join(images, "on_data.qcow2"), "1M")
	if out, err := over.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := errors.Join(os.Remove(filepath.Join(images, "data.raw")), syscall.Mkfifo(filepath.Join(images, "data.raw"), 0o600)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for name, is := range map[string]string{
		"pipe": "pipe.qcow2 is a named pipe", "folder": "folder.qcow2 is a folder", "socket": "socket.qcow2 is a socket",
		"zero": "zero.raw is a character device", "link": "link.qcow2 is a named pipe",
		"on_pipe": "pipe.qcow2 is a named pipe", "on_that": "pipe.qcow2 is a named pipe",
		"of_pipe": "data.raw is a named pipe", "beside_pipe": "data.raw is a named pipe", "on_data": "data.raw is a named pipe",
	} {
		for _, more := range []cartesian.Params{{}, {"image_overlay": "no"}, {"create_image": "yes", "image_size": "1M"}, {"create_image": "yes", "image_overlay": "no", "force_create_image": "yes", "image_size": "1M"}} {
			if strings.Contains(name, "_") && more["force_create_image"] == "yes" {
				continue // a new image takes its place
			}
			p := cartesian.Params{"images": "image1", "image_name": "images/" + name}
			if name == "zero" {
				p["image_format"] = "raw"
			}
			maps.Copy(p, more)
			_, err := s.prepareImages("vm1", p)
			if want := is + ", want an image file or a block device (param image_name)"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %v: got %v, want %s", name, more, err, want)
			}
		}
	}
	if took := time.Since(began); took > time.Minute { // none waits for the other end of a pipe
		t.Errorf("it took %v", took)
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, "shared/v1/*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	// The same for the kernel.
	p := b.params(cartesian.Params{"kernel": "images/pipe.qcow2", "images": ""})
	c := s.config("vm1", p)
	_, err = vm.Start(t.Context(), s.placement, c, vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 32 << 10}, vm.Launch{})
	if err == nil || !strings.Contains(err.Error(), "pipe.qcow2 is a named pipe, want a file (param kernel)") {
		t.Errorf("kernel: got %v", err)
	}
}

// An image that another QEMU writes to cannot be a backing file; the error says what to
// do, as for one that is to be written to.
func TestLockedBacking(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", filepath.Join(b.dir, "shared/locked.qcow2"), "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := cartesian.Params{"name": "locked", "accel": "tcg", "mem": "32", "images": "image1", "image_name": "locked"}
	direct := maps.Clone(p)
	direct["image_overlay"] = "no"
	s.start("vm1", direct, false)
	s.prepare("vm2", p)
	shape, err := s.placement.Cache.Agree(t.Context(), "vm2", s.sites("vm2", p))
	if err != nil {
		t.Fatal(err)
	}
	_, err = vm.Start(t.Context(), s.placement, s.config("vm2", p), shape, vm.Launch{})
	for _, want := range []string{`Failed to get shared "write" lock`, "another QEMU has the image open: does a VM of an earlier run still exist? (mhmig cleanup)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestCheckSharedStorage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	h1, h2, h3 := b.host("host1"), b.host("host2"), b.host("host3")
	shared, other := filepath.Join(b.dir, "shared"), filepath.Join(b.dir, "host3")
	ctx := t.Context()

	if err := vm.CheckSharedStorage(ctx, []vm.Folder{{Host: h1.Host, Path: shared}, {Host: h2.Host, Path: shared}, {Host: h3.Host, Path: shared}}); err != nil {
		t.Errorf("a shared folder: %v", err)
	}
	err := vm.CheckSharedStorage(ctx, []vm.Folder{{Host: h1.Host, Path: shared}, {Host: h2.Host, Path: shared}, {Host: h3.Host, Path: other}})
	if want := "shared storage: host3 does not see in " + other + " what host1 wrote to " + shared; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "host2") {
		t.Errorf("another folder: got %v, want %s", err, want)
	}
	err = vm.CheckSharedStorage(ctx, []vm.Folder{{Host: h1.Host, Path: "/nowhere"}, {Host: h2.Host, Path: shared}})
	if want := "shared storage: host1 cannot write to /nowhere"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("no folder: got %v, want %s", err, want)
	}
	if left, _ := filepath.Glob(shared + "/.mhmig*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := vm.CheckSharedStorage(ctx, []vm.Folder{{Host: h1.Host, Path: "/nowhere"}}); err != nil {
		t.Errorf("one host shares with itself: %v", err)
	}
}

// pattern writes to an image as a guest does, or returns whether it has what was written.
func pattern(t *testing.T, command, image string) bool {
	t.Helper()
	out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", command+" -P 0x5a 64k 64k", image).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "Pattern verification failed") {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
	return err == nil && !strings.Contains(string(out), "Pattern verification failed")
}

// Disks that were kept with a state are the VM's afterwards, on the image where it is now;
// what is kept is not changed by them. Renew makes them as they were.
func TestRestoreDisks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	params := cartesian.Params{
		"images": "image1 blank", "image_name_image1": "images/counter", "image_format_image1": "raw",
		"create_image_blank": "yes", "image_size_blank": "1M",
	}
	images, err := s.prepareImages("vm1", params)
	if err != nil {
		t.Fatal(err)
	}
	b.mkdir("kept")
	kept := filepath.Join(b.dir, "kept")
	saving := s.placement
	saving.ImageDir = kept
	config, err := vm.ParseConfig("vm1", params)
	if err != nil {
		t.Fatal(err)
	}
	made, err := vm.PrepareImages(t.Context(), saving, config)
	if err != nil {
		t.Fatal(err)
	}
	saved := made.Paths()
	if want := []string{filepath.Join(kept, "vm1-image1.qcow2"), filepath.Join(kept, "vm1-blank.qcow2")}; cmp.Diff(want, saved) != "" {
		t.Errorf("kept: got %v, want %v", saved, want)
	}
	for _, file := range saved {
		pattern(t, "write", file)
	}
	before := facts(t, images.Paths()[0])
	if err := images.RestoreDisks(t.Context(), s.placement, kept); err != nil {
		t.Fatal(err)
	}
	for _, file := range images.Paths() {
		if !pattern(t, "read", file) {
			t.Errorf("%s has not what was kept", file)
		}
	}
	if diff := cmp.Diff(before, facts(t, images.Paths()[0])); diff != "" {
		t.Errorf("the overlay (-made +restored):\n%s", diff)
	}
	if err := images.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, file := range images.Paths() {
		if pattern(t, "read", file) || !pattern(t, "read", saved[i]) {
			t.Errorf("%s is not blank again, or what was kept is", file)
		}
	}
	if err := images.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if err := made.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if err := images.RestoreDisks(t.Context(), s.placement, kept); err == nil || !strings.Contains(err.Error(), "host1: restore image1 of vm1: ") {
		t.Errorf("without what was kept: got %v", err)
	}
}

// What the guest's identity has of the host changes with QEMU's release, also when the file
// that starts it is the same, and with what the kernel's file holds.
func TestIdentifyHost(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	release, kernel, program := filepath.Join(b.dir, "release"), filepath.Join(b.dir, "kernel"), filepath.Join(b.dir, "qemu-kvm")
	write := func(file, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	syscall.ForkLock.RLock() // a process that inherits the open file would make it "text file busy"
	write(program, "#!/bin/sh\ncat '"+release+"'\n", 0o700)
	syscall.ForkLock.RUnlock()
	config, err := vm.ParseConfig("vm1", cartesian.Params{"images": "", "qemu_binary": program, "kernel": kernel})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, host := range []struct{ what, release, kernel, same string }{
		{"first", help72, "kernel 1", ""},
		{"unchanged", help72, "kernel 1", "first"},
		{"the distribution's next build", strings.Replace(help72, "+b3", "+b4", 1), "kernel 1", ""},
		{"another kernel of the same size", help72, "kernel 2", ""},
	} {
		write(release, host.release, 0o600)
		write(kernel, host.kernel, 0o600)
		got, err := new(vm.Cache).IdentifyHost(t.Context(), s.placement, config, "tcg")
		if err != nil {
			t.Fatal(err)
		}
		if seen[got] != host.same {
			t.Errorf("%s: the identity is that of %q, want that of %q:\n%s", host.what, seen[got], host.same, got)
		}
		if seen[got] == "" {
			seen[got] = host.what
		}
	}
}

// The identity of a guest changes with the image below its overlay, and with what that is on.
func TestIdentifyImages(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	shared := filepath.Join(b.dir, "shared")
	create := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "images/counter.raw", "installed.qcow2")
	create.Dir = shared
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config, err := vm.ParseConfig("vm1", cartesian.Params{"images": "image1 blank", "image_name": "installed", "create_image_blank": "yes", "image_size_blank": "1M", "image_name_blank": ""})
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, change := range []struct {
		what string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"the image was changed", func() error {
			return os.Chtimes(filepath.Join(shared, "installed.qcow2"), time.Time{}, time.Now().Add(time.Hour))
		}},
		{"its backing file was changed", func() error {
			return os.Chtimes(filepath.Join(shared, "images/counter.raw"), time.Time{}, time.Now().Add(time.Hour))
		}},
		{"another file is in its place", func() error {
			file := filepath.Join(shared, "installed.qcow2")
			return errors.Join(exec.Command("cp", "-p", file, file+".new").Run(), os.Rename(file+".new", file))
		}},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		got, err := vm.IdentifyImages(t.Context(), s.placement, config)
		if err != nil || strings.Count(got, "disk image1: ") != 2 || strings.Contains(got, "blank") {
			t.Fatalf("%s: got %q, %v, want two files of image1", change.what, got, err)
		}
		if got == last {
			t.Errorf("%s: the identity is the same: %s", change.what, got)
		}
		last = got
	}
	if again, err := vm.IdentifyImages(t.Context(), s.placement, config); err != nil || again != last {
		t.Errorf("nothing has changed: got %q, %v, want %q", again, err, last)
	}
	if err := os.Remove(filepath.Join(shared, "images/counter.raw")); err != nil {
		t.Fatal(err)
	}
	if got, err := vm.IdentifyImages(t.Context(), s.placement, config); err == nil {
		t.Errorf("without the backing file: got %q, want an error", got)
	}
}

// The identity of a guest changes with the file of its image's data, too.
func TestIdentifyData(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	data := filepath.Join(b.dir, "shared/data.raw")
	create := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+data+",data_file_raw=on", filepath.Join(b.dir, "shared/installed.qcow2"), "1M")
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config, err := vm.ParseConfig("vm1", cartesian.Params{"images": "image1", "image_name": "installed"})
	if err != nil {
		t.Fatal(err)
	}
	before, err := vm.IdentifyImages(t.Context(), s.placement, config)
	if err != nil || strings.Count(before, "disk image1: ") != 2 {
		t.Fatalf("got %q, %v, want two files of image1", before, err)
	}
	if err := os.Chtimes(data, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if after, err := vm.IdentifyImages(t.Context(), s.placement, config); err != nil || after == before {
		t.Errorf("the data has changed: got %q, %v, want another identity", after, err)
	}
}
