// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"slices"
	"strings"
)

// Prerequisites are what a host must have before a VM is started on it.
type Prerequisites struct {
	Files     []File   // that must exist; without what a run makes itself
	NewImages int64    // bytes of the images that a run creates, at most
	MakesDisk bool     // a run creates images or overlays
	PageCache bool     // the host's page cache has data of the disks: drive_cache is not none or directsync
	Bridges   []string // for the VM's taps
	Shipped   []string // guests that mhmig builds itself, on the machine of mhmig: see ShippedJeOS
}

// made is the folder of what a run makes itself, in Prerequisites.
const made = "/mhmig-made"

// Prerequisites returns what the VM needs of a host on which images_base_dir is baseDir.
// It is pure.
func (c Config) Prerequisites(baseDir string) (Prerequisites, error) {
	placement := Placement{BaseDir: baseDir, RunDir: made, ImageDir: made, ShippedDir: made}
	spec, err := CommandLine(c, placement, Shape{Accel: "tcg", Machine: c.MachineType, CPU: c.CPUModel, MemoryKiB: c.MemoryBytes >> 10}, Launch{})
	if err != nil {
		return Prerequisites{}, err
	}
	p := Prerequisites{
		Files: slices.DeleteFunc(spec.Files, func(f File) bool { return strings.HasPrefix(f.Path, made+"/") }),
	}
	p.ship(c.Kernel, c.Initrd)
	for _, t := range spec.Taps {
		p.Bridges = append(p.Bridges, t.Bridge)
	}
	for _, device := range c.Devices {
		d, ok := device.(*disk)
		if !ok {
			continue
		}
		p.ship(d.image)
		p.PageCache = p.PageCache || d.cache != "none" && d.cache != "directsync"
		files := d.files(c.Name, placement)
		p.MakesDisk = p.MakesDisk || files.create || files.base != ""
		switch {
		case files.create: // an existing image is kept or replaced
			p.NewImages += files.size
			p.Files = slices.DeleteFunc(p.Files, func(f File) bool { return f.Path == files.path })
		case files.base != "" && ShippedGuest(d.image) == "":
			p.Files = append(p.Files, File{"image_name of " + d.name, files.base})
		}
	}
	return p, nil
}

// ship adds the guests whose files values of params name.
func (p *Prerequisites) ship(values ...string) {
	for _, value := range values {
		if guest := ShippedGuest(value); guest != "" && !slices.Contains(p.Shipped, guest) {
			p.Shipped = append(p.Shipped, guest)
		}
	}
}
