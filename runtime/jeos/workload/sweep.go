// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"io"
)

// medium is what pages lie on.
type medium interface {
	// pages is how many there are.
	pages() int
	// read returns the content of n pages. It is valid until the next call,
	// and may be changed.
	read(first, n int) ([]byte, error)
	// write stores the n pages that the last read returned.
	write(first, n int) error
	io.Closer
}

// sweep rewrites the pages of a medium in order, again and again. Its place
// tells each page's generation: those before next have been written once more
// than the others. So there is no table of generations that could get lost
// together with the pages.
type sweep struct {
	medium medium
	seed   uint64
	passes uint64 // complete ones
	next   int    // page
	fault  *fault // the first damage that was found; nothing is written any more
}

// fault is damage.
type fault struct {
	page int
	want uint64 // generation
	got  string
}

func (f *fault) String() string {
	return fmt.Sprintf("page %d: expected generation %d, holds %s", f.page, f.want, f.got)
}

// chunk is how many pages are read at once.
const chunk = 64

// newSweep writes each page for the first time.
func newSweep(m medium, seed uint64) (*sweep, error) {
	s := &sweep{medium: m, seed: seed}
	for s.passes == 0 {
		if err := s.rewrite(s.upTo(chunk), false); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// advance verifies and rewrites the next n pages, or fewer: up to damage.
func (s *sweep) advance(n int) error {
	for n > 0 && s.fault == nil {
		some := s.upTo(n)
		if err := s.rewrite(some, true); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// upTo returns how many of n pages can be done at once.
func (s *sweep) upTo(n int) int { return min(n, chunk, s.medium.pages()-s.next) }

// rewrite writes the next n pages, up to the first that is damaged.
func (s *sweep) rewrite(n int, verified bool) error {
	content, err := s.medium.read(s.next, n)
	if err != nil {
		return err
	}
	for i := range n {
		page, number := content[i*pageSize:][:pageSize], s.next+i
		if verified {
			if got := verify(page, s.seed, uint64(number), s.passes); got != "" {
				s.fault = &fault{page: number, want: s.passes, got: got}
				n = i
				break
			}
		}
		fill(page, s.seed, uint64(number), s.passes+1)
	}
	if err := s.medium.write(s.next, n); err != nil {
		return err
	}
	if s.next += n; s.next == s.medium.pages() {
		s.next, s.passes = 0, s.passes+1
	}
	return nil
}

// check verifies every page where it is. It returns the number of damaged ones;
// the first is s.fault.
func (s *sweep) check() (int, error) {
	damaged := 0
	for first := 0; first < s.medium.pages(); first += chunk {
		n := min(chunk, s.medium.pages()-first)
		content, err := s.medium.read(first, n)
		if err != nil {
			return damaged, err
		}
		for i := range n {
			number, want := first+i, s.passes
			if number < s.next {
				want++
			}
			got := verify(content[i*pageSize:][:pageSize], s.seed, uint64(number), want)
			if got == "" {
				continue
			}
			damaged++
			if s.fault == nil {
				s.fault = &fault{page: number, want: want, got: got}
			}
		}
	}
	return damaged, nil
}

// written is the number of bytes that were written so far.
func (s *sweep) written() uint64 {
	return (s.passes*uint64(s.medium.pages()) + uint64(s.next)) * pageSize
}

// progress says how far the sweep is.
func (s *sweep) progress() string {
	return fmt.Sprintf("%d pages, %d passes, %d MiB written", s.medium.pages(), s.passes, s.written()>>20)
}
