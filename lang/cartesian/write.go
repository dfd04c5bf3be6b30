// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// A Format is what Write writes of each variant, on a line of its own.
type Format int

const (
	// Names are the variants' names.
	Names Format = iota
	// ShortNames are the variants' short names.
	ShortNames
	// JSON is all of a variant, see [Variant.AppendJSON].
	JSON
)

// Write writes a line for each of the first limit variants, or for all if limit is negative. It is much faster than
// [Config.Variants], and uses all processors for configs with many variants. It returns how many lines it has written.
// Errors of out are returned as they are, others are those of Variants (names do not notice values too long); the lines
// before an error are written.
func (c *Config) Write(ctx context.Context, out io.Writer, format Format, limit int, o Options) (int, error) {
	l := &listing{config: c, options: o, format: format, out: out, limit: limit, bounds: usualBounds}
	if format == JSON {
		l.bounds.unit /= 8 // its lines are long
	}
	return l.run(ctx, runtime.GOMAXPROCS(0))
}

// run writes all lines by so many walks, or by one alone if it is not worth more.
func (l *listing) run(ctx context.Context, walks int) (int, error) {
	if l.limit == 0 {
		return 0, nil
	}
	if l.format == JSON {
		l.config.encode()
	}
	l.buffers = make(chan []byte, 4*chunksKept)
	var err error
	root := l.config.root
	if few := min(uint(l.limit), uint(root.leaves)) <= uint(l.bounds.unit); few || root.joined || walks == 1 {
		err = l.alone(ctx)
	} else {
		err = l.together(ctx, walks)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return l.written, err
}

// errEnough ends a listing at its limit.
var errEnough = errors.New("enough variants")

// A listing is one call of Write.
type listing struct {
	config  *Config
	options Options
	format  Format
	out     io.Writer
	limit   int
	bounds  bounds
	written int
	buffers chan []byte // that can be used again
}

// A chunk is some lines.
type chunk struct {
	text  []byte
	lines int
}

const (
	chunkSize  = 64 << 10 // bytes that are written at once, about
	chunksKept = 24       // chunks of a unit that wait for those of other walks
)

// put writes a chunk, whose text may be used again.
func (l *listing) put(c chunk) error {
	text := c.text
	if left := l.limit - l.written; l.limit >= 0 && c.lines > left {
		text, c.lines = firstLines(text, left), left
	}
	if _, err := l.out.Write(text); err != nil {
		return err
	}
	select {
	case l.buffers <- c.text[:0]:
	default:
	}
	if l.written += c.lines; l.written == l.limit {
		return errEnough
	}
	return nil
}

// buffer returns an empty one.
func (l *listing) buffer() []byte {
	select {
	case b := <-l.buffers:
		return b
	default:
		return make([]byte, 0, chunkSize+chunkSize/8)
	}
}

// firstLines returns the first n lines of text.
func firstLines(text []byte, n int) []byte {
	end := 0
	for range n {
		end += bytes.IndexByte(text[end:], '\n') + 1
	}
	return text[:end]
}

// alone writes all lines by one walk.
func (l *listing) alone(ctx context.Context) error {
	w := l.newWalk(ctx, l.put)
	w.left = l.limit
	_, err := w.run()
	return errors.Join(w.flush(), err)
}

// A unit is some branches whose lines one walk writes.
type unit struct {
	jobs   []job
	size   int        // variants, about
	chunks chan chunk // closed when all is done
	err    error      // why it ended early; valid then
}

// A job is one branch, see walk.handOver.
type job struct {
	way  way
	node *node
	left *branch
}

// together writes all lines by several walks. One goes through the upper part of the tree, and finds out what is below:
// others then follow the branches, and their lines are put in order again.
func (l *listing) together(ctx context.Context, walks int) error {
	group, ctx := errgroup.WithContext(ctx)
	todo, order := make(chan *unit, walks), make(chan *unit, 4*walks)
	group.Go(func() error {
		defer close(order)
		defer close(todo)
		return l.share(ctx, func(u *unit) error {
			for _, to := range []chan *unit{order, todo} {
				select {
				case to <- u:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		})
	})
	for range walks {
		group.Go(func() error { return l.work(ctx, todo) })
	}
	group.Go(func() error {
		for u := range order {
			if err := l.putAll(ctx, u); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// putAll writes the chunks of a unit, as they come.
func (l *listing) putAll(ctx context.Context, u *unit) error {
	for {
		select {
		case c, ok := <-u.chunks:
			if !ok {
				return u.err
			}
			if err := l.put(c); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// share makes units.
func (l *listing) share(ctx context.Context, send func(*unit) error) error {
	w := newWalk(ctx, l.config, l.options)
	w.bounds = l.bounds
	next, handed := new(unit), 0
	sendNext := func() {
		if len(next.jobs) == 0 {
			return
		}
		next.chunks = make(chan chunk, chunksKept)
		if err := send(next); err != nil {
			w.end(err)
		}
		next = new(unit)
	}
	w.handOver = func(n *node, left *branch) {
		at := way{full: roomy(w.full, 256), short: roomy(w.short, 256)}
		if left == nil || !l.namesOnly() {
			at = w.way.clone()
		}
		next.jobs = append(next.jobs, job{at, n, left})
		if left != nil {
			next.size += left.size
			handed += left.size
		}
		if next.size >= l.bounds.unit || len(next.jobs) >= l.bounds.unit {
			sendNext()
		}
		if l.limit >= 0 && handed >= l.limit {
			w.ended = true
		}
	}
	w.enter(l.config.root)
	sendNext()
	// An error of the tree comes again, in its place, from the walk that it was handed to.
	return context.Cause(ctx)
}

// work writes the lines of units.
func (l *listing) work(ctx context.Context, todo <-chan *unit) error {
	var u *unit
	w := l.newWalk(ctx, func(c chunk) error {
		select {
		case u.chunks <- c:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err := w.begin(); err != nil {
		return err
	}
	for u = range todo {
		for _, j := range u.jobs {
			w.do(j)
		}
		_ = w.flush() // what is wrong with it ends the walk
		u.err = w.err
		close(u.chunks)
	}
	return nil
}

func (l *listing) namesOnly() bool { return l.format != JSON && !l.config.nameless }

// newWalk returns a walk that hands full chunks to put.
func (l *listing) newWalk(ctx context.Context, put func(chunk) error) *lineWalk {
	w := &lineWalk{walk: newWalk(ctx, l.config, l.options), listing: l, put: put, left: -1}
	w.encoder.anyNames = l.config.nameless
	w.bounds = l.bounds
	w.dict = newDict(ctx, l.config)
	w.names = l.namesOnly()
	w.emit = w.line
	return w
}

// A lineWalk is a walk that writes lines.
type lineWalk struct {
	*walk
	listing *listing
	put     func(chunk) error
	chunk   chunk
	encoder encoder
	left    int // lines to write, or negative
}

func (w *lineWalk) do(j job) {
	w.way = j.way
	switch {
	case w.ended:
	case j.left == nil && len(j.node.children) == 0:
		w.leaf()
	case j.left == nil:
		w.explore(j.node)
	case w.names:
		w.followNames(j.left)
	default:
		w.follow(j.left)
	}
}

// line appends the line of a variant.
func (w *lineWalk) line(d *dict) bool {
	if w.chunk.text == nil {
		w.chunk.text = w.listing.buffer()
	}
	text := w.chunk.text
	switch w.listing.format {
	case Names:
		text = append(text, d.name...)
	case ShortNames:
		text = append(text, d.shortName...)
	case JSON:
		text = w.encoder.append(text, d)
	}
	text = append(text, '\n')
	w.chunk.text = text
	w.chunk.lines++
	w.left--
	if len(w.chunk.text) < chunkSize && w.left != 0 {
		return true
	}
	return w.flush() == nil
}

// flush hands over what there is.
func (w *lineWalk) flush() error {
	if w.chunk.lines == 0 {
		return nil
	}
	err := w.put(w.chunk)
	w.chunk = chunk{}
	if err != nil {
		w.end(err)
	}
	return err
}
