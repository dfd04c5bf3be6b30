// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strconv"
	"strings"
)

// Option is an option of QEMU's command line, or the arguments of the QMP command that
// hot-plugs the same into a running QEMU.
type Option struct {
	Flag       string // -device, -netdev, -blockdev, -chardev or -object
	Kind       string // the device's driver, the netdev's type, …
	Properties []Property
}

// Property is a property of an [Option]. A name with a dot is that of a nested
// property: cache.direct.
type Property struct {
	Name  string
	Value any // string, int or bool
}

// with returns the option with additional properties.
func (o Option) with(properties ...Property) Option {
	o.Properties = append(append([]Property(nil), o.Properties...), properties...)
	return o
}

// Argument is the option's value on the command line.
func (o Option) Argument() string {
	var b strings.Builder
	if o.Flag == "-blockdev" {
		b.WriteString("driver=")
	}
	b.WriteString(o.Kind)
	for _, p := range o.Properties {
		b.WriteString("," + p.Name + "=" + p.text())
	}
	return b.String()
}

func (p Property) text() string {
	switch v := p.Value.(type) {
	case bool:
		if v {
			return "on"
		}
		return "off"
	case int:
		return strconv.Itoa(v)
	default:
		return escape(fmt.Sprint(v))
	}
}

// QMP is the command that hot-plugs the same into a running QEMU: device_add,
// netdev_add, blockdev-add, chardev-add or object-add.
func (o Option) QMP() (command string, arguments map[string]any) {
	arguments = map[string]any{}
	for _, p := range o.Properties {
		group, name, nested := strings.Cut(p.Name, ".")
		switch {
		case p.Name == "hostfwd": // a list of structs
			list, _ := arguments[p.Name].([]map[string]any)
			arguments[p.Name] = append(list, map[string]any{"str": p.Value})
		case nested:
			inner, ok := arguments[group].(map[string]any)
			if !ok {
				inner = map[string]any{}
				arguments[group] = inner
			}
			inner[name] = p.Value
		default:
			arguments[p.Name] = p.Value
		}
	}
	switch o.Flag {
	case "-netdev":
		arguments["type"] = o.Kind
		return "netdev_add", arguments
	case "-blockdev":
		arguments["driver"] = o.Kind
		return "blockdev-add", arguments
	case "-object":
		arguments["qom-type"] = o.Kind
		return "object-add", arguments
	case "-chardev":
		return "chardev-add", map[string]any{"id": arguments["id"], "backend": map[string]any{
			"type": o.Kind,
			"data": map[string]any{
				"addr":   map[string]any{"type": "unix", "data": map[string]any{"path": arguments["path"]}},
				"server": arguments["server"], "wait": arguments["wait"],
			},
		}}
	default:
		arguments["driver"] = o.Kind
		return "device_add", arguments
	}
}

// escape escapes a value for QEMU's comma-separated options.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }
