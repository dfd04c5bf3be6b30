// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"context"
	"io"
)

// WriteTogether is Write by several walks however few variants there are, which remember next to nothing.
func (c *Config) WriteTogether(ctx context.Context, out io.Writer, format Format, limit int, o Options, unit, known int) (int, error) {
	l := &listing{
		config: c, options: o, format: format, out: out, limit: limit,
		bounds: bounds{unit: unit, known: known, delegated: 4 * unit},
	}
	return l.run(ctx, 3)
}
