// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
)

// clockPort is the virtio-serial port to which the guest writes its clock stamps. Its
// controller has no other ports, besides the reserved one of a console.
type clockPort struct{}

func clockPorts(_ *Config, v api.Values) []Device {
	if !v.Bool("guest_clock") {
		return nil
	}
	return []Device{clockPort{}}
}

func (clockPort) Settings() []Setting { return []Setting{{Param: "guest_clock", Value: "yes"}} }

func (clockPort) Render(l *Layout) (err error) {
	if l.spec.Clock, err = l.socket("clock"); err != nil {
		return err
	}
	l.device("virtio-serial-pci", append(l.at(slotClock), Property{"id", "clocks"}, Property{"max_ports", 2})...)
	l.device("virtserialport", Property{"bus", "clocks.0"}, Property{"nr", 1}, Property{"chardev", "clock"}, Property{"name", clockwork.PortName})
	return nil
}
