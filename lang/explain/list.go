// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"fmt"
	"io"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// Lists are the formats of List.
var Lists = []string{"names", "shortnames", "jsonl", "count", "tree"}

// List writes the variants of a config in one of the formats of Lists, at most limit of
// them unless that is negative, and reports whether there are any.
func List(ctx context.Context, c *cartesian.Config, w io.Writer, format string, limit int, o cartesian.Options) (some bool, err error) {
	var n int
	switch format {
	case "names":
		n, err = c.Write(ctx, w, cartesian.Names, limit, o)
	case "shortnames":
		n, err = c.Write(ctx, w, cartesian.ShortNames, limit, o)
	case "jsonl":
		n, err = c.Write(ctx, w, cartesian.JSON, limit, o)
	case "tree":
		n, err = c.WriteTree(ctx, w, limit, o)
	case "count":
		return count(ctx, c, w, limit, o)
	default:
		return false, fmt.Errorf("unknown format of variants %q", format)
	}
	return n > 0, err
}

// count counts without expanding all variants; with a limit, it expands at most that many.
func count(ctx context.Context, c *cartesian.Config, w io.Writer, limit int, o cartesian.Options) (some bool, err error) {
	if limit < 0 {
		n, err := c.Count(ctx, o)
		if err != nil {
			return false, err
		}
		_, err = fmt.Fprintln(w, n)
		return n.Sign() > 0, err
	}
	n, err := c.Write(ctx, io.Discard, cartesian.Names, limit, o)
	if err != nil {
		return false, err
	}
	_, err = fmt.Fprintln(w, n)
	return n > 0, err
}
