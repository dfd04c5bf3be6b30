// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// IneffectiveParam is a param with the suffix of a VM or a host for which it cannot be set,
// such as mig_speed_vm1: nothing reads it. Suffixes of a VM's devices are left aside, as they are
// also words of other params: cpu_model_8, drive_serial_cd1.
type IneffectiveParam struct {
	Key   string
	Param Param
}

// Suffix is what follows the param's name: _vm1.
func (i IneffectiveParam) Suffix() string { return strings.TrimPrefix(i.Key, i.Param.Name) }

// String says why the suffix has no effect.
func (i IneffectiveParam) String() string {
	var names []string
	for _, kind := range i.Param.Object.outwards() {
		names = append(names, string(kind))
	}
	what := "is for the whole variant"
	if len(names) > 0 {
		what = "can be set for each " + strings.Join(names, ", then ")
	}
	return fmt.Sprintf("%s %s: the suffix %s has no effect", i.Param.Name, what, i.Suffix())
}

// Decides reports whether the param decides what a migration tests.
func (i IneffectiveParam) Decides() bool {
	return i.Param.Object == Variant && i.Param.Reader == "runtime/migration"
}

// IneffectiveParams returns the params whose suffixes are of VMs or hosts for which they
// cannot be set, or not in the order from the inside to the outside, by name.
func IneffectiveParams(params cartesian.Params) []IneffectiveParam {
	kinds := kindsOf(params)
	var all []IneffectiveParam
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if p, ok := Find(key); ok && kinds.ineffective(p, key) {
			all = append(all, IneffectiveParam{key, p})
		}
	}
	return all
}

// outwards are the kinds of objects for which a param of the object can be set, from the
// inside to the outside.
func (o Object) outwards() []Object {
	switch o {
	case Variant:
		return nil
	case Host:
		return []Object{Host}
	case VM:
		return []Object{VM, Host}
	default:
		return []Object{o, VM, Host}
	}
}

// listedBy is the param that names the objects of a kind; hosts are host1, host2, ….
var listedBy = map[Object]string{
	VM: "vms", Image: "images", NIC: "nics", CDROM: "cdroms", Floppy: "floppies", USB: "usbs", USBDev: "usb_devices",
}

// objectKinds are the names of a variant's objects, by their kind.
type objectKinds map[Object]map[string]bool

func kindsOf(params cartesian.Params) objectKinds {
	kinds := objectKinds{}
	for kind, list := range listedBy {
		kinds[kind] = map[string]bool{}
		for key := range params {
			if key == list || strings.HasPrefix(key, list+"_") {
				for _, name := range params.Objects(key) {
					kinds[kind][name] = true
				}
			}
		}
	}
	return kinds
}

func (k objectKinds) has(kind Object, name string) bool {
	return k[kind][name] || kind == Host && isHostLabel(name)
}

// fit reports whether key is the param, or that with suffixes that have an effect.
func (k objectKinds) fit(p Param, key string) bool {
	rest, ok := strings.CutPrefix(key, p.Name)
	return ok && k.chain(rest, p.Object.outwards())
}

// chain reports whether rest is names of objects, each after "_": one of each kind at most,
// in the order of the kinds.
func (k objectKinds) chain(rest string, kinds []Object) bool {
	if rest == "" {
		return true
	}
	rest, ok := strings.CutPrefix(rest, "_")
	if !ok {
		return false
	}
	for i, kind := range kinds {
		for end := len(rest); end > 0; end-- {
			if k.has(kind, rest[:end]) && k.chain(rest[end:], kinds[i+1:]) {
				return true
			}
		}
	}
	return false
}

// ineffective reports whether key is the param with suffixes of its own objects, VMs and hosts
// that have no effect.
func (k objectKinds) ineffective(p Param, key string) bool {
	rest, ok := strings.CutPrefix(key, p.Name)
	if !ok || isFamily(p) || k.chain(rest, p.Object.outwards()) {
		return false
	}
	names := maps.Clone(k[VM])
	maps.Copy(names, k[p.Object])
	return endsInObjects(rest, names)
}

// isFamily reports whether a row is that of params which end in a name of the user's.
func isFamily(p Param) bool { return strings.HasSuffix(p.Name, "*") }
