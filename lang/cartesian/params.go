// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Params are the settings of one variant: flat text by name.
//
// A setting may be meant for one object only; then the object's name follows the setting's, with "_" between.
// Objects are nested, and their names are appended from the inside to the outside: of a host, then of a VM,
// then of one of its images or NICs. So Params are narrowed from the outside to the inside:
//
//	mem = 512                 all VMs
//	mem_vm1 = 1024            vm1, on every host
//	mem_vm1_host2 = 2048      vm1 on the second host
//	image_size_stg_vm1 = 10G  image stg of vm1
//
//	onHost := params.Object("host2")  // mem = 512, mem_vm1 = 2048
//	vm := onHost.Object("vm1")        // mem = 2048, image_size_stg = 10G
//	image := vm.Object("stg")         // image_size = 10G
//
// What is narrowed last wins: of mem_vm1 and mem_host2, vm1 on host2 gets mem_vm1.
//
// Int, Bool, Seconds and Size return their default when the setting is missing or empty, and an error that names the
// setting and its value when the value makes no sense. Params are an ordinary map: safe for any number of readers.
type Params map[string]string

// Object returns the params as the object called name sees them, as virt-test's object_params does: each setting that
// ends in "_"+name also sets the one without that ending. All other settings stay. The result is a new map.
//
// A setting that has "_"+name further in front too sets what stands before the first: for vm1, note_vm1_on_vm1 sets
// note, unless note_vm1 is there.
func (p Params) Object(name string) Params {
	ending := "_" + name
	narrowed := make(Params, len(p)+len(p)/8)
	maps.Copy(narrowed, p)
	var meant []string
	for key := range p {
		if strings.HasSuffix(key, ending) {
			meant = append(meant, key)
		}
	}
	slices.Sort(meant)
	for _, key := range slices.Backward(meant) { // so that the shortest of those with one base comes last
		base, _, _ := strings.Cut(key, ending)
		narrowed[base] = p[key]
	}
	return narrowed
}

// Source returns the name of the setting that key has after narrowing to the objects, from the outside to the inside:
// Source("smp", "host2", "vm1") may be smp_vm1_host2, smp_vm1, smp_host2, or smp, which is the answer too where there is
// no such setting at all.
func (p Params) Source(key string, objects ...string) string {
	if len(objects) == 0 {
		return key
	}
	outer, inner := objects[:len(objects)-1], objects[len(objects)-1]
	if own := key + "_" + inner; p.sets(own, outer) {
		return p.Source(own, outer...)
	}
	return p.Source(key, outer...)
}

// sets reports whether there is a setting key after narrowing to the objects.
func (p Params) sets(key string, objects []string) bool {
	if len(objects) == 0 {
		_, ok := p[key]
		return ok
	}
	outer, inner := objects[:len(objects)-1], objects[len(objects)-1]
	return p.sets(key+"_"+inner, outer) || p.sets(key, outer)
}

// Objects returns the words of the setting key: names of objects, as in "vms = vm1 vm2". A name that stands there
// several times counts once, at its first place.
func (p Params) Objects(key string) []string {
	var names []string
	for name := range strings.FieldsSeq(p[key]) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Get returns the setting key as it is, or def when it is missing.
func (p Params) Get(key, def string) string {
	if value, ok := p[key]; ok {
		return value
	}
	return def
}

// Int returns the setting key as a whole number.
func (p Params) Int(key string, def int) (int, error) {
	value := strings.TrimSpace(p[key])
	if value == "" {
		return def, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("param %s: got %q, want a whole number", key, p[key])
	}
	return n, nil
}

// Bool returns the setting key as a choice: yes, on, true, 1 or no, off, false, 0, in any case.
func (p Params) Bool(key string, def bool) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(p[key])) {
	case "":
		return def, nil
	case "yes", "on", "true", "1":
		return true, nil
	case "no", "off", "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("param %s: got %q, want yes or no", key, p[key])
}

// Seconds returns the setting key as a time that is not negative: a number of seconds ("240", "1.5") or one with
// units ("1m30s").
func (p Params) Seconds(key string, def time.Duration) (time.Duration, error) {
	value := strings.TrimSpace(p[key])
	if value == "" {
		return def, nil
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if ns := seconds * float64(time.Second); ns >= 0 && ns < math.MaxInt64 {
			return time.Duration(ns), nil
		}
	} else if d, err := time.ParseDuration(value); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("param %s: got %q, want seconds (240, 1.5) or a time with units (1m30s)", key, p[key])
}

// Size returns the setting key in bytes: a number that is not negative and one of the letters B K M G T, by which it is
// multiplied (K is 1024 bytes). A number without a letter counts in units of unit bytes.
func (p Params) Size(key string, def, unit int64) (int64, error) {
	value := strings.TrimSpace(p[key])
	if value == "" {
		return def, nil
	}
	number := value
	if i := strings.IndexByte("BKMGT", upper(value[len(value)-1])); i >= 0 {
		number, unit = strings.TrimSpace(value[:len(value)-1]), 1<<(10*i)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/unit {
		return n * unit, nil
	}
	if f, err := strconv.ParseFloat(number, 64); err == nil {
		if bytes := f * float64(unit); bytes >= 0 && bytes < math.MaxInt64 {
			return int64(bytes), nil
		}
	}
	return 0, fmt.Errorf("param %s: got %q, want a size (512, 64M, 1.5G)", key, p[key])
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
