// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"fmt"
	"math/big"
)

// Count returns how many variants the config has. It does not go through all of them: what looks the same to the
// statements after it is counted once. Variants are made one by one only where joins or keys such as name_max depend on
// what variants are called, and where joins have very many words. The error is that of a variant that cannot be built, if
// there is one; values too long are noticed only where they decide on that.
func (c *Config) Count(ctx context.Context, o Options) (*big.Int, error) {
	t := newCounter(ctx, c, o)
	n, wrong := t.count()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case t.unknown:
		return c.countEach(ctx, o)
	case wrong == nil:
		return n, nil
	}
	if err := wrong.err(ctx, c); err != nil {
		return nil, err
	}
	return c.countEach(ctx, o)
}

// countEach counts variants by making them.
func (c *Config) countEach(ctx context.Context, o Options) (*big.Int, error) {
	w := c.newNamesWalk(ctx, o)
	n := new(big.Int)
	w.emit = func(*dict) bool { n.Add(n, one); return true }
	_, err := w.run()
	return n, err
}

// Exceeds reports whether the config has more than limit variants. It looks at no more of them than that takes; an error
// is that of a variant among these, or of any if there are not so many.
func (c *Config) Exceeds(ctx context.Context, limit int, o Options) (bool, error) {
	w := c.newNamesWalk(ctx, o)
	n := 0
	w.emit = func(*dict) bool { n++; return n <= limit }
	w.mostSteps = exceedingSteps + 100*limit
	if c.root.joined {
		w.mostSteps = exceedingJoinedSteps + 100*limit
	}
	if _, err := w.run(); err != nil {
		return false, err
	}
	if n > limit || w.steps <= w.mostSteps {
		return n > limit, nil
	}
	// Variants are few and far between: then it is quicker to count all.
	all, err := c.Count(ctx, o)
	if err != nil {
		return false, err
	}
	return all.Cmp(big.NewInt(int64(limit))) > 0, nil
}

// exceedingSteps is how many steps more than for variants in a row Exceeds goes at first.
const exceedingSteps = 100_000

// exceedingJoinedSteps is the same where joins merge what the walk comes to, which takes longer.
const exceedingJoinedSteps = 10_000

// err returns the error of the variant that is wrong; nil if it can be built.
func (d *defect) err(ctx context.Context, c *Config) error {
	w := newWalk(ctx, c, Options{})
	w.dict = newDict(ctx, c)
	w.emit = func(*dict) bool { return true }
	if err := w.begin(); err != nil {
		return err
	}
	for t := d.trail; t.node != nil; t = t.from {
		w.step(t.node)
	}
	if d.join {
		_, err := mergeNames(w.full, w.full)
		return err
	}
	w.leaf()
	return w.err
}

// step goes one step on a way that leads to a variant.
func (w *walk) step(n *node) {
	m := w.push(n)
	inherited := w.open
	w.open = nil
	if !w.settle(n.decisions, n.below) || !w.settle(inherited, n.below) {
		panic(fmt.Sprintf("variant %q: counted, but dropped", w.full))
	}
	w.open = w.arena[m.arena:]
}
