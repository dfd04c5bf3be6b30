// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

// pvpanic is the device by which the guest's kernel reports a panic to QEMU.
type pvpanic struct{}

func pvpanics(_ *Config, v api.Values) []Device {
	if !v.Bool("enable_pvpanic") {
		return nil
	}
	return []Device{pvpanic{}}
}

func (pvpanic) deviceID() string { return "pvpanic0" }

func (pvpanic) Settings() []Setting { return []Setting{{Param: "enable_pvpanic", Value: "yes"}} }

func (pvpanic) Render(l *Layout) error {
	l.device("pvpanic", Property{"ioport", 0x505}, Property{"id", "pvpanic0"})
	// QEMU would end by default, and take with it what the guest has last written.
	l.add("-action", "panic=pause")
	return nil
}
