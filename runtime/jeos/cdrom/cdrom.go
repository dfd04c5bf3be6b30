// SPDX-License-Identifier: Apache-2.0

// Package cdrom is the guest's command cdrom, which does to a CD-ROM drive what a
// desktop does: it locks its tray, opens and closes it, and says what is in it.
//
//	cdrom lock           # eject fails, QEMU's too unless it is forced
//	cdrom status         # disc, no-disc, tray-open, …
//	cdrom unlock
//	cdrom eject
//	cdrom close
//
// The kernel locks the tray by itself as long as the disc is mounted, or its device
// file is open for reading, and unlocks it afterwards; what the command locks stays
// locked until it unlocks it.
package cdrom

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// Name is the command's.
const Name = "cdrom"

// The requests of linux/cdrom.h.
const (
	requestEject  = 0x5309 // CDROMEJECT
	requestClose  = 0x5319 // CDROMCLOSETRAY
	requestStatus = 0x5326 // CDROM_DRIVE_STATUS
	requestLock   = 0x5329 // CDROM_LOCKDOOR

	currentSlot = math.MaxInt32 // CDSL_CURRENT: of a changer that is none
)

// verb is something that the command does.
type verb struct {
	name, doc string
	do        func(drive) (answer string, err error)
}

// verbs are in the order of the command's help.
var verbs = []verb{
	{"lock", "keep the tray closed: eject fails, QEMU's too unless it is forced", func(d drive) (string, error) { return d.setLock(1) }},
	{"unlock", "let the tray be opened again", func(d drive) (string, error) { return d.setLock(0) }},
	{"eject", "open the tray; fails while it is locked or the disc is mounted", drive.eject},
	{"close", "close the tray", drive.shut},
	{"status", "say what is in the drive: disc, no-disc, tray-open, not-ready or unknown", drive.status},
}

// states are the answers to requestStatus: CDS_NO_INFO and so on.
var states = []string{"unknown", "no-disc", trayOpen, "not-ready", "disc"}

const trayOpen = "tray-open"

// Exit statuses of the command.
const (
	statusOK      = 0
	statusRefused = 1
	statusUsage   = 2
)

// Main carries out the command with these arguments, such as [lock], and returns its
// exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	return run(args, stdout, stderr, openDrive)
}

func run(args []string, stdout, stderr io.Writer, open func(device string) (drive, error)) int {
	var device string
	flags := flagsOf(&device)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		_, _ = io.WriteString(stdout, Usage()) // who has closed it does not read it
		return statusOK
	}
	if err != nil {
		return complain(stderr, statusUsage, err)
	}
	at := slices.IndexFunc(verbs, func(v verb) bool { return flags.NArg() == 1 && flags.Arg(0) == v.name })
	if at < 0 {
		return complain(stderr, statusUsage, fmt.Errorf("got %q, want lock, unlock, eject, close or status; see %s --help", flags.Args(), Name))
	}
	d, err := open(device)
	if err == nil {
		var answer string
		answer, err = verbs[at].do(d)
		_, _ = io.WriteString(stdout, answer)
		_ = d.Close()
	}
	if err != nil {
		return complain(stderr, statusRefused, fmt.Errorf("%s %s: %w", verbs[at].name, device, explained(err)))
	}
	return statusOK
}

// drive is an open device file.
type drive struct {
	device interface {
		ioctl(request uint, argument int) (int, error)
		io.Closer
	}
}

func (d drive) Close() error { return d.device.Close() }

func (d drive) setLock(lock int) (string, error) {
	_, err := d.device.ioctl(requestLock, lock)
	return "", err
}

func (d drive) eject() (string, error) { return "", d.move(requestEject, true) }
func (d drive) shut() (string, error)  { return "", d.move(requestClose, false) }

// move opens or closes the tray. It looks whether that was done: the kernel's driver
// for SCSI drives does not tell when the drive refuses it.
func (d drive) move(request uint, open bool) error {
	if _, err := d.device.ioctl(request, 0); err != nil {
		return err
	}
	switch state, err := d.state(); {
	case err != nil:
		return err
	case open && state != trayOpen:
		return unix.EBUSY
	case !open && state == trayOpen:
		return errors.New("the drive does not close its tray")
	}
	return nil
}

func (d drive) status() (string, error) {
	state, err := d.state()
	if err != nil {
		return "", err
	}
	return state + "\n", nil
}

func (d drive) state() (string, error) {
	answer, err := d.device.ioctl(requestStatus, currentSlot)
	if err != nil {
		return "", err
	}
	if answer < 0 || answer >= len(states) {
		return states[0], nil
	}
	return states[answer], nil
}

// explained adds to an error what it means here.
func explained(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOMEDIUM):
		return fmt.Errorf("%w: the guest has no such drive (param cdroms), or no driver for its controller (param cd_format)", err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: the tray is locked (%s unlock), or the disc is in use (umount)", err, Name)
	}
	return err
}

func complain(stderr io.Writer, status int, err error) int {
	fmt.Fprintf(stderr, "%s: %v\n", Name, err)
	return status
}

func flagsOf(device *string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Usage has it
	flags.StringVar(device, "device", "/dev/sr0", "the drive's `FILE`")
	return flags
}

// Usage says for a person what the command does: its text for --help.
func Usage() string {
	var b strings.Builder
	b.WriteString("cdrom moves and locks the tray of a CD-ROM drive, and says what is in it.\n\n")
	for _, v := range verbs {
		fmt.Fprintf(&b, "  cdrom %-8s  %s\n", v.name, v.doc)
	}
	b.WriteString(`
The kernel itself locks the tray while the disc is mounted or read, and unlocks it
afterwards, unless it was locked by this command.

Flags:
` + flagsOf(new(string)).FlagUsages() + `
Exit status: 0 done, 1 the drive or the kernel refused it, or there is no drive,
2 wrong arguments.
`)
	return b.String()
}

// file is a drive of the kernel's.
type file struct{ *os.File }

// openDrive opens a drive without waiting for a disc, and without locking its tray.
func openDrive(device string) (drive, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return drive{}, errors.Unwrap(err) // the caller names the file
	}
	return drive{file{f}}, nil
}

func (f file) ioctl(request uint, argument int) (int, error) {
	answer, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(argument))
	if errno != 0 {
		return 0, errno
	}
	return int(answer), nil
}
