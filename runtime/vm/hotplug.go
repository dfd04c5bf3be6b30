// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// pluggable is a device that can be plugged in and unplugged while the guest runs: a
// disk or a network card.
type pluggable interface {
	Device
	identified
	plugName() string // by which scenarios call it
	// removal are the QMP commands that remove its backend, when the device is gone.
	removal() []removal
}

type removal struct {
	command   string
	arguments map[string]any
}

func (d *disk) plugName() string { return d.name }

func (d *disk) removal() []removal {
	return []removal{
		{"blockdev-del", map[string]any{"node-name": "drive_" + d.name}},
		{"blockdev-del", map[string]any{"node-name": "file_" + d.name}},
	}
}

func (n *nic) plugName() string { return n.name }

func (n *nic) deviceID() string { return "dev_" + n.name }

func (n *nic) removal() []removal {
	return []removal{{"netdev_del", map[string]any{"id": n.name}}}
}

// Pluggable are the names of the disks and network cards.
func (c *Config) Pluggable() []string {
	var names []string
	for _, device := range c.Devices {
		if p, ok := device.(pluggable); ok {
			names = append(names, p.plugName())
		}
	}
	return names
}

// Without returns the config without some disks and network cards. The others keep their
// addresses.
func (c Config) Without(names []string) Config {
	c.Devices = slices.DeleteFunc(slices.Clone(c.Devices), func(device Device) bool {
		p, ok := device.(pluggable)
		return ok && slices.Contains(names, p.plugName())
	})
	return c
}

// Only returns the config with one disk or network card and no other device.
func (c Config) Only(name string) Config {
	c.Devices = slices.DeleteFunc(slices.Clone(c.Devices), func(device Device) bool {
		p, ok := device.(pluggable)
		return !ok || p.plugName() != name
	})
	return c
}

func (c *Config) find(name string) (pluggable, error) {
	for _, device := range c.Devices {
		if p, ok := device.(pluggable); ok && p.plugName() == name {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s has no disk or network card %s; it has %s", c.Name, name, strings.Join(c.Pluggable(), ", "))
}

// Plug plugs the device called name, and a controller that it needs, into the running
// guest: now is the VM's config until now, next the one with the device, kept is for
// [Placement.Kept]. The guest may need a moment to find it. After an error the device is
// not there.
func (i *Instance) Plug(ctx context.Context, now, next Config, kept []string, name string) error {
	unlock, err := i.acquire(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	spec, err := i.plugSpec(now, next, kept, name)
	if err != nil {
		return i.plugError("plug", name, err)
	}
	had := len(i.taps)
	for _, t := range spec.Taps {
		if err = i.addTap(ctx, t); err != nil {
			break
		}
	}
	var done []Option
	for _, o := range spec.Options {
		if err != nil {
			break
		}
		command, arguments := o.QMP()
		if err = i.monitor.Execute(ctx, command, arguments, nil); err == nil {
			done = append(done, o)
		}
	}
	if err != nil {
		return i.plugError("plug", name, errors.Join(err, i.undoPlug(ctx, done), i.removeTapsFrom(ctx, had)))
	}
	return nil
}

// plugSpec renders the device, and its controller if that is new: the backends first,
// which are what usually fails.
func (i *Instance) plugSpec(now, next Config, kept []string, name string) (Spec, error) {
	device, err := next.find(name)
	if err != nil {
		return Spec{}, err
	}
	spec := Spec{}
	placement := i.placement
	placement.Kept = kept
	l, err := newLayout(next, placement, i.shape, &spec)
	if err != nil {
		return Spec{}, err
	}
	if d, ok := device.(*disk); ok {
		if d.bus != "virtio" && d.bus != "scsi" {
			return Spec{}, fmt.Errorf("drive_format %s cannot be hot-plugged: use virtio or scsi", d.bus)
		}
		if d.bus == "scsi" && !hasController(now.Devices, d.bus) {
			if err := newController(next.Devices, d.bus).Render(l); err != nil {
				return Spec{}, err
			}
		}
	}
	if err := device.Render(l); err != nil {
		return Spec{}, err
	}
	slices.SortStableFunc(spec.Options, func(a, b Option) int {
		return isDevice(a) - isDevice(b)
	})
	return spec, nil
}

func isDevice(o Option) int {
	if o.Flag == "-device" {
		return 1
	}
	return 0
}

func newController(devices []Device, bus string) *controller {
	for _, device := range devices {
		if c, ok := device.(*controller); ok && c.bus == bus {
			return c
		}
	}
	return &controller{bus: bus}
}

// undoPlug removes backends, in the reverse order. A controller stays: only the guest
// could let it go.
func (i *Instance) undoPlug(ctx context.Context, done []Option) error {
	var errs []error
	for _, o := range slices.Backward(done) {
		_, arguments := o.QMP()
		switch o.Flag {
		case "-blockdev":
			errs = append(errs, i.monitor.Execute(ctx, "blockdev-del", map[string]any{"node-name": arguments["node-name"]}, nil))
		case "-netdev":
			errs = append(errs, i.monitor.Execute(ctx, "netdev_del", map[string]any{"id": arguments["id"]}, nil))
		}
	}
	return errors.Join(errs...)
}

// ErrNotReleased is that of an unplugged device that the guest has not released in time,
// or has refused to release.
var ErrNotReleased = errors.New("the guest does not release the device")

// Unplug unplugs the device called name of the VM's config now, waits until the guest has
// released it (DEVICE_DELETED), and removes its backend. ctx limits it.
func (i *Instance) Unplug(ctx context.Context, now Config, name string) error {
	unlock, err := i.acquire(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	device, err := now.find(name)
	if err == nil {
		err = i.unplug(ctx, device)
	}
	if err != nil {
		return i.plugError("unplug", name, err)
	}
	return nil
}

func (i *Instance) unplug(ctx context.Context, device pluggable) error {
	events := i.monitor.Subscribe("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
	defer events.Close()
	if err := i.monitor.Execute(ctx, "device_del", map[string]any{"id": device.deviceID()}, nil); err != nil {
		return err
	}
	if err := i.awaitDeleted(ctx, events, device.deviceID()); err != nil {
		return err
	}
	for _, r := range device.removal() {
		if err := i.removeBackend(ctx, r); err != nil {
			return err
		}
	}
	if n, ok := device.(*nic); ok && n.mode == "tap" {
		return i.removeTap(ctx, tapName(i.placement, i.config.Name, n.name))
	}
	return nil
}

const (
	deletedCheck = time.Second            // how often a device is looked for that was to be deleted
	removalCheck = 100 * time.Millisecond // between the tries to remove what a device has used
)

// awaitDeleted waits until a device is deleted. QEMU says so when the last user of the
// device's memory regions is done with it, which now and then is never under TCG, though
// the guest has released the device and it is no part of the machine any more.
func (i *Instance) awaitDeleted(ctx context.Context, events *qmp.Subscription, id string) error {
	check := time.NewTicker(deletedCheck)
	defer check.Stop()
	for {
		select {
		case e, open := <-events.C:
			switch {
			case !open:
				return qmp.ErrGone
			case e.Data["device"] != id:
			case e.Name == "DEVICE_DELETED":
				return nil
			default:
				return fmt.Errorf("%w: %s", ErrNotReleased, e.Name)
			}
		case <-check.C:
			if there, err := i.hasDevice(ctx, id); !there && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNotReleased, context.Cause(ctx))
		}
	}
}

// removeBackend removes a backend of a device that is no part of the machine any more. QEMU
// refuses that as long as the device still uses it: until its memory regions are released.
func (i *Instance) removeBackend(ctx context.Context, r removal) error {
	for {
		err := i.monitor.Execute(ctx, r.command, r.arguments, nil)
		if refusal, refused := errors.AsType[*qmp.Error](err); !refused || !strings.Contains(refusal.Desc, "in use") {
			return err
		}
		select {
		case <-time.After(removalCheck):
		case <-ctx.Done():
			return err
		}
	}
}

// hasDevice says whether the machine has the device with this ID.
func (i *Instance) hasDevice(ctx context.Context, id string) (bool, error) {
	var devices []struct {
		Name string `json:"name"`
	}
	err := i.monitor.Execute(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"}, &devices)
	for _, device := range devices {
		if device.Name == id {
			return true, nil
		}
	}
	return false, err
}

func (i *Instance) plugError(what, name string, err error) error {
	return fmt.Errorf("%s on %s: %s %s: %w", i.config.Name, i.placement.Host.Name(), what, name, err)
}

// acquire takes the lock, with an end of the wait.
func (i *Instance) acquire(ctx context.Context) (unlock func(), err error) {
	select {
	case i.lock <- struct{}{}:
		return func() { <-i.lock }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s on %s: %w", i.config.Name, i.placement.Host.Name(), context.Cause(ctx))
	}
}
