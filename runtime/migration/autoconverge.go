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
	t := o.throttling
	if t.from > 0 {
		return unused("auto-converge was on, but QEMU lowered the throttle of the guest while it moved: from %v %% to %v %%", t.from, t.to)
	}
	if t.last == 0 {
		if t.longest >= decisivePeriods {
			return unused("auto-converge was on, but QEMU did not throttle the guest, although it wrote faster than its memory was sent for %d passes of at least %v", t.longest, decisivePeriod)
		}
		o.Idle(autoConvergeCapability, "the guest did not write faster than its memory was sent for long enough to be throttled")
		return nil
	}
	limit, err := o.Parameter(ctx, SourceRole, "max-cpu-throttle")
	if err != nil {
		return err
	}
	if most, ok := limit.(float64); ok && t.last > most {
		return unused("auto-converge was on, but QEMU throttled the guest by %v %%, more than max-cpu-throttle = %v", t.last, most)
	}
	o.Used(autoConvergeCapability, "QEMU throttled the guest by up to %v %%", t.last)
	return nil
}

// throttling is what all samples of a move have shown of how the guest was throttled, also
// those that are not kept.
type throttling struct {
	last     float64 // percentage of the throttle; 0: none so far
	from, to float64 // percentages between which it fell first; 0: it never did

	longest int       // most passes of at least a decisivePeriod, one after the other, in which the guest wrote too fast
	passes  int       // such passes now
	pass    int       // that is counted; 0: the guest does not write too fast
	began   time.Time // of that pass
}

func (t *throttling) note(s result.Sample) {
	if percentage, throttled := s.Query["cpu-throttle-percentage"].(float64); throttled {
		if percentage < t.last && t.from == 0 {
			t.from, t.to = t.last, percentage
		}
		t.last = percentage
	}
	p := s.Progress()
	switch {
	case !p.Diverges():
		t.passes, t.pass = 0, 0
	case t.pass == 0:
		t.began, t.pass = s.Time, p.Pass
	case p.Pass > t.pass && s.Time.Sub(t.began) >= decisivePeriod:
		t.passes, t.began, t.pass = t.passes+1, s.Time, p.Pass
	}
	t.longest = max(t.longest, t.passes)
}
