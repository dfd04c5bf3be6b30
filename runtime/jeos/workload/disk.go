// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// disk is a medium of the first pages of a block device or file, past the
// guest's page cache: what is read has come from the disk, and what was
// written is on it when write returns.
type disk struct {
	file  *os.File
	size  int64
	chunk []byte // aligned, as O_DIRECT wants it
}

func newDisk(o options) (medium, error) {
	file, err := os.OpenFile(o.device, os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		return nil, err
	}
	d := &disk{file: file, size: int64(o.size)}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil && end < d.size {
		err = fmt.Errorf("%s has %d bytes, less than the %d to work on", o.device, end, d.size)
	}
	if err == nil {
		d.chunk, err = unix.Mmap(-1, 0, chunk*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return d, nil
}

func (d *disk) pages() int { return int(d.size / pageSize) }

func (d *disk) read(first, n int) ([]byte, error) {
	_, err := d.file.ReadAt(d.chunk[:n*pageSize], int64(first)*pageSize)
	return d.chunk[:n*pageSize], err
}

func (d *disk) write(first, n int) error {
	_, err := d.file.WriteAt(d.chunk[:n*pageSize], int64(first)*pageSize)
	return err
}

func (d *disk) Close() error { return errors.Join(d.file.Close(), unix.Munmap(d.chunk)) }
