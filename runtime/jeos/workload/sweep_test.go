// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func media(t *testing.T) map[string]medium {
	t.Helper()
	const size = 200 * pageSize // not a multiple of chunk
	m, err := newMemory(options{size: size})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, size+pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := newDisk(options{size: size, device: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); d.Close() })
	return map[string]medium{"memory": m, "disk": d}
}

// damage changes a stored page behind the sweep's back.
func damage(t *testing.T, m medium, page int, change func([]byte)) {
	t.Helper()
	content, err := m.read(page, 1)
	if err != nil {
		t.Fatal(err)
	}
	change(content)
	if err := m.write(page, 1); err != nil {
		t.Fatal(err)
	}
}

// content returns a copy of a page.
func content(t *testing.T, m medium, page int) []byte {
	t.Helper()
	b, err := m.read(page, 1)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

func TestSweepFindsDamage(t *testing.T) {
	t.Parallel()
	const victim = 77
	tests := []struct {
		name string
		hurt func(t *testing.T, s *sweep)
		want string // in the fault
	}{
		{name: "zeroed page", want: "page 77: expected generation 3, holds all zeros", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { clear(p) })
		}},
		{name: "flipped bit in the head", want: "1 wrong bits, from byte 17", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { p[17] ^= 4 })
		}},
		{name: "flipped bit at the end", want: "1 wrong bits, from byte 4095", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { p[pageSize-1] ^= 128 })
		}},
		{name: "older content", want: "page 77: expected generation 3, holds generation 2", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { fill(p, s.seed, victim, 2) })
		}},
		{name: "newer content", want: "expected generation 3, holds generation 4", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { fill(p, s.seed, victim, 4) })
		}},
		{name: "another page", want: "holds page 76, generation 3", hurt: func(t *testing.T, s *sweep) {
			other := content(t, s.medium, victim-1)
			damage(t, s.medium, victim, func(p []byte) { copy(p, other) })
		}},
		{name: "another run", want: "another run", hurt: func(t *testing.T, s *sweep) {
			damage(t, s.medium, victim, func(p []byte) { fill(p, s.seed+1, victim, 3) })
		}},
		{name: "half a page of older content", want: "wrong bits", hurt: func(t *testing.T, s *sweep) {
			older := make([]byte, pageSize)
			fill(older, s.seed, victim, 2)
			damage(t, s.medium, victim, func(p []byte) { copy(p[2048:], older[2048:]) })
		}},
	}
	for name, m := range media(t) {
		for _, tt := range tests {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				s, err := newSweep(m, 42)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.advance(2*m.pages() + victim - 10); err != nil {
					t.Fatal(err)
				}
				if n, err := s.check(); n != 0 || err != nil {
					t.Fatalf("check before the damage: %d damaged, %v, %v", n, s.fault, err)
				}
				tt.hurt(t, s)
				// Both ways must find it: a check, and the sweep when it gets there.
				checked := *s
				if n, err := checked.check(); n != 1 || err != nil {
					t.Errorf("check: got %d damaged pages (%v), want 1", n, err)
				}
				if err := s.advance(100); err != nil {
					t.Fatal(err)
				}
				for by, fault := range map[string]*fault{"check": checked.fault, "sweep": s.fault} {
					if fault == nil || !strings.Contains(fault.String(), tt.want) {
						t.Errorf("%s: got %v, want %q", by, fault, tt.want)
					}
				}
				if s.next != victim {
					t.Errorf("sweep stopped at page %d, want %d: the damage must stay as it is", s.next, victim)
				}
			})
		}
	}
}

// TestSweepLostRound is a migration that lost all pages dirtied in its last
// moments, the sweep's own place not among them.
func TestSweepLostRound(t *testing.T) {
	t.Parallel()
	for name, m := range media(t) {
		t.Run(name, func(t *testing.T) {
			s, err := newSweep(m, 42)
			if err != nil {
				t.Fatal(err)
			}
			old := map[int][]byte{}
			for page := range 20 {
				old[page] = content(t, m, page)
			}
			if err := s.advance(50); err != nil {
				t.Fatal(err)
			}
			for page, was := range old {
				damage(t, m, page, func(p []byte) { copy(p, was) })
			}
			if n, err := s.check(); n != len(old) || err != nil {
				t.Errorf("check: got %d damaged pages (%v), want %d", n, err, len(old))
			}
			if got, want := s.fault.String(), "page 0: expected generation 2, holds generation 1"; got != want {
				t.Errorf("fault: got %q, want %q", got, want)
			}
		})
	}
}

func TestSweepCounts(t *testing.T) {
	t.Parallel()
	for name, m := range media(t) {
		t.Run(name, func(t *testing.T) {
			s, err := newSweep(m, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.advance(3*m.pages() + 5); err != nil {
				t.Fatal(err)
			}
			if want := uint64(4*m.pages()+5) * pageSize; s.written() != want || s.passes != 4 || s.next != 5 {
				t.Errorf("got %d bytes, %d passes, at page %d; want %d bytes, 4, 5", s.written(), s.passes, s.next, want)
			}
		})
	}
}

func BenchmarkSweep(b *testing.B) {
	m, err := newMemory(options{size: 16 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := newSweep(m, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(m.pages()) * pageSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.advance(m.pages()); err != nil || s.fault != nil {
			b.Fatal(err, s.fault)
		}
	}
}
