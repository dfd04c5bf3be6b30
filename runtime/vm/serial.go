// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

const maxSerials = 4

// serialPort is a serial port on the ISA bus; the first one is the console.
type serialPort struct {
	name  string
	index int
}

func serialPorts(_ *Config, v api.Values) []Device {
	var devices []Device
	for i, name := range plainNames(v, "serials", maxSerials) {
		if slices.Contains(fileKinds, name) {
			v.Unfit("serials", "got %q, want another name: %s are reserved", name, strings.Join(fileKinds, ", "))
			continue
		}
		devices = append(devices, &serialPort{name, i})
	}
	return devices
}

func (s *serialPort) Settings() []Setting {
	return []Setting{{Param: "serials", Value: strconv.Itoa(s.index + 1)}}
}

func (s *serialPort) Render(l *Layout) error {
	where, err := l.socket(s.name)
	if err != nil {
		return err
	}
	l.spec.Serials = append(l.spec.Serials, where)
	l.device("isa-serial", Property{"chardev", s.name}, Property{"index", s.index})
	return nil
}
