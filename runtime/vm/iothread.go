// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"github.com/mhmig/mhmig/lang/api"
)

const maxIOThreads = 16

// ioThread is a thread of QEMU that serves disks in place of the main loop. The guest
// does not see it, so that the two ends of a migration may differ.
type ioThread string

func ioThreads(_ *Config, v api.Values) []Device {
	var devices []Device
	for _, name := range plainNames(v, "iothreads", maxIOThreads) {
		devices = append(devices, ioThread(name))
	}
	return devices
}

func (ioThread) Settings() []Setting { return nil }

func (t ioThread) Render(l *Layout) error {
	l.option(Option{Flag: "-object", Kind: "iothread", Properties: []Property{{"id", string(t)}}})
	return nil
}

// hasIOThread reports whether the VM has an I/O thread of this name.
func (c *Config) hasIOThread(name string) bool {
	for _, d := range c.Devices {
		if d == ioThread(name) {
			return true
		}
	}
	return false
}
