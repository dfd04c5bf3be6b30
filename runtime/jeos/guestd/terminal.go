// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"fmt"
	"os"

	"github.com/gliderlabs/ssh"
	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new pseudo terminal.
func openTerminal() (master, slave *os.File, err error) {
	// Nonblocking, so that closing it ends a Read in another goroutine.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	slave, err = openSlave(fd)
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

func openSlave(master int) (*os.File, error) {
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("ask for the terminal's number: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	// gliderlabs/ssh makes CR LF of each LF by itself, also of one whose CR
	// was in the packet before. So the terminal must not.
	settings, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err == nil {
		settings.Oflag &^= unix.ONLCR
		err = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, settings)
	}
	if err != nil {
		slave.Close()
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	return slave, nil
}

func resize(master *os.File, w ssh.Window) error {
	control, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = control.Control(func(fd uintptr) {
		setErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(w.Height), Col: uint16(w.Width)})
	})
	if err != nil {
		return err
	}
	return setErr
}
