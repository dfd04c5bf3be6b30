// SPDX-License-Identifier: Apache-2.0

package stdlib_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/stdlib"
)

func expand(t *testing.T, o cartesian.Options, statements ...string) []*cartesian.Variant {
	t.Helper()
	c, err := cartesian.ParseFS(stdlib.FS, stdlib.DefaultConfig, statements...)
	if err != nil {
		t.Fatal(err)
	}
	var variants []*cartesian.Variant
	for v, err := range c.Variants(t.Context(), o) {
		if err != nil {
			t.Fatal(err)
		}
		variants = append(variants, v)
	}
	return variants
}

var defaults = cartesian.Options{Defaults: true}

func TestFiltersPickGuests(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		statements []string
		want       []string // short names
	}{
		{"no filter", nil, []string{"multihost_migration"}},
		{"the default by name", []string{"only JeOS"}, []string{"multihost_migration"}},
		{"the seed's filter", []string{"only RHEL.6.4.x86_64"}, []string{"multihost_migration.RHEL.6.4.x86_64"}},
		{
			"with the test",
			[]string{"only multihost_migration..Ubuntu.22.04"},
			[]string{"multihost_migration.Ubuntu.22.04.x86_64"},
		},
		{"the default of a family", []string{"only Debian"}, []string{"multihost_migration.Debian"}},
		{"another of that family", []string{"only Debian.13"}, []string{"multihost_migration.Debian.13.x86_64"}},
		{
			"two versions",
			[]string{"only Debian.11.i386, Fedora.41"},
			[]string{"multihost_migration.Fedora.41.x86_64", "multihost_migration.Debian.11.i386"},
		},
		{"a family", []string{"only RHEL", "no i386", "no RHEL.9"}, []string{
			"multihost_migration.RHEL.5.11.x86_64", "multihost_migration.RHEL.6.3.x86_64",
			"multihost_migration.RHEL.6.4.x86_64", "multihost_migration.RHEL.6.10.x86_64",
			"multihost_migration.RHEL.7.9.x86_64", "multihost_migration.RHEL.8.10.x86_64",
		}},
		{"nothing", []string{"only RHEL.6.5"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, v := range expand(t, defaults, tt.statements...) {
				got = append(got, v.ShortName)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("short names (-want +got):\n%s", diff)
			}
		})
	}
}

// Configs whose scenarios move a guest from one host to another take no third host from the
// other variants.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	for _, config := range []string{"matrix", "transports", "versions"} {
		c, err := cartesian.ParseFS(stdlib.FS, "cfg/"+config+".cfg")
		if err != nil {
			t.Fatal(err)
		}
		for v, err := range c.Variants(t.Context(), defaults) {
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Params["hosts_needed"]; got != "2" {
				t.Errorf("%s: %s: hosts_needed is %q, want 2", config, v.ShortName, got)
				break
			}
		}
	}
}

func TestDefaultVariant(t *testing.T) {
	t.Parallel()
	variants := expand(t, defaults)
	if len(variants) != 1 {
		t.Fatalf("got %d variants, want 1", len(variants))
	}
	v := variants[0]
	if got, want := v.Name, "multihost_migration.Linux.JeOS"; got != want {
		t.Errorf("name = %q, want %q", got, want)
	}
	want := map[string]string{
		"vms": "vm1 vm2", "main_vm": "vm1", "mem": "128", "type": "multihost_migration",
		"username": "root", "images": "image1", "create_image": "yes", "nics": "nic1", "nic_mode": "user",
		"mig_protocol": "tcp", "mig_second_delay": "20", "images_base_dir": "/var/lib/virt_test",
		"accel": "auto", "tcg_dirty_guard": "auto", "machine_type": "pc",
	}
	for key, value := range want {
		if got := v.Params[key]; got != value {
			t.Errorf("%s = %q, want %q", key, got, value)
		}
	}
	for _, key := range []string{"kernel", "initrd", "kernel_params", "password", "shell_prompt"} {
		if v.Params[key] == "" {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestSeedsGuest(t *testing.T) {
	t.Parallel()
	variants := expand(t, defaults, "only RHEL.6.4.x86_64", "mem_vm2 = 512")
	if len(variants) != 1 {
		t.Fatalf("got %d variants, want 1", len(variants))
	}
	p := variants[0].Params
	want := map[string]string{"image_name": "images/rhel64-64", "image_format": "qcow2", "mem": "1024", "create_image": "no", "kernel": ""}
	for key, value := range want {
		if got := p[key]; got != value {
			t.Errorf("%s = %q, want %q", key, got, value)
		}
	}
	if got := p.Object("vm2")["mem"]; got != "512" {
		t.Errorf("mem of vm2 = %q, want 512", got)
	}
}

// TestWholeSet reads the params of every variant as the runtime does.
func TestWholeSet(t *testing.T) {
	t.Parallel()
	variants := expand(t, cartesian.Options{})
	if got, want := len(variants), 25; got != want {
		t.Errorf("got %d variants, want %d", got, want)
	}
	names := map[string]bool{}
	for _, v := range variants {
		if names[v.Name] {
			t.Errorf("two variants are called %s", v.Name)
		}
		names[v.Name] = true
		p := v.Params
		for _, key := range slices.Sorted(maps.Keys(p)) {
			var err error
			switch {
			case strings.HasSuffix(key, "_timeout"), strings.HasSuffix(key, "_delay"), key == "mig_downtime":
				_, err = p.Seconds(key, time.Second)
			case key == "mem", key == "image_size", key == "mig_speed":
				_, err = p.Size(key, 0, 1<<20)
			case key == "smp", key == "shell_port":
				_, err = p.Int(key, 0)
			case strings.HasPrefix(key, "kill_vm"), strings.HasSuffix(key, "create_image"), key == "image_overlay",
				key == "start_vm", key == "mig_offline":
				_, err = p.Bool(key, false)
			}
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
		for _, vm := range p.Objects("vms") {
			image := p.Object(vm).Object("image1")
			if (image["image_name"] == "") == (image["create_image"] == "no") {
				t.Errorf("%s: %s has no image: image_name = %q, create_image = %q", v.Name, vm, image["image_name"], image["create_image"])
			}
		}
		if p["type"] == "" || p["username"] == "" || p["password"] == "" {
			t.Errorf("%s: type, username or password is missing", v.Name)
		}
	}
}

// What the shipped config sets is in the registry, with the same default, so that a
// config of one's own that sets nothing means the same.
func TestBaseConfigMatchesRegistry(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"cfg/base.cfg", "cfg/host.cfg"} {
		c, err := cartesian.ParseFS(stdlib.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		for v, err := range c.Variants(t.Context(), cartesian.Options{}) {
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range v.Params {
				p, known := api.Find(key)
				switch {
				case strings.HasPrefix(key, "_"):
				case !known || p.Name != key:
					t.Errorf("%s: %s is not in the registry", file, key)
				case p.Default != "" && p.Default != value:
					t.Errorf("%s: %s = %s, but the registry has %s", file, key, value, p.Default)
				}
			}
		}
	}
}
