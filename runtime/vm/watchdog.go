// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

// watchdog does something when the guest does not show for a while that it is alive.
type watchdog struct{ model, action string }

func watchdogs(_ *Config, v api.Values) []Device {
	w := watchdog{model: v.Choice("watchdog_device_type"), action: v.Choice("watchdog_action")}
	if !v.Bool("enable_watchdog") {
		return nil
	}
	return []Device{w}
}

func (watchdog) deviceID() string { return "watchdog0" }

func (w watchdog) Settings() []Setting {
	return []Setting{
		{Param: "enable_watchdog", Value: "yes"},
		{Param: "watchdog_device_type", Value: w.model},
		{Param: "watchdog_action", Value: w.action},
	}
}

func (w watchdog) Render(l *Layout) error {
	where := l.at(slotWatchdog)
	if w.model == "ib700" { // on the ISA bus
		where = nil
	}
	l.device(w.model, append(where, Property{"id", "watchdog0"})...)
	l.add("-watchdog-action", w.action)
	return nil
}
