// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"regexp"
	"slices"

	"github.com/mhmig/mhmig/lang/api"
)

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// uuid is the VM's UUID, which the guest sees in its SMBIOS tables, and which a
// destination can compare with its own.
type uuid string

func uuids(_ *Config, v api.Values) []Device {
	id := v.Word("uuid")
	switch {
	case id == "":
		return nil
	case !uuidPattern.MatchString(id):
		v.Invalid("uuid", "a UUID, such as 6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86")
		return nil
	}
	return []Device{uuid(id)}
}

// HasUUID says whether the VM has a UUID: the param uuid, or one of extra_params.
func (c *Config) HasUUID() bool {
	isUUID := func(device Device) bool { _, ok := device.(uuid); return ok }
	return slices.ContainsFunc(c.Devices, isUUID) || slices.Contains(c.Extra, "-uuid") || slices.Contains(c.Extra, "--uuid")
}

func (u uuid) Settings() []Setting { return []Setting{{Param: "uuid", Value: string(u)}} }

func (u uuid) Render(l *Layout) error {
	l.add("-uuid", string(u))
	return nil
}
