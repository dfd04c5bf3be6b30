// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

const autoConvergeCapability = "auto-converge"

// autoConverge is the feature of mig_auto_converge: QEMU throttles the vCPUs of a guest
// that writes faster than its memory is sent.
type autoConverge struct{ switched }

func newAutoConverge(o options, _ Traits) Feature {
	return autoConverge{switched{autoConvergeCapability, o.autoConverge}}
}

// decisivePeriods is for how many periods a guest must have written too fast for QEMU to
// have had a reason to throttle it: QEMU does so after two, and looks at the end of a
// pass, at most once a second. The samples may miss some.
const (
	decisivePeriods = 4
	decisivePeriod  = 1500 * time.Millisecond
)

// Check checks that the throttle never fell while the guest moved, nor rose above
// max-cpu-throttle, and that there was one if the guest wrote too fast for long enough.
func (f autoConverge) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	last := 0.0
	for _, s := range o.Samples {
		percentage, throttled := s.Query["cpu-throttle-percentage"].(float64)
		switch {
		case !throttled:
			continue
		case percentage < last:
			return unused("auto-converge was on, but QEMU lowered the throttle of the guest while it moved: from %v %% to %v %%", last, percentage)
		}
		last = percentage
	}
	if last == 0 {
		if n := tooFast(o.Samples); n >= decisivePeriods {
			return unused("auto-converge was on, but QEMU did not throttle the guest, although it wrote faster than its memory was sent for %d passes of at least %v", n, decisivePeriod)
		}
		o.Idle(autoConvergeCapability, "the guest did not write faster than its memory was sent for long enough to be throttled")
		return nil
	}
	limit, err := o.Parameter(ctx, SourceRole, "max-cpu-throttle")
	if err != nil {
		return err
	}
	if most, ok := limit.(float64); ok && last > most {
		return unused("auto-converge was on, but QEMU throttled the guest by %v %%, more than max-cpu-throttle = %v", last, most)
	}
	o.Used(autoConvergeCapability, "QEMU throttled the guest by up to %v %%", last)
	return nil
}

// tooFast counts the passes of at least a decisivePeriod in which the guest wrote faster
// than its memory was sent, one after the other.
func tooFast(samples []result.Sample) int {
	longest, n := 0, 0
	var began time.Time
	pass := 0
	for _, s := range samples {
		p := s.Progress()
		switch {
		case !p.Diverges():
			n, pass = 0, 0
		case pass == 0:
			began, pass = s.Time, p.Pass
		case p.Pass > pass && s.Time.Sub(began) >= decisivePeriod:
			n, began, pass = n+1, s.Time, p.Pass
		}
		longest = max(longest, n)
	}
	return longest
}
