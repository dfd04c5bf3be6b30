// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
)

var update = flag.Bool("update", false, "rewrite the files that are compared with")

// The committed reference is what the registry says.
func TestParamsReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var now bytes.Buffer
	if err := api.WriteParams(&now); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("PARAMS.md", now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("PARAMS.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), now.String()); diff != "" {
		t.Errorf("PARAMS.md is stale (- committed, + now); go test ./lang/api -run Reference -update\n%s", diff)
	}
}

// Each row says what its param is, and its default is one of its values.
func TestRows(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range api.All() {
		switch {
		case names[p.Name]:
			t.Errorf("%s: stands there twice", p.Name)
		case p.Doc == "" || !strings.HasSuffix(p.Doc, "."):
			t.Errorf("%s: doc %q, want a sentence", p.Name, p.Doc)
		case p.Reader == "" || p.Object == "":
			t.Errorf("%s: no reader or object", p.Name)
		case p.Kind == api.Choice && !slices.Contains(p.Choices, p.Default):
			t.Errorf("%s: default %q is none of %q", p.Name, p.Default, p.Choices)
		case p.Kind == api.Size && p.Unit == "":
			t.Errorf("%s: a size without a unit", p.Name)
		}
		names[p.Name] = true
		for other, ours := range p.Spellings {
			if slices.Contains(p.Choices, other) || !slices.Contains(p.Choices, ours) {
				t.Errorf("%s: %s for %s", p.Name, other, ours)
			}
		}
		v := api.Read(cartesian.Params{})
		v.Check(p)
		if err := v.Err(); err != nil {
			t.Errorf("the default of %s: %v", p.Name, err)
		}
	}
	for _, u := range api.UnsupportedParams() {
		if names[u.Name] {
			t.Errorf("%s: supported and unsupported", u.Name)
		}
		names[u.Name] = true
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"mem": "mem", "mem_vm1": "mem", "mem_vm1_host2": "mem", "image_size_stg_vm1": "image_size", "guest_port_web": "guest_port_*",
		"kill_vm": "kill_vm", "kill_vm_on_error": "kill_vm_on_error", "men": "", "memory_work": "", "images_base_dir_host2": "images_base_dir",
	} {
		if p, _ := api.Find(key); p.Name != want {
			t.Errorf("Find(%q) = %q, want %q", key, p.Name, want)
		}
	}
}

func TestUnreadParams(t *testing.T) {
	t.Parallel()
	params := cartesian.Params{
		"name": "x", "vms": "vm1", "images_vm1": "stg", "mem": "1", "mem_vm1_host12": "1", "image_size_stg_vm1": "1G", "guest_port_web": "80",
		"men": "1", "mig_sped": "3", "mem_vm2": "1", "mem_vm1_hots2": "1", "smpp_vm1": "2",
		"mig_speed_vm1": "1", "mig_speed_vm2": "1", "qemu_binary_stg_vm1": "x", "image_size_stg_host2": "1G", "image_size_vm1_stg": "1", "drive_serial_cd1": "x", "serials": "con", "mem_con": "1",
		"cdroms": "cd1", "mine": "1", "mine_vm1": "2", "mine_too": "3", "unknown_to_all": "1", "_short_name_map_file": "x",
	}
	want := []api.Unread{
		{"drive_serial_cd1", ""}, {"mem_con", ""}, {"mem_vm1_hots2", ""}, {"mem_vm2", "mem_vm1"}, {"men", "mem"}, {"mig_sped", "mig_speed"}, {"mig_speed_vm2", "mig_speed"}, {"mine_too", ""}, {"qemu_binary_stg_vm1", ""}, {"smpp_vm1", "smp_vm1"}, {"unknown_to_all", ""},
	}
	got := api.UnreadParams(params, map[string]bool{"mine": true})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var ineffective []string // which are told for themselves
	for _, p := range api.IneffectiveParams(params) {
		ineffective = append(ineffective, p.String())
	}
	if diff := cmp.Diff([]string{
		"image_size can be set for each image, then VM, then host: the suffix _vm1_stg has no effect",
		"mig_speed is for the whole variant: the suffix _vm1 has no effect",
	}, ineffective); diff != "" {
		t.Error(diff)
	}
}
