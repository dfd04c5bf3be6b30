// SPDX-License-Identifier: Apache-2.0

package api

import (
	"maps"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// Unread is a param that is not read.
type Unread struct {
	Key     string
	Nearest string // a similar param, or ""
}

// UnreadParams returns the params that neither mhmig nor the scenario reads, sorted by
// name, but for [IneffectiveParams]. read are the names that the scenario has read; reading
// a name also reads its forms with suffixes of objects.
func UnreadParams(params cartesian.Params, read map[string]bool) []Unread {
	objects, kinds := objectNames(params), kindsOf(params)
	var unread []Unread
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if strings.HasPrefix(key, "_") || scenarioReads(key, objects, read) {
			continue
		}
		if _, known := FindUnsupported(key); known {
			continue // reported as unsupported
		}
		if p, ok := Find(key); ok && (isFamily(p) || kinds.fit(p, key) || kinds.ineffective(p, key)) {
			continue
		}
		unread = append(unread, Unread{Key: key, Nearest: nearest(key, objects, kinds)})
	}
	return unread
}

// objectNames are the names of objects that may be suffixes of params.
func objectNames(params cartesian.Params) map[string]bool {
	names := map[string]bool{}
	for _, p := range All() {
		if p.Kind != Names {
			continue
		}
		for key := range params {
			if key == p.Name || strings.HasPrefix(key, p.Name+"_") {
				for _, name := range params.Objects(key) {
					names[name] = true
				}
			}
		}
	}
	return names
}

// isFor reports whether key is name, or that with suffixes of objects.
func isFor(key, name string, objects map[string]bool) bool {
	rest, ok := strings.CutPrefix(key, name)
	return ok && (rest == "" || endsInObjects(rest, objects))
}

// endsInObjects reports whether rest is a chain of names of objects, each after "_".
// Names of hosts are host1, host2, ….
func endsInObjects(rest string, objects map[string]bool) bool {
	if rest == "" {
		return true
	}
	rest, ok := strings.CutPrefix(rest, "_")
	if !ok {
		return false
	}
	for end := len(rest); end > 0; end-- {
		name := rest[:end]
		if (objects[name] || isHostLabel(name)) && endsInObjects(rest[end:], objects) {
			return true
		}
	}
	return false
}

func isHostLabel(name string) bool {
	number, ok := strings.CutPrefix(name, "host")
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

func scenarioReads(key string, objects, read map[string]bool) bool {
	if read[key] {
		return true
	}
	for name := range read {
		if strings.HasPrefix(key, name+"_") && isFor(key, name, objects) {
			return true
		}
	}
	return false
}

// nearest is a param similar to key, "" if there is none.
func nearest(key string, objects map[string]bool, kinds objectKinds) string {
	if p, ok := Find(key); ok { // the name is known, the suffix is not
		rest := strings.TrimPrefix(key, p.Name+"_")
		if p.Object == Variant {
			if diag.Nearest(rest, slices.Sorted(maps.Keys(kinds[VM]))) != "" {
				return p.Name
			}
			return ""
		}
		var names []string
		for _, kind := range p.Object.outwards() {
			names = slices.AppendSeq(names, maps.Keys(kinds[kind]))
		}
		slices.Sort(names)
		if object := diag.Nearest(rest, names); object != "" {
			return p.Name + "_" + object
		}
		return ""
	}
	var names []string
	for _, p := range All() {
		if !strings.HasSuffix(p.Name, "*") {
			names = append(names, p.Name)
		}
	}
	if name := diag.Nearest(key, names); name != "" {
		return name
	}
	for end := strings.LastIndexByte(key, '_'); end > 0; end = strings.LastIndexByte(key[:end], '_') {
		if !endsInObjects(key[end:], objects) {
			continue
		}
		if name := diag.Nearest(key[:end], names); name != "" {
			return name + key[end:]
		}
	}
	return ""
}
