// SPDX-License-Identifier: Apache-2.0

// Package api describes, as data, the params of configs and the builtins of scenarios.
//
// For configs it has the params that mhmig supports, with their types, units,
// defaults and meaning, and those of virt-test that it does not support yet.
// Everything that reads, checks or explains params uses these tables: the typed
// readers of the runtime ([Values]), exec --dry-run, the warnings about unread params,
// and the reference.
//
// For scenarios it has the functions ([Functions]) and the types of values
// ([Classes]) of package builtins, for tools that explain, complete or check scenarios
// without running them.
//
// The tables never change; all functions may be called from any goroutine.
// [Values] belongs to one goroutine.
package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/diag"
)

// Kind is the type of a param.
type Kind string

// The kinds of params.
const (
	Text    Kind = "text"
	Word    Kind = "word"    // text without blanks around it
	Names   Kind = "names"   // of objects, separated by blanks
	Number  Kind = "number"  // a whole number
	Bool    Kind = "bool"    // yes or no
	Seconds Kind = "seconds" // 240, 1.5 or 1m30s
	Size    Kind = "size"    // 512, 64M, 1.5G
	Choice  Kind = "choice"  // one of a fixed set of words
	Port    Kind = "port"    // a TCP port
	Ports   Kind = "ports"   // a TCP port, a range of them such as 5200-5899, or 0 for any
	Pattern Kind = "pattern" // a regular expression
)

// Object is the innermost kind of object for which a param may be set separately, by a
// suffix with the object's name: mem_vm1, image_size_stg_vm1, qemu_binary_host2. A param
// of an image may be set for its VM and its host too.
type Object string

// The objects of params.
const (
	Variant Object = "variant" // for the whole variant only
	Host    Object = "host"
	VM      Object = "VM"
	Image   Object = "image"
	NIC     Object = "NIC"
	CDROM   Object = "CD-ROM drive"
	Floppy  Object = "floppy drive"
	USB     Object = "USB controller"
	USBDev  Object = "USB device"
)

// Param is a row of the registry.
type Param struct {
	Name    string
	Kind    Kind
	Unit    string   // the unit of a number without suffix: "MiB", "bytes"; "" if the kind implies it
	Min     int      // of a Number
	Max     int      // of a Number; 0: any
	Default string   // "" for none
	Choices []string // of a Choice
	// Shortest and Longest limit a time; 0: any.
	Shortest, Longest time.Duration
	// PowerOfTwo is the smallest value of a Size that must be a power of two; 0: any size.
	PowerOfTwo int64
	// Spellings are virt-test's other names of choices.
	Spellings map[string]string
	Object    Object
	Reader    string // the package that reads it
	Doc       string
}

// Limits says between what a number or a time must be, or that a size must be a power of
// two; "" where any value is allowed that the kind has.
func (p Param) Limits() string {
	switch {
	case p.Max > 0:
		return fmt.Sprintf("%d to %d", p.Min, p.Max)
	case p.Longest > 0:
		return fmt.Sprintf("%v to %v seconds", p.Shortest.Seconds(), p.Longest.Seconds())
	case p.PowerOfTwo > 0:
		return fmt.Sprintf("a power of two, %d at least", p.PowerOfTwo)
	}
	return ""
}

// Unsupported is a param of virt-test that mhmig knows and does not support yet.
type Unsupported struct {
	Name   string
	Effect string   // what would be different if mhmig supported it
	Same   []string // values that match what mhmig does anyway, in addition to "", no, none and off
}

// Differs reports whether the value asks for something else than what mhmig does.
func (u Unsupported) Differs(value string) bool {
	value = strings.ToLower(strings.TrimSpace(value))
	return !slices.Contains([]string{"", "no", "none", "off", "false"}, value) && !slices.Contains(u.Same, value)
}

var byName = sync.OnceValue(func() map[string]*Param {
	m := make(map[string]*Param, len(params))
	for i := range params {
		m[params[i].Name] = &params[i]
	}
	return m
})

// All returns the rows of all params that mhmig supports, in the order of the
// reference.
func All() []Param { return slices.Clone(params) }

// UnsupportedParams returns the params of virt-test that mhmig does not support yet.
func UnsupportedParams() []Unsupported { return slices.Clone(unsupported) }

// Find returns the param that key sets: key is a param's name, or that with suffixes of
// objects (mem_vm1_host2). It returns false if there is none. A family of params that
// end in a name chosen by the user (guest_port_NAME) has one row whose name ends in "*".
func Find(key string) (Param, bool) {
	for name := key; ; {
		if p, ok := byName()[name]; ok {
			return *p, true
		}
		cut := strings.LastIndexByte(name, '_')
		if cut < 0 {
			return Param{}, false
		}
		name = name[:cut]
		if p, ok := byName()[name+"_*"]; ok {
			return *p, true
		}
	}
}

// NearestParam returns the key that was probably meant by key, which neither the registry
// nor own has, with its suffixes of objects; "" when the key is known, or similar to
// none.
func NearestParam(key string, own []string) string {
	if _, known := Find(key); known || slices.Contains(own, key) {
		return ""
	}
	if _, known := FindUnsupported(key); known {
		return ""
	}
	names := slices.Clone(own)
	for _, p := range params {
		names = append(names, p.Name)
	}
	// Without the suffixes first: they are not checked here.
	ends := []int{len(key)}
	for end := len(key); numberedObject.MatchString(key[:end]); ends = append(ends, end) {
		end = strings.LastIndexByte(key[:end], '_')
	}
	for _, end := range slices.Backward(ends) {
		name, objects := key[:end], key[end:]
		near := diag.Nearest(name, names)
		if near != "" && strings.TrimRight(near, digits) != strings.TrimRight(name, digits) { // key2 next to key1 is not a typo
			return near + objects
		}
	}
	return ""
}

const digits = "0123456789"

// numberedObject matches a key with a suffix like a usual object name: vm1, host2.
var numberedObject = regexp.MustCompile(`^.{3,}_[a-z]+[0-9]+$`)

// FindUnsupported returns the param of virt-test that key sets, if mhmig does not support
// it.
func FindUnsupported(key string) (Unsupported, bool) {
	for _, u := range unsupported {
		if key == u.Name || strings.HasPrefix(key, u.Name+"_") {
			return u, true
		}
	}
	return Unsupported{}, false
}
