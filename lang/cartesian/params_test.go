// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
)

func TestObject(t *testing.T) {
	t.Parallel()
	p := cartesian.Params{
		"mem": "512", "mem_vm1": "1024", "mem_vm1_host2": "2048", "mem_host2": "256",
		"image_size": "1G", "image_size_stg_vm1": "10G", "other_vm11": "x", "vm1": "y",
		"nic_model": "e1000", "nic_model_nic2": "virtio", "x_host2": "h", "twice_vm1_vm1": "t", "odd_vm1_in_vm1": "o",
		"mem_vm1_in_vm1": "never",
	}
	vm1 := p.Object("host2").Object("vm1")
	tests := []struct {
		name   string
		params cartesian.Params
		key    string
		want   string
	}{
		{"as written", p, "mem", "512"},
		{"one VM", p.Object("vm1"), "mem", "1024"},
		{"one host", p.Object("host2"), "mem", "256"},
		{"one VM on one host", vm1, "mem", "2048"},
		{"VM wins over host", p.Object("host1").Object("vm1"), "mem", "1024"},
		{"image of another VM", p.Object("vm2").Object("stg"), "image_size", "1G"},
		{"image of the VM", vm1.Object("stg"), "image_size", "10G"},
		{"NIC of the VM", vm1.Object("nic2"), "nic_model", "virtio"},
		{"another NIC of the VM", vm1.Object("nic1"), "nic_model", "e1000"},
		{"host", p.Object("host2"), "x", "h"},
		{"another host", p.Object("host1"), "x", ""},
		{"ending twice", vm1, "twice", "t"},
		{"ending in the middle too", vm1, "odd", "o"},
		{"all keys stay", vm1, "mem_vm1", "2048"},
		{"longer names are others", p.Object("vm1"), "other", ""},
		{"the bare name is no ending", p.Object("vm1"), "", ""},
	}
	for _, tt := range tests {
		if got := tt.params[tt.key]; got != tt.want {
			t.Errorf("%s: %s = %q, want %q", tt.name, tt.key, got, tt.want)
		}
	}
	if p["mem"] != "512" {
		t.Error("Object changed its receiver")
	}
	if diff := cmp.Diff([]string{"vm1", "vm2"}, cartesian.Params{"vms": "  vm1\tvm2 vm1"}.Objects("vms")); diff != "" {
		t.Errorf("Objects (-want +got):\n%s", diff)
	}
}

func TestTypedParams(t *testing.T) {
	t.Parallel()
	const failed = "error"
	tests := []struct {
		kind, value string
		want        any
	}{
		{"int", "", 7},
		{"int", " 42 ", 42},
		{"int", "-1", -1},
		{"int", "4x", failed},
		{"int", "1.5", failed},
		{"bool", "", true},
		{"bool", "yes", true},
		{"bool", "On", true},
		{"bool", "1", true},
		{"bool", "no", false},
		{"bool", "off", false},
		{"bool", "FALSE", false},
		{"bool", "0", false},
		{"bool", "maybe", failed},
		{"seconds", "", 7 * time.Second},
		{"seconds", "240", 240 * time.Second},
		{"seconds", "1.5", 1500 * time.Millisecond},
		{"seconds", "1m30s", 90 * time.Second},
		{"seconds", "0", time.Duration(0)},
		{"seconds", "-1", failed},
		{"seconds", "-1s", failed},
		{"seconds", "1e300", failed},
		{"seconds", "NaN", failed},
		{"seconds", "soon", failed},
		{"size", "", int64(7)},
		{"size", "512", int64(512 << 20)},
		{"size", "262136K", int64(262136 << 10)},
		{"size", "64m", int64(64 << 20)},
		{"size", "1.5G", int64(3 << 29)},
		{"size", "2 T", int64(2 << 40)},
		{"size", "9B", int64(9)},
		{"size", "G", failed},
		{"size", "-1G", failed},
		{"size", "99999999999T", failed},
		{"size", "lots", failed},
	}
	for _, tt := range tests {
		p := cartesian.Params{"key": tt.value}
		if tt.value == "" {
			delete(p, "key")
		}
		var got any
		var err error
		switch tt.kind {
		case "int":
			got, err = p.Int("key", 7)
		case "bool":
			got, err = p.Bool("key", true)
		case "seconds":
			got, err = p.Seconds("key", 7*time.Second)
		case "size":
			got, err = p.Size("key", 7, 1<<20)
		}
		if err != nil {
			got = failed
		}
		if got != tt.want {
			t.Errorf("%s %q = %v, %v, want %v", tt.kind, tt.value, got, err, tt.want)
		}
	}
	_, err := cartesian.Params{"smp": "many"}.Int("smp", 1)
	if got, want := err.Error(), `param smp: got "many", want a whole number`; got != want {
		t.Errorf("error = %q, want %q", got, want)
	}
}
