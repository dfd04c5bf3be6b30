// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Type is what a parameter accepts.
type Type struct {
	Want string // its name in errors and in the reference: "list of VM names"
	Name string // in the notation of api.Builtin: "list[string | vm]"
	// Unpack converts v to a Go value. nil means that v has the wrong type; other errors
	// are returned.
	Unpack func(t *task.Task, v starlark.Value) (any, error)
	// Choices are all strings that it accepts, if they are so few.
	Choices []string
}

// The types of parameters, by the Go type they unpack to.
var (
	// String unpacks to string.
	String = Type{Want: "string", Name: "string", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if s, ok := starlark.AsString(v); ok {
			return s, nil
		}
		return nil, nil
	}}
	// Content unpacks a string or bytes to string.
	Content = Type{Want: "string or bytes", Name: "string | bytes", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if b, ok := v.(starlark.Bytes); ok {
			return string(b), nil
		}
		return String.Unpack(nil, v)
	}}
	// Int unpacks to int.
	Int = Type{Want: "int", Name: "int", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if n, ok := v.(starlark.Int); ok {
			i, err := starlark.AsInt32(n)
			return i, err
		}
		return nil, nil
	}}
	// Bool unpacks to bool.
	Bool = Type{Want: "True or False", Name: "bool", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if b, ok := v.(starlark.Bool); ok {
			return bool(b), nil
		}
		return nil, nil
	}}
	// Seconds unpacks to time.Duration.
	Seconds = Type{Want: `seconds (a number, or a string such as "1m30s")`, Name: "int | float | string", Unpack: unpackSeconds}
	// Bytes unpacks to int64.
	Bytes = Type{Want: `bytes (an int, or a string such as "64M")`, Name: "int | string", Unpack: unpackBytes}
	// Function unpacks to starlark.Callable, whose arguments the builtin documents.
	Function = Type{Want: "function", Name: "function", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if f, ok := v.(starlark.Callable); ok {
			return f, nil
		}
		return nil, nil
	}}
	// Hook is a Function that is called with a migration.
	Hook = calledWith("mig")
	// FunctionList unpacks to []starlark.Callable.
	FunctionList = Type{Want: "list of functions", Name: "list[function()]", Unpack: unpackFunctions}
	// Strings unpacks to []string.
	Strings = Type{Want: "list of strings", Name: "list[string]", Unpack: unpackStrings}
	// Any unpacks to starlark.Value.
	Any = Type{Want: "any value", Name: "any", Unpack: func(_ *task.Task, v starlark.Value) (any, error) { return v, nil }}
	// Params unpacks to cartesian.Params.
	Params = Type{Want: "dict of params", Name: "dict[string, any] | params", Unpack: unpackParams}
	// Host unpacks to *testbed.Host.
	Host = Type{Want: "host, or its name", Name: "host | string", Unpack: toHost}
	// Hosts unpacks to []*testbed.Host.
	Hosts = Type{Want: "list of hosts, or of their names", Name: "list[host | string]", Unpack: unpackHosts}
	// MigrationStatus unpacks to string, a status that QEMU has: waiting for another would never end.
	MigrationStatus = Type{Want: "a migration's status", Name: "string", Unpack: unpackStatus, Choices: statuses}
	// EventName unpacks to string. QEMU may have more events than are known here.
	EventName = Type{Want: "a QMP event's name", Name: "string", Unpack: unpackEvent}
	// Migration unpacks to *running.
	Migration = Type{Want: "migration", Name: "mig", Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		if o, ok := v.(*object); ok && o.class.Name == "mig" {
			return o.self.(migKey).running, nil
		}
		return nil, nil
	}}
	// VMs unpacks to []string, names of VMs of this variant.
	VMs = Type{Want: "list of VM names", Name: "list[string | vm]", Unpack: unpackVMs}
)

// oneOf unpacks to string, one of the choices.
func oneOf(choices ...string) Type {
	return Type{Want: strings.Join(choices, " or "), Name: "string", Choices: choices, Unpack: func(_ *task.Task, v starlark.Value) (any, error) {
		choice, ok := starlark.AsString(v)
		switch {
		case !ok:
			return nil, nil
		case !slices.Contains(choices, choice):
			return nil, fmt.Errorf("got %q, want %s", choice, strings.Join(choices, " or "))
		}
		return choice, nil
	}}
}

// calledWith is Function with the types of its arguments.
func calledWith(types string) Type {
	f := Function
	f.Name = "function(" + types + ")"
	return f
}

// statuses are those that QEMU's migrations have.
var statuses = func() (all []string) {
	for _, s := range qmp.MigrationStatuses {
		all = append(all, string(s))
	}
	return all
}()

func unpackStatus(_ *task.Task, v starlark.Value) (any, error) {
	status, ok := starlark.AsString(v)
	switch near := diag.Nearest(status, statuses); {
	case !ok:
		return nil, nil
	case slices.Contains(statuses, status):
		return status, nil
	case near != "":
		return nil, fmt.Errorf("no status %q; did you mean %q?", status, near)
	}
	return nil, fmt.Errorf("no status %q, only %s", status, strings.Join(statuses, ", "))
}

// events are QEMU's events, for suggestions.
var events = []string{
	"ACPI_DEVICE_OST", "BALLOON_CHANGE", "BLOCK_IO_ERROR", "BLOCK_JOB_CANCELLED", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_ERROR",
	"BLOCK_JOB_READY", "DEVICE_DELETED", "DEVICE_TRAY_MOVED", "DEVICE_UNPLUG_GUEST_ERROR", "FAILOVER_NEGOTIATED",
	"GUEST_CRASHLOADED", "GUEST_PANICKED", "JOB_STATUS_CHANGE", "MIGRATION", "MIGRATION_PASS", "NIC_RX_FILTER_CHANGED",
	"POWERDOWN", "RESET", "RESUME", "RTC_CHANGE", "SHUTDOWN", "STOP", "SUSPEND", "SUSPEND_DISK", "UNPLUG_PRIMARY",
	"VSERPORT_CHANGE", "WAKEUP", "WATCHDOG",
}

func unpackEvent(_ *task.Task, v starlark.Value) (any, error) {
	name, ok := starlark.AsString(v)
	if !ok {
		return nil, nil
	}
	if near := diag.Nearest(name, events); near != "" && !slices.Contains(events, name) {
		return nil, fmt.Errorf("no event %q; did you mean %q?", name, near)
	}
	return name, nil
}

func unpackSeconds(_ *task.Task, v starlark.Value) (any, error) {
	var seconds float64
	switch v := v.(type) {
	case starlark.Int, starlark.Float:
		seconds, _ = starlark.AsFloat(v)
	case starlark.String:
		if d, err := time.ParseDuration(string(v)); err == nil {
			seconds = d.Seconds()
		} else if seconds, err = strconv.ParseFloat(string(v), 64); err != nil {
			return nil, nil //nolint:nilerr // it has the wrong type, which Want describes better
		}
	default:
		return nil, nil
	}
	ns := seconds * float64(time.Second)
	if !(ns >= 0 && ns < math.MaxInt64) { // so written, NaN is none; MaxInt64 as a float is one more, which is no Duration
		return nil, fmt.Errorf("%v is not a valid time", v)
	}
	return time.Duration(ns), nil
}

func unpackBytes(_ *task.Task, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Int:
		if n, ok := v.Int64(); ok && n >= 0 {
			return n, nil
		}
		return nil, fmt.Errorf("%v is not a valid size", v)
	case starlark.String:
		n, err := cartesian.Params{"size": string(v)}.Size("size", 0, 1)
		if err != nil {
			return nil, nil //nolint:nilerr // it has the wrong type, which Want describes better
		}
		return n, nil
	}
	return nil, nil
}

func unpackFunctions(_ *task.Task, v starlark.Value) (any, error) {
	items, ok := toSlice(v)
	if !ok {
		return nil, nil
	}
	var functions []starlark.Callable
	for _, item := range items {
		f, ok := item.(starlark.Callable)
		if !ok {
			return nil, fmt.Errorf("got %s in the list, want functions", describe(item))
		}
		functions = append(functions, f)
	}
	return functions, nil
}

func unpackStrings(_ *task.Task, v starlark.Value) (any, error) {
	items, ok := toSlice(v)
	if !ok {
		return nil, nil
	}
	var texts []string
	for _, item := range items {
		text, ok := starlark.AsString(item)
		if !ok {
			return nil, fmt.Errorf("got %s in the list, want strings", describe(item))
		}
		texts = append(texts, text)
	}
	return texts, nil
}

func unpackParams(_ *task.Task, v starlark.Value) (any, error) {
	mapping, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, nil
	}
	params := cartesian.Params{}
	for _, item := range mapping.Items() {
		key, isString := starlark.AsString(item[0])
		if !isString {
			return nil, fmt.Errorf("got key %s, want names of params", describe(item[0]))
		}
		params[key] = paramText(item[1])
	}
	return params, nil
}

// paramText formats a value as in a config: a list as words, None as "".
func paramText(v starlark.Value) string { return paramTextIn(v, nil) }

// paramTextIn formats a value that is in these lists; one that is in itself ends there.
func paramTextIn(v starlark.Value, lists []*starlark.List) string {
	if list, isList := v.(*starlark.List); isList {
		if slices.Contains(lists, list) {
			return "[...]" // as Starlark writes it
		}
		lists = append(lists, list)
	}
	if items, ok := toSlice(v); ok {
		words := make([]string, len(items))
		for i, item := range items {
			words[i] = paramTextIn(item, lists)
		}
		return strings.Join(words, " ")
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return ""
	case starlark.String:
		return string(v)
	case starlark.Bool:
		if v {
			return "yes"
		}
		return "no"
	default:
		return v.String()
	}
}

func toHost(t *task.Task, v starlark.Value) (any, error) {
	if o, ok := v.(*object); ok && o.class.Name == "host" {
		return o.self.(*testbed.Host), nil
	}
	if name, ok := starlark.AsString(v); ok {
		bed := stateOf(t).bed
		if h := bed.Host(name); h != nil {
			return h, nil
		}
		return nil, fmt.Errorf("no host %q; there are %s", name, strings.Join(bed.HostNames(), ", "))
	}
	return nil, nil
}

func unpackHosts(t *task.Task, v starlark.Value) (any, error) {
	items, ok := toSlice(v)
	if !ok {
		return nil, nil
	}
	var hosts []*testbed.Host
	for _, item := range items {
		h, err := toHost(t, item)
		if err != nil {
			return nil, err
		}
		if h == nil {
			return nil, fmt.Errorf("got %s in the list, want hosts", describe(item))
		}
		hosts = append(hosts, h.(*testbed.Host))
	}
	return hosts, nil
}

func unpackVMs(t *task.Task, v starlark.Value) (any, error) {
	items, ok := toSlice(v)
	if !ok {
		return nil, nil
	}
	known := stateOf(t).bed.VMs()
	var names []string
	for _, item := range items {
		var name string
		switch item := item.(type) {
		case starlark.String:
			name = string(item)
		case *object:
			if item.class.Name == "vm" {
				name = item.self.(*vmHandle).name
			}
		}
		if name == "" {
			return nil, fmt.Errorf("got %s in the list, want VM names", describe(item))
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no VM %q; the param vms has %s", name, cmp.Or(strings.Join(known, ", "), "none"))
		}
		names = append(names, name)
	}
	return names, nil
}

// toSlice returns the items of a list or tuple.
func toSlice(v starlark.Value) ([]starlark.Value, bool) {
	switch v := v.(type) {
	case *starlark.List:
		items := make([]starlark.Value, v.Len())
		for i := range items {
			items[i] = v.Index(i)
		}
		return items, true
	case starlark.Tuple:
		return v, true
	}
	return nil, false
}
