// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"regexp"

	"github.com/mhmig/mhmig/lang/api"
)

// rtc is the real-time clock of the chipset.
type rtc struct {
	base  string // utc, localtime or a date
	clock string // host, rt or vm
	drift string // none or slew
}

// plainClock is what QEMU does without an option.
var plainClock = rtc{base: "utc", clock: "host", drift: "none"}

// rtcDate is a date as QEMU reads it.
var rtcDate = regexp.MustCompile(`^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?$`)

func rtcs(_ *Config, v api.Values) []Device {
	r := rtc{base: v.Word("rtc_base"), clock: v.Choice("rtc_clock"), drift: v.Choice("rtc_drift")}
	if r.base != "utc" && r.base != "localtime" && !rtcDate.MatchString(r.base) {
		v.Invalid("rtc_base", "utc, localtime or a date such as 2006-06-17T16:01:21")
	}
	return []Device{r}
}

func (r rtc) Settings() []Setting {
	return []Setting{
		{Param: "rtc_base", Value: r.base},
		{Param: "rtc_clock", Value: r.clock},
		{Param: "rtc_drift", Value: r.drift},
	}
}

func (r rtc) Render(l *Layout) error {
	if r != plainClock {
		l.add("-rtc", "base="+r.base+",clock="+r.clock+",driftfix="+r.drift)
	}
	return nil
}
