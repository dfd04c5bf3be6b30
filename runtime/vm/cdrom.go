// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"slices"

	"github.com/mhmig/mhmig/lang/api"
)

const (
	maxCDROMs = 4
	// firstCDROM is the SCSI id of the first CD-ROM drive; disks have those below.
	firstCDROM = 16
)

// cdrom is a CD-ROM drive, with a disc or empty. Which disc is in it may differ between
// hosts: scenarios exchange it.
type cdrom struct {
	name  string // in the param cdroms
	index int
	bus   string // cd_format: ide, ahci or scsi
	unit  int    // on the bus
	disc  string // the param cdrom, or ""
}

// cdroms are the VM's CD-ROM drives, after the controllers that they need and its disks
// do not.
func cdroms(c *Config, v api.Values) []Device {
	var drives, controllers []Device
	for i, name := range plainNames(v, "cdroms", maxCDROMs) {
		own := v.Object(name)
		d := &cdrom{name: name, index: i, bus: chipsetBus(own.Choice("cd_format"), c.chipset()), disc: own.Word("cdrom")}
		if !d.takeUnit(c, drives) {
			limit, _ := controllerLimit(d.bus, c.chipset())
			own.Unfit("cd_format", "no free place on %s, which allows %d disks and CD-ROM drives", d.bus, limit)
		}
		if d.bus != "ide" && !hasController(c.Devices, d.bus) && !hasController(controllers, d.bus) {
			controllers = append(controllers, &controller{bus: d.bus})
		}
		drives = append(drives, d)
	}
	return append(controllers, drives...)
}

// takeUnit gives the drive a place on its bus; false if there is none. CD-ROM drives
// count from the end, so that their places do not depend on the number of disks; on a
// PC's IDE they begin with the master of the second channel.
func (d *cdrom) takeUnit(c *Config, drives []Device) bool {
	limit, limited := controllerLimit(d.bus, c.chipset())
	if !limited {
		d.unit = firstCDROM + d.index
		return true
	}
	places := []int{5, 4, 3, 2, 1, 0}
	if limit == 4 {
		places = []int{2, 3, 1, 0}
	}
	for _, place := range places {
		taken := func(device Device) bool {
			switch o := device.(type) {
			case *disk:
				return o.bus == d.bus && o.unit == place
			case *cdrom:
				return o.bus == d.bus && o.unit == place
			}
			return false
		}
		if !slices.ContainsFunc(c.Devices, taken) && !slices.ContainsFunc(drives, taken) {
			d.unit = place
			return true
		}
	}
	return false
}

func (d *cdrom) deviceID() string { return d.name }

func (d *cdrom) Settings() []Setting {
	return []Setting{
		{Param: "cdroms", Value: d.name},
		{Param: "cd_format", Objects: []string{d.name}, Value: d.bus},
	}
}

func (d *cdrom) Render(l *Layout) error {
	driver, where := "ide-cd", idePort(d.bus, d.unit, l.chipset)
	if d.bus == "scsi" {
		driver, where = "scsi-cd", []Property{{"bus", "scsi.0"}, {"scsi-id", d.unit}}
	}
	where = append(where, Property{"id", d.name})
	if d.disc != "" {
		disc := resolvePath(l.Placement.BaseDir, d.disc)
		l.spec.Files = append(l.spec.Files, File{"cdrom_" + d.name, disc})
		l.medium(d.name, disc, Property{"read-only", true})
		where = append(where, Property{"drive", "drive_" + d.name})
	}
	l.device(driver, where...)
	return nil
}

// medium adds the block nodes of a raw image for a drive with a medium that can be
// removed.
func (l *Layout) medium(name, file string, properties ...Property) {
	l.option(Option{Flag: "-blockdev", Kind: "file", Properties: []Property{
		{"filename", file}, {"node-name", "file_" + name},
	}}.with(properties...))
	l.option(Option{Flag: "-blockdev", Kind: "raw", Properties: []Property{
		{"file", "file_" + name}, {"node-name", "drive_" + name},
	}}.with(properties...))
}
