// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

const maxFloppies = 2 // drives of a PC's controller

// floppy is a floppy drive, with a disk that the guest can write to, or empty. Which
// disk is in it may differ between hosts: scenarios exchange it.
type floppy struct {
	name string // in the param floppies
	unit int
	disk string // floppy_name, or ""
}

func floppies(c *Config, v api.Values) []Device {
	var devices []Device
	for i, name := range plainNames(v, "floppies", maxFloppies) {
		if i == 0 && c.chipset() == "q35" {
			devices = append(devices, floppyController{})
		}
		devices = append(devices, &floppy{name: name, unit: i, disk: v.Object(name).Word("floppy_name")})
	}
	return devices
}

// floppyController is for the chipset that has none.
type floppyController struct{}

func (floppyController) Settings() []Setting { return nil } // those of its drives suffice

func (floppyController) Render(l *Layout) error {
	l.device("isa-fdc", Property{"id", "fdc"})
	return nil
}

func (f *floppy) deviceID() string { return f.name }

func (f *floppy) Settings() []Setting { return []Setting{{Param: "floppies", Value: f.name}} }

func (f *floppy) Render(l *Layout) error {
	properties := []Property{{"unit", f.unit}, {"id", f.name}}
	if f.disk != "" {
		file := resolvePath(l.Placement.BaseDir, f.disk)
		l.spec.Files = append(l.spec.Files, File{"floppy_name_" + f.name, file})
		l.medium(f.name, file)
		properties = append(properties, Property{"drive", "drive_" + f.name})
	}
	l.device("floppy", properties...)
	return nil
}
