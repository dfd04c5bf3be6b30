// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"slices"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// deviceHandle is a handle of a disk or network card of a VM, on whichever host its guest
// is.
type deviceHandle struct{ vm, name string }

func (s *scenarioState) device(vm, name string) *object {
	return s.object("device", deviceHandle{vm, name}, name+" of "+vm)
}

// deviceClass is what vm.plug_disk, vm.plug_nic and vm.device return.
func deviceClass() *Class {
	return &Class{
		Name: "device",
		Doc:  "A disk or network card of a VM, which moves with its guest.",
		Attrs: []Attr{
			{"name", "string", "its name: a disk's in the param images, a card's in nics", func(_ *scenarioState, self any) (starlark.Value, error) {
				return starlark.String(self.(deviceHandle).name), nil
			}},
			{"plugged", "bool", "whether the VM has it now", func(s *scenarioState, self any) (starlark.Value, error) {
				h := self.(deviceHandle)
				inst := s.bed.Current(h.vm)
				return starlark.Bool(inst != nil && slices.Contains(inst.Devices(), h.name)), nil
			}},
		},
		Methods: []*Builtin{{
			Name: "unplug", Waits: true, Params: []Param{{"timeout", Seconds, Value(time.Minute), "how long the guest may take to release it"}},
			Doc: "Unplugs the device, and waits until the guest has released it (QMP device_del, the event DEVICE_DELETED). " +
				"A guest that does not release it in time is a FAIL if it was migrated, else an ERROR. Not during a migration.",
			Returns: Nothing,
			Fn:      deviceUnplug,
		}},
	}
}

func deviceUnplug(t *task.Task, a *Args) (starlark.Value, error) {
	h, bed, timeout := a.Self.(deviceHandle), stateOf(t).bed, arg[time.Duration](a, "timeout")
	return withClaim(t, h.vm, "device.unplug", func(ctx context.Context, inst *testbed.Instance) error {
		return bed.Unplug(ctx, inst, h.name, timeout)
	})
}

// withClaim waits for do with the instance that the VM's guest is in, while nothing else
// starts or migrates the VM.
func withClaim(t *task.Task, vm, by string, do func(context.Context, *testbed.Instance) error) (starlark.Value, error) {
	bed := stateOf(t).bed
	release, err := bed.Claim([]string{vm}, by)
	if err != nil {
		return nil, misuse{err}
	}
	defer release()
	inst := bed.Current(vm)
	if inst == nil {
		return nil, misusef("%s: not running on any host; vm.start starts it", vm)
	}
	return wait(t, func(ctx context.Context) error { return do(ctx, inst) })
}

// plugMethods are the methods of a vm for its disks and network cards.
var plugMethods = []*Builtin{
	{
		Name: "plug_disk", Waits: true,
		Params: []Param{
			{"name", String, Required, "its name, as in the param images"},
			{"size", Bytes, Computed("the image that the params of this name say"), "the size of a new, empty image"},
			{"format", String, Computed("the param image_format"), "qcow2 or raw"},
			{"bus", String, Computed("the param drive_format"), "virtio or scsi"},
		},
		Doc: "Plugs a disk into the running guest, which may need a moment to find it. An unplugged disk of this name comes back with its content, and so without size and format here, unless mig_storage has moved the others since: it has stayed where it was. " +
			"The destinations of later migrations have it too. Not during a migration.",
		Returns: Return{"device", "the disk"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			return plug(t, a, testbed.Plug{
				Name: arg[string](a, "name"), Size: arg[int64](a, "size"), Format: arg[string](a, "format"), Model: arg[string](a, "bus"),
			})
		},
	},
	{
		Name: "plug_nic", Waits: true,
		Params: []Param{
			{"name", String, Required, "its name, as in the param nics"},
			{"model", String, Computed("the param nic_model"), "the card's device"},
		},
		Doc:     "Plugs a network card into the running guest, as the params of this name say. The destinations of later migrations have it too. Not during a migration.",
		Returns: Return{"device", "the network card"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			return plug(t, a, testbed.Plug{Name: arg[string](a, "name"), NIC: true, Model: arg[string](a, "model")})
		},
	},
	{
		Name: "device", Params: []Param{{"name", String, Required, "its name, as in the params images and nics"}},
		Doc:     "Returns the disk or network card of this name that the VM has.",
		Returns: Return{"device", "the device"},
		Fn: func(t *task.Task, a *Args) (starlark.Value, error) {
			inst, err := selfInstance(t, a)
			if err != nil {
				return nil, err
			}
			name := arg[string](a, "name")
			if !slices.Contains(inst.Devices(), name) {
				return nil, misusef("%s has no disk or network card %q, but %q", inst, name, inst.Devices())
			}
			return stateOf(t).device(inst.Name(), name), nil
		},
	},
}

func plug(t *task.Task, a *Args, p testbed.Plug) (starlark.Value, error) {
	name, by := a.Self.(*vmHandle).name, "vm.plug_disk"
	if p.NIC {
		by = "vm.plug_nic"
	}
	bed := stateOf(t).bed
	if _, err := withClaim(t, name, by, func(ctx context.Context, inst *testbed.Instance) error {
		return bed.PlugIn(ctx, inst, p)
	}); err != nil {
		return nil, err
	}
	return stateOf(t).device(name, p.Name), nil
}
