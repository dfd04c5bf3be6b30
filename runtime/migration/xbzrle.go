// SPDX-License-Identifier: Apache-2.0

package migration

import "context"

const xbzrleCapability = "xbzrle"

// xbzrle is the feature of mig_xbzrle: of a page that was sent before, only what has
// changed is sent. Pages are looked for in its cache from the second pass on.
type xbzrle struct{ switched }

func newXbzrle(o options, _ Traits) Feature {
	return xbzrle{switched{xbzrleCapability, o.xbzrle}}
}

// Check checks that QEMU has a cache, and looked for pages in it if it sent many again. An
// idle guest has few, which may all be zeros, and those QEMU sends without a look.
func (f xbzrle) Check(_ context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	cache, _ := o.Query["xbzrle-cache"].(map[string]any)
	if cache == nil {
		return unused("xbzrle was on, but QEMU reports no xbzrle-cache")
	}
	pages, _ := cache["pages"].(float64)
	missed, _ := cache["cache-miss"].(float64)
	overflown, _ := cache["overflow"].(float64)
	size, _ := o.RAM("total")
	pageSize, _ := o.RAM("page-size")
	few := size / max(pageSize, 1) / 100
	if again := o.sentAgain() + int64(pages); pages+missed+overflown == 0 && again > few {
		return unused("xbzrle was on, but QEMU looked for none of the %d pages that it sent again in its cache: xbzrle-cache has pages, cache-miss and overflow 0", again)
	}
	if pages+missed+overflown == 0 {
		o.Idle(xbzrleCapability, "QEMU sent no page again that is not zero")
		return nil
	}
	o.Used(xbzrleCapability, "%v pages were sent by what had changed, %v were not in the cache, %v had changed too much", pages, missed, overflown)
	return nil
}

// sentAgain is how many pages more than the guest has were sent whole, or as a zero.
func (o *Outcome) sentAgain() int64 {
	var n [4]int64
	for i, name := range []string{"normal", "duplicate", "total", "page-size"} {
		var reported bool
		if n[i], reported = o.RAM(name); !reported {
			return 0
		}
	}
	return n[0] + n[1] - n[2]/max(n[3], 1)
}
