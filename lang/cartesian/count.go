// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"math/big"
)

// Count returns how many variants the config has. It does not go through all of them: what looks the same to the
// filters is counted once. Only variants that joins multiply, and all where a key with the ending _min or _max may meet
// what is no number, are made one by one. Errors are as those of [Config.Variants], but that values too long are not
// noticed.
func (c *Config) Count(ctx context.Context, o Options) (*big.Int, error) {
	w := c.newNamesWalk(ctx, o)
	if c.root.joined || c.nameless {
		n := new(big.Int)
		w.emit = func(*dict) bool { n.Add(n, one); return true }
		_, err := w.run()
		return n, err
	}
	w.count = true
	left, err := w.run()
	if err != nil || left == nil {
		return new(big.Int), err
	}
	return left.variants, nil
}
