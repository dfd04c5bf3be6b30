// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// disk is a disk of the VM, with its image.
//
//	image_overlay  create_image  the guest writes to           created by PrepareImages
//	yes (default)  no (default)  an overlay in the image dir   the overlay, on image_name
//	yes            yes           an image in the image dir     the image, empty
//	no             no            image_name itself             nothing
//	no             yes           image_name itself             the image, empty
//
// create_image does not replace an existing image_name, as if it were no;
// force_create_image creates an empty image in any case.
type disk struct {
	name  string // in the param images
	index int
	bus   string // drive_format: virtio, ide, ahci or scsi
	unit  int    // on the bus
	cache string // drive_cache

	serial string // drive_serial, or ""
	werror string // drive_werror: what QEMU does when a write fails
	rerror string // drive_rerror

	ioThread string     // of the disk, or of its SCSI controller; or ""
	extra    []Property // blk_extra_params, without iothread
	busExtra []Property // bus_extra_params, likewise

	image   string // image_name, or ""
	device  bool   // image_raw_device: image_name is a path without the format's ending
	format  string // qcow2 or raw
	overlay bool
	create  bool
	force   bool
	size    int64 // bytes of an image to be created
}

// diskFiles are the paths of a disk's image on one host, and how to create it.
type diskFiles struct {
	path   string // what the guest writes to
	format string // of path

	base       string // the backing file of an overlay, or ""
	baseFormat string
	create     bool  // create an empty image
	size       int64 // of that, in bytes
	force      bool  // create it even if it exists
	persistent bool  // it is not removed at the variant's end
}

// HasInstalledDisk says whether one of the VM's disks is, or is an overlay on, an image
// that was there before the run: there its guest is installed, which writes to it when it
// boots.
func (c *Config) HasInstalledDisk() bool {
	return slices.ContainsFunc(c.Devices, func(device Device) bool {
		d, ok := device.(*disk)
		return ok && !d.create
	})
}

// disks are the VM's disks, after the controllers that they need.
func disks(c *Config, v api.Values) []Device {
	var all, controllers []Device
	units := map[string]int{} // how many each bus has
	for i, name := range plainNames(v, "images", maxDisks) {
		own := v.Object(name)
		d := &disk{
			name: name, index: i, bus: own.Choice("drive_format"), cache: own.Choice("drive_cache"),
			image: own.Word("image_name"), device: own.Bool("image_raw_device"), format: own.Choice("image_format"),
			overlay: own.Bool("image_overlay"), create: own.Bool("create_image"), force: own.Bool("force_create_image"),
			size:   own.Size("image_size"),
			serial: own.Word("drive_serial"), werror: own.Choice("drive_werror"), rerror: own.Choice("drive_rerror"),
		}
		d.create = d.create || d.force
		switch {
		case d.image == "" && (!d.create || !d.overlay):
			own.Unfit("image_name", "missing")
		case d.create && d.size == 0: // even if the image exists already
			own.Unfit("image_size", "missing, create_image needs it (such as 10G)")
		case d.create && !d.overlay && !path.IsAbs(d.image) && !filepath.IsLocal(d.image):
			own.Unfit("image_name", "%s is outside of images_base_dir, and create_image would write there: give an absolute path if that is meant", d.image)
		}
		if ShippedGuest(d.image) != "" && (!d.overlay || d.create || d.device || d.format != "qcow2") {
			own.Unfit("image_name", "%s is a qcow2 image that all guests share: it needs image_overlay = yes, image_format = qcow2, and no create_image", d.image)
		}
		d.bus = chipsetBus(d.bus, c.chipset())
		d.unit = units[d.bus]
		units[d.bus]++
		if limit, limited := controllerLimit(d.bus, c.chipset()); limited && d.unit >= limit {
			own.Unfit("drive_format", "got %d disks, but %s allows %d", d.unit+1, d.bus, limit)
		}
		d.parseExtra(c, own)
		if d.bus == "scsi" || d.bus == "ahci" {
			controllers = withDisk(controllers, d, own)
		}
		all = append(all, d)
	}
	return append(controllers, all...)
}

// chipsetBus is the bus on which a drive is: the AHCI controller of q35 is the one of its
// IDE disks.
func chipsetBus(bus, chipset string) string {
	if bus == "ahci" && chipset == "q35" {
		return "ide"
	}
	return bus
}

// controllerLimit is the maximum number of drives of a controller, if it has one.
func controllerLimit(bus, chipset string) (limit int, limited bool) {
	switch {
	case bus == "ide" && chipset == "i440fx":
		return 4, true
	case bus == "ide" || bus == "ahci":
		return 6, true
	default:
		return 0, false
	}
}

// parseExtra parses the disk's further properties, and its I/O thread: image_iothread, or
// iothread in the extra params of the disk or its controller.
func (d *disk) parseExtra(c *Config, own api.Values) {
	d.ioThread = own.Word("image_iothread")
	for _, param := range []string{"blk_extra_params", "bus_extra_params"} {
		properties := parseExtra(own, param)
		name, rest := takeProperty(properties, "iothread")
		if name != "" {
			d.ioThread = name
		}
		switch {
		case param == "blk_extra_params":
			d.extra = rest
		case d.bus == "scsi" || len(rest) == 0:
			d.busExtra = rest
		default:
			own.Invalid(param, "properties of a virtio-scsi controller, with drive_format = scsi")
		}
	}
	switch {
	case d.ioThread == "":
	case d.bus != "virtio" && d.bus != "scsi":
		own.Unfit("image_iothread", "%s, but disks on %s cannot have an I/O thread: use drive_format virtio or scsi", d.ioThread, d.bus)
	case !c.hasIOThread(d.ioThread):
		own.Unfit("image_iothread", "%s is none of those that param iothreads names", d.ioThread)
	}
}

// controller is a disk controller that the chipset does not have.
type controller struct {
	bus      string // scsi or ahci
	ioThread string
	extra    []Property // bus_extra_params
}

// withDisk adds the disk's controller if it is missing. All disks of a bus share it, so
// they may not want different ones.
func withDisk(controllers []Device, d *disk, own api.Values) []Device {
	for _, device := range controllers {
		c := device.(*controller)
		if c.bus != d.bus {
			continue
		}
		if c.ioThread == "" {
			c.ioThread = d.ioThread
		} else if d.ioThread != "" && d.ioThread != c.ioThread {
			own.Unfit("image_iothread", "%s, but another disk of the same controller has %s", d.ioThread, c.ioThread)
		}
		if len(c.extra) == 0 {
			c.extra = d.busExtra
		} else if len(d.busExtra) > 0 && propertyText(d.busExtra) != propertyText(c.extra) {
			own.Unfit("bus_extra_params", "%s, but another disk of the same controller has %s", propertyText(d.busExtra), propertyText(c.extra))
		}
		return controllers
	}
	return append(controllers, &controller{bus: d.bus, ioThread: d.ioThread, extra: d.busExtra})
}

// hasController reports whether there is a controller of the bus.
func hasController(devices []Device, bus string) bool {
	return slices.ContainsFunc(devices, func(d Device) bool {
		c, ok := d.(*controller)
		return ok && c.bus == bus
	})
}

func (c *controller) deviceID() string { return c.bus }

func (c *controller) Settings() []Setting {
	if len(c.extra) == 0 {
		return nil // those of its disks suffice
	}
	return []Setting{{Param: "bus_extra_params", Value: propertyText(c.extra)}}
}

func (c *controller) Render(l *Layout) error {
	if c.bus == "scsi" {
		properties := append(l.at(slotSCSI), Property{"id", "scsi"})
		if c.ioThread != "" {
			properties = append(properties, Property{"iothread", c.ioThread})
		}
		l.device("virtio-scsi-pci", append(properties, c.extra...)...)
	} else {
		l.device("ich9-ahci", append(l.at(slotAHCI), Property{"id", "ahci"})...)
	}
	return nil
}

func (d *disk) deviceID() string { return d.name }

func (d *disk) Settings() []Setting {
	of := []string{d.name}
	settings := []Setting{
		{Param: "images", Value: d.name},
		{Param: "drive_format", Objects: of, Value: d.bus},
		{Param: "image_format", Objects: of, Value: d.format},
		{Param: "image_overlay", Objects: of, Value: yesNo(d.overlay)},
		{Param: "drive_cache", Objects: of, Value: d.writeCache()},
		{Param: "drive_serial", Objects: of, Value: cmp.Or(d.serial, "none")},
		{Param: "drive_werror", Objects: of, Value: d.werror},
		{Param: "drive_rerror", Objects: of, Value: d.rerror},
		{Param: "blk_extra_params", Objects: of, Value: propertyText(d.extra)},
	}
	if !d.overlay && !d.device { // a device may have another name on each host
		settings = append(settings, Setting{Param: "image_name", Objects: of, Value: d.image})
	}
	return settings
}

// writeCache is the part of drive_cache that is visible to the guest: whether the disk
// has a write cache that must be flushed.
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

// overlayName is the name of the disk's image in the image folder, without the format's
// ending.
func (d *disk) overlayName(vm string) string { return vm + "-" + d.name }

// imagePath is the path of image_name on the host of placement, "" if it is not set.
func (d *disk) imagePath(placement Placement) string {
	file, shipped := ShippedFile(d.image)
	switch {
	case d.image == "":
		return ""
	case shipped:
		return path.Join(placement.ShippedDir, file)
	case d.device:
		return resolvePath(placement.BaseDir, d.image)
	default:
		return resolvePath(placement.BaseDir, d.image+"."+d.format)
	}
}

// files are the paths of the disk's image on the host of placement.
func (d *disk) files(vm string, placement Placement) diskFiles {
	own := path.Join(placement.ImageDir, d.overlayName(vm))
	create := d.force || d.create && !slices.Contains(placement.Kept, d.name)
	f := diskFiles{format: d.format, force: d.force}
	switch {
	case d.overlay && create:
		f.path = own + "." + d.format
	case d.overlay:
		f.path, f.format = own+".qcow2", "qcow2"
		f.base, f.baseFormat = d.imagePath(placement), d.format
	default:
		f.path, f.persistent = d.imagePath(placement), true
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
		{"file", "file_" + d.name}, {"node-name", DiskNode(d.name)},
	}}.with(cache...))

	driver, where := d.slot(l)
	where = append(where, Property{"id", d.name}, Property{"drive", DiskNode(d.name)})
	if l.boots { // else QEMU's kernel loader takes the first place in the boot order
		where = append(where, Property{"bootindex", d.index})
	}
	if d.writeCache() == "writethrough" {
		where = append(where, Property{"write-cache", "off"})
	}
	if d.ioThread != "" && d.bus == "virtio" { // that of a SCSI disk is its controller's
		where = append(where, Property{"iothread", d.ioThread})
	}
	where = append(where, d.errorPolicy()...)
	if d.serial != "" {
		where = append(where, Property{"serial", d.serial})
	}
	l.device(driver, append(where, d.extra...)...)
	return nil
}

// errorPolicy is what QEMU does when the image cannot be written or read. auto is QEMU's
// default.
func (d *disk) errorPolicy() (properties []Property) {
	if d.werror != "auto" {
		properties = append(properties, Property{"werror", d.werror})
	}
	if d.rerror != "auto" {
		properties = append(properties, Property{"rerror", d.rerror})
	}
	return properties
}

// slot is the disk's driver and its address on its bus.
func (d *disk) slot(l *Layout) (driver string, where []Property) {
	switch d.bus {
	case "scsi":
		return "scsi-hd", []Property{{"bus", "scsi.0"}, {"scsi-id", d.index}}
	case "virtio":
		return "virtio-blk-pci", l.at(slotFirstDisk + d.index)
	default:
		return "ide-hd", idePort(d.bus, d.unit, l.chipset)
	}
}

// idePort is the place of a drive on a bus that is ide or ahci.
func idePort(bus string, unit int, chipset string) []Property {
	if bus == "ide" && chipset == "i440fx" {
		return []Property{{"bus", fmt.Sprintf("ide.%d", unit/2)}, {"unit", unit % 2}}
	}
	return []Property{{"bus", fmt.Sprintf("%s.%d", bus, unit)}, {"unit", 0}}
}
