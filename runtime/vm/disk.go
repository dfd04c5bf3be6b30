// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// disk is a disk of the VM, and the image that it stands for.
//
//	image_overlay  create_image  the guest writes to           made by PrepareImages
//	yes (default)  no (default)  an overlay in the image dir   the overlay, on image_name
//	yes            yes           an image in the image dir     the image, empty
//	no             no            image_name itself             nothing
//	no             yes           image_name itself             the image, empty
//
// An image_name that is there is kept by create_image, as if it said no; but
// force_create_image makes an empty image in any case.
type disk struct {
	name  string // in the param images
	index int
	bus   string // drive_format: virtio, ide, ahci or scsi
	unit  int    // on the bus
	cache string // drive_cache

	image   string // image_name, or ""
	device  bool   // image_raw_device: image has no format behind its name
	format  string // qcow2 or raw
	overlay bool
	create  bool
	force   bool
	size    int64 // bytes of an image to be made
}

// diskFiles are where a disk's image lies and how it comes to be, as one host sees
// it.
type diskFiles struct {
	path   string // what the guest writes to
	format string // of path

	base       string // what an overlay stands on, or ""
	baseFormat string
	create     bool  // an empty image is to be made
	size       int64 // of that, in bytes
	force      bool  // make it even if it is there
	keep       bool  // it outlives the variant
}

// disks are the VM's disks, behind the controllers that they need.
func disks(c *Config, v api.Values) []Device {
	var all, controllers []Device
	units := map[string]int{} // how many each bus has
	for i, name := range plainNames(v, "images", maxDisks) {
		own := v.Object(name)
		d := &disk{
			name: name, index: i, bus: own.Choice("drive_format"), cache: own.Choice("drive_cache"),
			image: own.Word("image_name"), device: own.Bool("image_raw_device"), format: own.Choice("image_format"),
			overlay: own.Bool("image_overlay"), create: own.Bool("create_image"), force: own.Bool("force_create_image"),
			size: own.Size("image_size"),
		}
		d.create = d.create || d.force
		switch {
		case d.image == "" && (!d.create || !d.overlay):
			own.AddError(errors.New("param image_name: missing"))
		case d.create && d.size == 0: // though it may be there, on some storage
			own.AddError(errors.New("param image_size: create_image needs it, as 10G"))
		}
		if d.bus == "ahci" && c.chipset() == "q35" {
			d.bus = "ide" // the chipset's own controller is one
		}
		d.unit = units[d.bus]
		units[d.bus]++
		if room, limited := controllerRoom(d.bus, c.chipset()); limited && d.unit >= room {
			own.AddError(fmt.Errorf("param drive_format: disk %d does not fit, %s has room for %d", d.unit+1, d.bus, room))
		}
		if d.unit == 0 && (d.bus == "scsi" || d.bus == "ahci") {
			controllers = append(controllers, controller(d.bus))
		}
		all = append(all, d)
	}
	return append(controllers, all...)
}

// controllerRoom is how many disks fit on a controller, if that is few.
func controllerRoom(bus, chipset string) (room int, limited bool) {
	switch {
	case bus == "ide" && chipset == "i440fx":
		return 4, true
	case bus == "ide" || bus == "ahci":
		return 6, true
	default:
		return 0, false
	}
}

// controller is the controller of disks that the chipset has none for.
type controller string

func (controller) Settings() []Setting { return nil } // its disks have them

func (c controller) Render(l *Layout) error {
	if c == "scsi" {
		l.device("virtio-scsi-pci", append(l.at(slotSCSI), Property{"id", "scsi"})...)
	} else {
		l.device("ich9-ahci", append(l.at(slotAHCI), Property{"id", "ahci"})...)
	}
	return nil
}

func (d *disk) Settings() []Setting {
	of := []string{d.name}
	settings := []Setting{
		{Param: "images", Value: d.name},
		{Param: "drive_format", Objects: of, Value: d.bus},
		{Param: "image_format", Objects: of, Value: d.format},
		{Param: "image_overlay", Objects: of, Value: yesNo(d.overlay)},
		{Param: "drive_cache", Objects: of, Value: d.writeCache()},
	}
	if !d.overlay && !d.device { // a device may have another name on each host
		settings = append(settings, Setting{Param: "image_name", Objects: of, Value: d.image})
	}
	return settings
}

// writeCache is what the guest can tell of drive_cache: whether the disk has a
// cache that must be flushed.
func (d *disk) writeCache() string {
	if d.cache == "writethrough" || d.cache == "directsync" {
		return "writethrough"
	}
	return "writeback"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// ownName is the name of the disk's own image in the image folder, without what
// tells its format.
func (d *disk) ownName(vm string) string { return vm + "-" + d.name }

// named is the file that image_name names on the host of placement, "" if it names
// none.
func (d *disk) named(placement Placement) string {
	switch {
	case d.image == "":
		return ""
	case d.device:
		return resolvePath(placement.BaseDir, d.image)
	default:
		return resolvePath(placement.BaseDir, d.image+"."+d.format)
	}
}

// files are where the disk's image lies on the host of placement.
func (d *disk) files(vm string, placement Placement) diskFiles {
	own := path.Join(placement.ImageDir, d.ownName(vm))
	create := d.force || d.create && !slices.Contains(placement.Kept, d.name)
	f := diskFiles{format: d.format, force: d.force}
	switch {
	case d.overlay && create:
		f.path = own + "." + d.format
	case d.overlay:
		f.path, f.format = own+".qcow2", "qcow2"
		f.base, f.baseFormat = d.named(placement), d.format
	default:
		f.path, f.keep = d.named(placement), true
	}
	if create {
		f.create, f.size = true, d.size
	}
	return f
}

func (d *disk) Render(l *Layout) error {
	files := d.files(l.vm, l.Placement)
	l.spec.Files = append(l.spec.Files, File{"image_name of " + d.name, files.path})

	var cache []Property
	if d.cache == "none" || d.cache == "directsync" {
		cache = append(cache, Property{"cache.direct", true})
	}
	if d.cache == "unsafe" {
		cache = append(cache, Property{"cache.no-flush", true})
	}
	driver := "file"
	if d.device && strings.HasPrefix(files.path, "/dev/") {
		driver = "host_device"
	}
	l.option(Option{Flag: "-blockdev", Kind: driver, Properties: []Property{
		{"filename", files.path}, {"node-name", "file_" + d.name},
	}}.with(cache...))
	l.option(Option{Flag: "-blockdev", Kind: files.format, Properties: []Property{
		{"file", "file_" + d.name}, {"node-name", "drive_" + d.name},
	}}.with(cache...))

	driver, where := d.slot(l)
	where = append(where, Property{"id", d.name}, Property{"drive", "drive_" + d.name})
	if l.boots { // else QEMU's kernel loader claims the first place itself
		where = append(where, Property{"bootindex", d.index})
	}
	if d.writeCache() == "writethrough" {
		where = append(where, Property{"write-cache", "off"})
	}
	l.device(driver, where...)
	return nil
}

// slot is the disk's driver and its slot on its bus.
func (d *disk) slot(l *Layout) (driver string, where []Property) {
	switch {
	case d.bus == "scsi":
		return "scsi-hd", []Property{{"bus", "scsi.0"}, {"scsi-id", d.index}}
	case d.bus == "ahci":
		return "ide-hd", []Property{{"bus", fmt.Sprintf("ahci.%d", d.unit)}, {"unit", 0}}
	case d.bus == "ide" && l.chipset == "q35":
		return "ide-hd", []Property{{"bus", fmt.Sprintf("ide.%d", d.unit)}, {"unit", 0}}
	case d.bus == "ide":
		return "ide-hd", []Property{{"bus", fmt.Sprintf("ide.%d", d.unit/2)}, {"unit", d.unit % 2}}
	default:
		return "virtio-blk-pci", l.at(slotFirstDisk + d.index)
	}
}
