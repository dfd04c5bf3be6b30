// SPDX-License-Identifier: Apache-2.0

package migration

import "context"

const zeroPageDetection = "zero-page-detection"

// zeroPages is the feature of mig_zero_page_detection: which of the source's threads look
// for pages of zeros, of which nothing but that is sent.
type zeroPages struct {
	switched // no capability

	method string // "": QEMU's default
}

func newZeroPages(o options, _ Traits) Feature {
	f := zeroPages{}
	for _, p := range o.parameters {
		if p.name == zeroPageDetection {
			f.method = p.value
		}
	}
	return f
}

// Parameters are set by the feature settings.
func (f zeroPages) Parameters(Role) []string {
	if f.method == "" {
		return nil
	}
	return []string{zeroPageDetection}
}

// Check checks that both ends have the method, and that none finds no zeros. QEMU reports
// how many pages of zeros it has found, but not by which threads.
func (f zeroPages) Check(ctx context.Context, o *Outcome) error {
	if f.method == "" {
		return nil
	}
	if err := o.checkSet(ctx, parameter{name: zeroPageDetection, value: f.method}); err != nil {
		return err
	}
	switch zeros, reported := o.RAM("duplicate"); {
	case !reported:
		return unused("zero-page-detection was set to %s, but QEMU does not report how many pages of zeros it found (duplicate)", f.method)
	case f.method == "none" && zeros > 0:
		return unused("zero-page-detection was set to none, but QEMU found %d pages of zeros (duplicate)", zeros)
	case f.method == "none":
		o.Used(zeroPageDetection, "both ends have none, and no page was found to be zeros (duplicate is 0)")
	case zeros == 0:
		o.Idle(zeroPageDetection, "both ends have %s, and no page was found to be zeros (duplicate is 0)", f.method)
	default:
		o.Used(zeroPageDetection, "both ends have %s, and %d pages were found to be zeros (duplicate); which threads found them is not known", f.method, zeros)
	}
	return nil
}
