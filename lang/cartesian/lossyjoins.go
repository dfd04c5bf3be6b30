// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mhmig/mhmig/lang/diag"
)

// lossyLimit is how long it is counted what joins lose.
const lossyLimit = 5 * time.Second

// lossyJoins warns of joins that make less than all combinations of their words. With three words and more, the language
// binds all but the first variant of a word by the next word too.
func (c *Config) lossyJoins() (warnings diag.List) {
	if !c.root.joined {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lossyLimit)
	defer cancel()
	t := newCounter(ctx, c, Options{})
	_, wrong := t.count()
	for _, n := range t.order {
		factors := t.factorsOf(n)
		if len(factors) < 3 {
			continue
		}
		message := ""
		switch y, ok := t.yields[n]; {
		case ok && y.made.Cmp(y.all) < 0:
			message = fmt.Sprintf("this join of %d words makes only %v of %v combinations", len(factors), y.made, y.all)
		case ok, wrong == nil && !t.ended():
			continue // loses none, or has no variants
		default:
			message = fmt.Sprintf("this join of %d words may not make all combinations", len(factors))
		}
		d := n.joins[0].place.diagnostic(message,
			"all but the first variant of a word are bound by the next word too; a join of two words makes all combinations")
		d.Severity = diag.Warning
		warnings = append(warnings, d)
	}
	slices.Reverse(warnings)
	return warnings
}
