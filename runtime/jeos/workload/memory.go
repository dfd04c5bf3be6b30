// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// memory is a medium of this process's own pages.
type memory []byte

func newMemory(o options) (medium, error) {
	m, err := unix.Mmap(-1, 0, int(o.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("get %d MiB of memory: %w", o.size>>20, err)
	}
	return memory(m), nil
}

func (m memory) pages() int { return len(m) / pageSize }

// read returns the memory itself, so write has nothing to do.
func (m memory) read(first, n int) ([]byte, error) { return m[first*pageSize:][:n*pageSize], nil }
func (m memory) write(int, int) error              { return nil }

func (m memory) Close() error { return unix.Munmap(m) }
