// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal; closing its master hangs it up.
type terminal struct {
	master *os.File
}

// openTerminal returns a new terminal and its other end, for a process.
func openTerminal() (*terminal, *os.File, error) {
	// Nonblocking, so that closing it ends a Read in another goroutine.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return &terminal{master}, slave, nil
}

func (t *terminal) resize(w window) error {
	return t.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(w.Rows), Col: uint16(w.Columns)})
	})
}

// flags are the terminal modes of RFC 4254, section 8, that matter to a shell.
var flags = map[byte]struct {
	field func(*unix.Termios) *uint32
	bit   uint32
}{
	ssh.ICRNL:  {inputFlags, unix.ICRNL},
	ssh.IXON:   {inputFlags, unix.IXON},
	ssh.ISIG:   {localFlags, unix.ISIG},
	ssh.ICANON: {localFlags, unix.ICANON},
	ssh.ECHO:   {localFlags, unix.ECHO},
	ssh.ECHOE:  {localFlags, unix.ECHOE},
	ssh.ECHOK:  {localFlags, unix.ECHOK},
	ssh.OPOST:  {outputFlags, unix.OPOST},
	ssh.ONLCR:  {outputFlags, unix.ONLCR},
}

func inputFlags(t *unix.Termios) *uint32  { return &t.Iflag }
func outputFlags(t *unix.Termios) *uint32 { return &t.Oflag }
func localFlags(t *unix.Termios) *uint32  { return &t.Lflag }

// setModes applies what a client wants of its terminal: pairs of a mode and a
// number, up to mode 0.
func (t *terminal) setModes(modes string) error {
	return t.control(func(fd int) error {
		settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		for pairs := []byte(modes); len(pairs) >= 5 && pairs[0] != 0; pairs = pairs[5:] {
			flag, known := flags[pairs[0]]
			if !known {
				continue
			}
			if binary.BigEndian.Uint32(pairs[1:]) != 0 {
				*flag.field(settings) |= flag.bit
			} else {
				*flag.field(settings) &^= flag.bit
			}
		}
		return unix.IoctlSetTermios(fd, unix.TCSETS, settings)
	})
}

func (t *terminal) control(f func(fd int) error) error {
	conn, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
