// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

const maxUSBs = 2 // controllers

// usbController is a USB controller.
type usbController struct {
	name  string // in the param usbs
	index int
	model string // usb_type
}

// ports is how many devices can be plugged into the controller.
func (u *usbController) ports() int {
	if strings.Contains(u.model, "uhci") {
		return 2
	}
	return 4
}

// usbDevice is a tablet, mouse or keyboard on USB.
type usbDevice struct {
	name  string // in the param usb_devices
	model string // usbdev_type
	bus   string // usb1.0
	port  int
}

// usbs are the VM's USB controllers and the devices on them.
func usbs(_ *Config, v api.Values) []Device {
	var devices []Device
	var controllers []*usbController
	for i, name := range plainNames(v, "usbs", maxUSBs) {
		u := &usbController{name: name, index: i, model: v.Object(name).Choice("usb_type")}
		controllers = append(controllers, u)
		devices = append(devices, u)
	}
	used := map[*usbController]int{}
	for _, name := range plainNames(v, "usb_devices", 8) {
		own := v.Object(name)
		d := &usbDevice{name: name, model: own.Choice("usbdev_type"), bus: own.Word("usbdev_bus")}
		on := slices.IndexFunc(controllers, func(u *usbController) bool { return d.bus == "" || d.bus == u.name+".0" })
		if on < 0 {
			own.Unfit("usb_devices", "no USB controller for %s: name one by param usbs, and none or usbs' first with .0 by usbdev_bus", name)
			continue
		}
		u := controllers[on]
		used[u]++
		if used[u] > u.ports() {
			own.Unfit("usb_devices", "no free port on %s, which has %d", u.name, u.ports())
		}
		d.bus, d.port = u.name+".0", used[u]
		devices = append(devices, d)
	}
	return devices
}

func (u *usbController) deviceID() string { return u.name }

func (u *usbController) Settings() []Setting {
	return []Setting{
		{Param: "usbs", Value: u.name},
		{Param: "usb_type", Objects: []string{u.name}, Value: u.model},
	}
}

func (u *usbController) Render(l *Layout) error {
	if u.model == "ich9-usb-ehci1" {
		u.renderCompanions(l)
		return nil
	}
	l.device(u.model, append(l.at(slotFirstUSB+u.index), Property{"id", u.name})...)
	return nil
}

// renderCompanions adds an EHCI controller with the three UHCI controllers that serve
// slow devices on its ports. They are functions of one PCI device; the EHCI controller
// comes first, because the others name its bus.
func (u *usbController) renderCompanions(l *Layout) {
	at := func(function int) []Property {
		return []Property{{"bus", l.bus}, {"addr", fmt.Sprintf("0x%02x.%d", slotFirstUSB+u.index, function)}, {"multifunction", true}}
	}
	l.device(u.model, append(at(7), Property{"id", u.name})...)
	for i := range 3 {
		l.device(fmt.Sprintf("ich9-usb-uhci%d", i+1), append(at(i),
			Property{"id", fmt.Sprintf("%s_uhci%d", u.name, i+1)}, Property{"masterbus", u.name + ".0"}, Property{"firstport", 2 * i})...)
	}
}

func (d *usbDevice) deviceID() string { return d.name }

func (d *usbDevice) Settings() []Setting {
	of := []string{d.name}
	return []Setting{
		{Param: "usb_devices", Value: d.name},
		{Param: "usbdev_type", Objects: of, Value: d.model},
		{Param: "usbdev_bus", Objects: of, Value: d.bus},
	}
}

func (d *usbDevice) Render(l *Layout) error {
	l.device(d.model, Property{"bus", d.bus}, Property{"port", fmt.Sprint(d.port)}, Property{"id", d.name})
	return nil
}
