// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

// rngSlots are those of the sources of random numbers.
var rngSlots = []int{slotFirstRNG, slotSecondRNG}

// rng is a virtio source of random numbers, which are the host's.
type rng struct {
	name  string // in the param virtio_rngs
	index int
}

func rngs(_ *Config, v api.Values) []Device {
	var devices []Device
	for i, name := range plainNames(v, "virtio_rngs", len(rngSlots)) {
		devices = append(devices, &rng{name, i})
	}
	return devices
}

func (r *rng) deviceID() string { return r.name }

func (r *rng) Settings() []Setting { return []Setting{{Param: "virtio_rngs", Value: r.name}} }

func (r *rng) Render(l *Layout) error {
	backend := "rng_" + r.name
	l.option(Option{Flag: "-object", Kind: "rng-random", Properties: []Property{{"id", backend}, {"filename", "/dev/urandom"}}})
	l.device("virtio-rng-pci", append(l.at(rngSlots[r.index]), Property{"id", r.name}, Property{"rng", backend})...)
	return nil
}
