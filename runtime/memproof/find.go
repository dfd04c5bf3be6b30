// SPDX-License-Identifier: Apache-2.0

package memproof

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Find says of each text whether it is in the RAM of an end, whose guest must not run.
// A text has no control characters. One that begins on another page than it ends on need
// not be in one piece, and may not be found. The host also needs grep and tr. The error is
// an [*EndError], or ctx's cause.
func Find(ctx context.Context, in End, texts []string) (map[string]bool, error) {
	e := &end{End: in, side: alone}
	found, err := e.find(ctx, texts)
	if err != nil && ctx.Err() != nil { // it fails because it was stopped
		err = context.Cause(ctx)
	}
	return found, err
}

func (e *end) find(ctx context.Context, texts []string) (map[string]bool, error) {
	if err := e.stopped(ctx); err != nil {
		return nil, err
	}
	regions, err := e.layout(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := e.prepare(ctx); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, piece := range cut(merge(regions)) {
		if err := e.save(ctx, piece, "piece"); err != nil {
			return nil, err
		}
		for _, text := range texts {
			is, err := e.has(ctx, piece, text)
			if err != nil {
				return nil, err
			}
			found[text] = found[text] || is
		}
	}
	if _, err := e.clean(ctx); err != nil {
		return nil, err
	}
	return found, e.stopped(ctx)
}

// has says whether a piece that was saved has a text. To grep, it is a file of lines: the
// zeros are their ends.
func (e *end) has(ctx context.Context, piece Span, text string) (bool, error) {
	doing := "look for a text in RAM at " + piece.String()
	const script = `wc -c <piece && { tr '\0' '\n' <piece | LC_ALL=C grep -c -F -e %s || [ $? = 1 ]; }`
	out, err := e.run(ctx, doing, fmt.Sprintf(script, shellescape.Quote(text)))
	if err != nil {
		return false, err
	}
	size, count, _ := strings.Cut(string(out), "\n")
	if err := e.checkSize(piece, "piece", size); err != nil {
		return false, e.fail(doing, err)
	}
	lines, err := strconv.Atoi(strings.TrimSpace(count))
	return lines > 0, e.fail(doing, err)
}
