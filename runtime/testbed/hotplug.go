// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// changes are how the devices of a VM's guest differ from its params since its start. The
// destination of a migration is started with them; a new guest is not.
type changes struct {
	params    cartesian.Params     // of the VM: those that plugged devices add
	unplugged []string             // names of disks and network cards
	places    map[string]diskPlace // where the VM's disks were when it was unplugged
}

// Plugger is a [QEMU] that devices can be plugged into: see [vm.Instance].
type Plugger interface {
	Plug(ctx context.Context, now, next vm.Config, kept []string, name string) error
	Unplug(ctx context.Context, now vm.Config, name string) error
}

// Plug is a disk or network card to be plugged in. What it does not say is as the params
// of an object of this name say.
type Plug struct {
	Name  string
	NIC   bool
	Model string // nic_model, or drive_format of a disk
	// Size and Format are those of a disk's new image. Without a size, it has the image
	// that its params name.
	Size   int64
	Format string
}

// list is the param that lists the devices of its kind.
func (p Plug) list() string {
	if p.NIC {
		return "nics"
	}
	return "images"
}

// params are those that the VM gets with the device; names are the devices of its kind
// until now. One that was unplugged is still among them, so that no other takes its
// address.
func (p Plug) params(names []string) cartesian.Params {
	model := "drive_format"
	if p.NIC {
		model = "nic_model"
	}
	if !slices.Contains(names, p.Name) {
		names = append(slices.Clip(names), p.Name)
	}
	set := cartesian.Params{p.list(): strings.Join(names, " ")}
	if p.Model != "" {
		set[model+"_"+p.Name] = p.Model
	}
	if p.Format != "" {
		set["image_format_"+p.Name] = p.Format
	}
	if p.Size != 0 {
		set["image_size_"+p.Name], set["create_image_"+p.Name] = fmt.Sprint(p.Size), "yes"
		set["image_name_"+p.Name], set["image_overlay_"+p.Name] = "", "yes"
	}
	return set
}

// Devices are the names of the guest's disks and network cards.
func (i *Instance) Devices() []string {
	config := i.Config()
	return config.Pluggable()
}

// Config is the VM's config with the guest's devices as they are now; that of the [QEMU]
// is the one that it was started with.
func (i *Instance) Config() vm.Config { return i.currentConfig().Config }

// ConfigOf is the config of a VM with the devices that its guest has now; without a guest,
// that of its params on host h.
func (b *Bed) ConfigOf(name string, h *Host, params cartesian.Params) (vm.Config, error) {
	if current := b.Current(name); current != nil {
		return current.Config(), nil
	}
	hostConfig, err := h.vmConfig(name, params)
	return hostConfig.Config, err
}

// currentConfig is the VM's config with the guest's devices as they are now.
func (i *Instance) currentConfig() vm.HostConfig {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hostConfig
}

func (b *Bed) keptImages(name string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[name]
}

func (b *Bed) setChanges(name string, c changes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed[name] = c
}

func (b *Bed) changesOf(name string) changes {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.changed[name]
	return changes{maps.Clone(c.params), slices.Clone(c.unplugged), maps.Clone(c.places)}
}

// changesFor are the changes for the destination of a migration with these params.
func (b *Bed) changesFor(name string, params cartesian.Params) changes {
	if v := api.Read(params); !v.Bool("migration_sync_vms") && v.Err() == nil {
		return changes{}
	}
	return b.changesOf(name)
}

// PlugIn plugs a disk or network card into an instance. The caller has claimed the VM, so
// that no migration is in progress. Each later destination of a migration has it too.
func (b *Bed) PlugIn(ctx context.Context, i *Instance, p Plug) error {
	plugger, ok := i.QEMU.(Plugger)
	if !ok {
		return fmt.Errorf("%s: this QEMU cannot hot-plug", i)
	}
	if err := vm.CheckName(p.Name); err != nil {
		return fmt.Errorf("%s: plug a device: %w", i, err)
	}
	now := i.currentConfig()
	if slices.Contains(i.Devices(), p.Name) {
		return fmt.Errorf("%s has a device called %s already", i, p.Name)
	}
	c := b.changesOf(i.Name())
	own := i.Params()
	maps.Copy(own, c.params)
	again := slices.Contains(c.unplugged, p.Name) // its image exists
	switch {
	case again && !slices.Contains(own.Objects(p.list()), p.Name):
		return fmt.Errorf("%s: plug %s: the device of this name that was unplugged is of another kind: use another name", i, p.Name)
	case again && (p.Size != 0 || p.Format != ""):
		return fmt.Errorf("%s: plug %s: the disk of this name that was unplugged comes back as it was: leave size and format out, or use another name", i, p.Name)
	case again && !p.NIC && c.places[p.Name] != b.disksOf(i.Name()):
		return fmt.Errorf("%s: plug %s: the disk of this name that was unplugged has stayed on %s: mig_storage has moved the others since: use another name", i, p.Name, c.places[p.Name].host.Name())
	}
	c.unplugged = slices.DeleteFunc(c.unplugged, func(name string) bool { return name == p.Name })
	if c.params == nil {
		c.params = cartesian.Params{}
	}
	maps.Copy(c.params, p.params(own.Objects(p.list())))
	next, err := i.Host.changedConfig(i.Name(), now.Params, c)
	if err != nil {
		return err
	}
	if !p.NIC && !again {
		if err := b.prepareDisk(ctx, i, next.Config.Only(p.Name)); err != nil {
			return err
		}
	}
	if err := plugger.Plug(ctx, now.Config, next.Config, b.keptImages(i.Name()), p.Name); err != nil {
		return i.BlameGone(ctx, err)
	}
	b.changeDevices(i, next, c)
	i.log.Info("device plugged in", "device", p.Name)
	return nil
}

// prepareDisk creates the image of a disk that is to be plugged in.
func (b *Bed) prepareDisk(ctx context.Context, i *Instance, only vm.Config) error {
	images, err := vm.PrepareImages(ctx, b.placement(i.Name(), i.Host, i.ID()), only)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.images = append(b.images, images)
	b.kept[i.Name()] = append(slices.Clip(b.kept[i.Name()]), images.Kept...)
	return nil
}

// Unplug unplugs a disk or network card and waits until the guest has released it. The
// caller has claimed the VM. That the guest does not release it is a FAIL of one that was
// migrated, else an ERROR.
func (b *Bed) Unplug(ctx context.Context, i *Instance, name string, timeout time.Duration) error {
	plugger, ok := i.QEMU.(Plugger)
	if !ok {
		return fmt.Errorf("%s: this QEMU cannot unplug", i)
	}
	now, c := i.currentConfig(), b.changesOf(i.Name())
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("timeout after %s", timeout))
	defer cancel()
	err := plugger.Unplug(limited, now.Config, name)
	switch {
	case errors.Is(err, vm.ErrNotReleased):
		return i.Blame(ctx, err)
	case err != nil:
		return i.BlameGone(ctx, err)
	}
	c.unplugged = append(c.unplugged, name)
	if c.places == nil {
		c.places = map[string]diskPlace{}
	}
	c.places[name] = b.disksOf(i.Name())
	now.Config = now.Config.Without([]string{name})
	b.changeDevices(i, now, c)
	i.log.Info("device unplugged", "device", name)
	return nil
}

// changeDevices records the devices that an instance has now.
func (b *Bed) changeDevices(i *Instance, now vm.HostConfig, c changes) {
	b.setChanges(i.Name(), c)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hostConfig = now
}
