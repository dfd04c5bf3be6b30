// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

// sleepState says whether the guest can use an ACPI sleep state. Without the param it is
// as the machine type has it.
type sleepState struct {
	param    string // disable_s3 or disable_s4
	disabled bool
}

func sleepStates(_ *Config, v api.Values) []Device {
	var states []Device
	for _, param := range []string{"disable_s3", "disable_s4"} {
		if disabled := v.Bool(param); v.Has(param) {
			states = append(states, sleepState{param, disabled})
		}
	}
	return states
}

func (s sleepState) Settings() []Setting {
	return []Setting{{Param: s.param, Value: yesNo(s.disabled)}}
}

func (s sleepState) Render(l *Layout) error {
	driver := "PIIX4_PM"
	if l.chipset == "q35" {
		driver = "ICH9-LPC"
	}
	value := "0"
	if s.disabled {
		value = "1"
	}
	l.add("-global", driver+"."+s.param+"="+value)
	return nil
}
