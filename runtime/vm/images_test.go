// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// imageFacts are qemu-img's words on an image.
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

// prepareImages makes the disks of a VM of these params.
func (s *site) prepareImages(name string, p cartesian.Params) (*vm.Images, error) {
	c, err := vm.ParseConfig(name, p)
	if err != nil {
		return nil, err
	}
	return vm.PrepareImages(s.bed.t.Context(), s.place, c)
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
		made("overlay"):                          {"qcow2", 1 << 20, "../images/counter.raw"}, // relative: hosts may mount it anywhere
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

// After an error nothing is left, not even what went well before it.
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
