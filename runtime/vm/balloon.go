// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"

	"github.com/mhmig/mhmig/lang/api"
)

// balloon is a virtio balloon: memory that the guest gives back to the host.
type balloon struct{ id string }

// balloons is the VM's balloon. Older configs of virt-test ask for it by its id.
func balloons(_ *Config, v api.Values) []Device {
	model, id := v.Choice("memballoon_model"), v.Word("balloon_dev_devid")
	if model == "none" && id == "" {
		return nil
	}
	id = cmp.Or(id, "balloon0")
	if !plainName.MatchString(id) {
		v.Invalid("balloon_dev_devid", wantPlainNames)
	}
	return []Device{balloon{id}}
}

func (b balloon) deviceID() string { return b.id }

func (balloon) Settings() []Setting { return []Setting{{Param: "memballoon_model", Value: "virtio"}} }

func (b balloon) Render(l *Layout) error {
	l.device("virtio-balloon-pci", append(l.at(slotBalloon), Property{"id", b.id})...)
	return nil
}
