// SPDX-License-Identifier: Apache-2.0

package vm

import "github.com/mhmig/mhmig/lang/api"

// display is a VGA card with a VNC server on a unix socket, or no display.
type display struct{ vnc bool }

func displays(_ *Config, v api.Values) []Device {
	return []Device{display{vnc: v.Choice("display") == "vnc"}}
}

func (d display) Settings() []Setting {
	if !d.vnc {
		return nil
	}
	return []Setting{{Param: "display", Value: "vnc"}}
}

func (d display) Render(l *Layout) error {
	l.add("-display", "none")
	if !d.vnc {
		return nil
	}
	where := l.Placement.file(l.vm, "vnc")
	if err := checkSocket(where); err != nil {
		return err
	}
	l.device("VGA", l.at(slotVGA)...)
	l.add("-vnc", "unix:"+escape(where))
	return nil
}
