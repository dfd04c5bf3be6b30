// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/vm"
)

// needs are what the variants need of a host. Each host may have to run all VMs of a
// variant.
type needs struct {
	params            cartesian.Params // of the first variant, narrowed to the host
	baseDir, stateDir string           // images_base_dir and state_dir of the first variant
	firstPort         int              // mig_port of the first variant; 0: any
	lastPort          int

	emulators []emulator
	imgs      []string  // qemu_img_binary of VMs whose images are made
	files     []vm.File // that must exist
	bridges   []string
	shared    bool     // a variant needs images_base_dir to be on storage that all hosts share
	pageCache bool     // images are read and written through the page cache
	shipped   []string // guests of VMs that mhmig builds itself

	largest   string // the variant whose VMs need most memory
	memory    int64  // of the VMs of that variant, bytes
	cpus      int    // of the VMs of the variant with most
	newImages int64  // bytes of the images that a variant makes, at most
}

// emulator is a QEMU, and the param accel of VMs that use it.
type emulator struct {
	program qemu.Program
	accel   string
}

// hasVMs says whether any variant has VMs.
func (n *needs) hasVMs() bool { return len(n.emulators) > 0 }

// determineNeeds determines the needs of all hosts.
func (c *checker) determineNeeds() error {
	for v, err := range c.Variants {
		if err != nil {
			return exit.Usage.Wrap(err)
		}
		params := maps.Clone(v.Params)
		maps.Copy(params, c.Params)
		for _, m := range c.machines {
			if err := m.needs.add(v.ShortName, params, m.label); err != nil {
				return exit.Usage.Wrap(fmt.Errorf("variant %s: %w", cmp.Or(v.ShortName, v.Name, "without a name"), err))
			}
		}
	}
	return nil
}

// add adds what a variant with these params needs of the host with this label.
func (n *needs) add(variant string, params cartesian.Params, label string) error {
	own := params.Object(label)
	v := api.Read(own)
	base := v.Word("images_base_dir")
	if n.params == nil {
		n.params, n.baseDir, n.stateDir = own, base, v.Word("state_dir")
		n.firstPort, n.lastPort = v.Ports("mig_port")
	}
	n.shared = v.Bool("images_shared") || n.shared
	if err := v.Err(); err != nil {
		return err
	}
	var memory, newImages int64
	cpus := 0
	for _, name := range params.Objects("vms") {
		config, err := vm.ParseConfig(name, api.OnHost(params, label, name))
		if err != nil {
			return err
		}
		p, err := config.Prerequisites(base)
		if err != nil {
			return err
		}
		n.emulators = withNew(n.emulators, emulator{config.QEMU, config.Accel})
		if p.MakesDisk {
			n.imgs = withNew(n.imgs, config.QEMUImg)
		}
		n.files, n.bridges = withNew(n.files, p.Files...), withNew(n.bridges, p.Bridges...)
		n.pageCache, n.shipped = n.pageCache || p.PageCache, withNew(n.shipped, p.Shipped...)
		memory += config.MemoryBytes
		newImages += p.NewImages
		cpus += config.CPUs
	}
	if memory > n.memory {
		n.memory, n.largest = memory, variant
	}
	n.cpus, n.newImages = max(n.cpus, cpus), max(n.newImages, newImages)
	return nil
}

// withNew appends the values that all does not have yet.
func withNew[T comparable](all []T, values ...T) []T {
	for _, v := range values {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
