// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"

	"github.com/mhmig/mhmig/lang/api"
)

// The slots of devices on the PCI bus. Every address is fixed, so that a device which
// only one side has does not change the addresses of others. 0x1e is free.
const (
	slotVGA       = 0x02
	slotFirstNIC  = 0x03
	maxNICs       = 8
	slotFirstUSB  = 0x0b // and the next
	slotBalloon   = 0x0d
	slotWatchdog  = 0x0e
	slotFirstRNG  = 0x0f
	slotSecondRNG = 0x1b
	slotFirstDisk = 0x10
	maxDisks      = 10
	slotSCSI      = 0x1a
	slotClock     = 0x1c
	slotAHCI      = 0x1d
)

// Device is a device of the guest, with its backend on the host. A new kind of device is
// a file with its type, and a row in [deviceKinds].
type Device interface {
	// Settings are the settings that must be the same on both ends of a migration. What
	// may differ between hosts, such as a bridge's name, is not among them.
	Settings() []Setting
	// Render adds the device to a command line.
	Render(*Layout) error
}

// Setting is the value of a param that is visible to the guest.
type Setting struct {
	Param   string
	Objects []string // in the VM: stg, nic1
	Value   string
}

// deviceKinds are the kinds of devices, in their order on a command line.
var deviceKinds = []func(*Config, api.Values) []Device{
	serialPorts,
	clockPorts,
	displays,
	ioThreads,
	disks,
	cdroms,
	floppies,
	nics,
	balloons,
	rngs,
	usbs,
	watchdogs,
	pvpanics,
	rtcs,
	sleepStates,
	uuids,
}

// identified is a device with an id of its own in QEMU, which is what devices are plugged
// in, unplugged and ejected by.
type identified interface{ deviceID() string }

// checkIDs adds an error for each two devices that would have one id.
func checkIDs(devices []Device, v api.Values) {
	ids := map[string]bool{}
	for _, device := range devices {
		d, ok := device.(identified)
		if !ok {
			continue
		}
		if id := d.deviceID(); ids[id] {
			v.AddError(fmt.Errorf("two devices are called %s: give disks, drives, USB devices, … and their controllers (scsi, ahci) different names", id))
		} else {
			ids[id] = true
		}
	}
}

// Layout builds a command line.
type Layout struct {
	Placement Placement
	vm        string
	bus       string // the root PCI bus
	chipset   string // i440fx or q35
	boots     bool   // the guest boots from a disk, not from -kernel
	address   string // the guest's, for nic_ip = auto
	spec      *Spec
}

func (l *Layout) add(arguments ...string) { l.spec.Argv = append(l.spec.Argv, arguments...) }

// option adds an option that could be hot-plugged into a running QEMU too.
func (l *Layout) option(o Option) {
	l.spec.Options = append(l.spec.Options, o)
	l.add(o.Flag, o.Argument())
}

// device adds a device with a fixed address.
func (l *Layout) device(driver string, properties ...Property) {
	l.option(Option{Flag: "-device", Kind: driver, Properties: properties})
}

// at returns the properties for a slot of the root bus.
func (l *Layout) at(slot int) []Property {
	return []Property{{"bus", l.bus}, {"addr", fmt.Sprintf("0x%02x", slot)}}
}

// socket adds a character device that listens on a unix socket in the run folder,
// and returns its path.
func (l *Layout) socket(id string) (string, error) {
	where := l.Placement.file(l.vm, id)
	if err := checkSocket(where); err != nil {
		return "", err
	}
	l.option(Option{Flag: "-chardev", Kind: "socket", Properties: []Property{
		{"id", id}, {"path", where}, {"server", true}, {"wait", false},
	}})
	return where, nil
}

const maxSocketPath = 107 // bytes in sockaddr_un, without the final zero

func checkSocket(where string) error {
	if len(where) > maxSocketPath {
		return fmt.Errorf("socket %s: the path has %d bytes, but unix sockets allow %d: set a shorter param state_dir",
			where, len(where), maxSocketPath)
	}
	return nil
}

// plainName is valid in file names, QEMU ids (a letter first) and QEMU node names (31
// characters with our prefix).
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,24}$`)

const wantPlainNames = "names of at most 25 letters, digits and ._-, starting with a letter"

// CheckName is an error if a disk or network card cannot have this name.
func CheckName(name string) error {
	if !plainName.MatchString(name) {
		return fmt.Errorf("got %q, want %s", name, wantPlainNames)
	}
	return nil
}

// plainNames returns the names of objects that a param lists, at most limit. Invalid
// names are errors, and left out.
func plainNames(v api.Values, param string, limit int) []string {
	names := v.Names(param)
	if len(names) > limit {
		v.Unfit(param, "got %d, want at most %d", len(names), limit)
		return nil
	}
	var plain []string
	for _, name := range names {
		if !plainName.MatchString(name) {
			v.Unfit(param, "got %q, want %s", name, wantPlainNames)
			continue
		}
		plain = append(plain, name)
	}
	return plain
}
