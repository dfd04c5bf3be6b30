// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"

	"github.com/mhmig/mhmig/lang/api"
)

// Where devices sit on the PCI bus. Every address is pinned, so that a device
// which one side has and the other has not moves no other device. 0x0b to 0x0f
// and 0x1b are left for what is plugged in later.
const (
	slotVGA       = 0x02
	slotFirstNIC  = 0x03
	maxNICs       = 8
	slotFirstDisk = 0x10
	maxDisks      = 10
	slotSCSI      = 0x1a
	slotClock     = 0x1c
	slotAHCI      = 0x1d
)

// Device is a part of a VM that its guest sees, with what stands behind it on the
// host. A new kind of device is a file with a type of its own, and a row in
// [deviceKinds].
type Device interface {
	// Settings are what both ends of a migration must have alike. What may differ
	// from host to host, as a bridge's name, is not among them.
	Settings() []Setting
	// Render adds the device to a command line.
	Render(*Layout) error
}

// Setting is the value of a param, as far as the guest can tell.
type Setting struct {
	Param   string
	Objects []string // within the VM: stg, nic1
	Value   string
}

// deviceKinds are the kinds of devices, in the order in which a command line has
// them.
var deviceKinds = []func(*Config, api.Values) []Device{
	serialPorts,
	clockPorts,
	displays,
	disks,
	nics,
}

// Layout is a command line in the making.
type Layout struct {
	Placement Placement
	vm        string
	bus       string // the root PCI bus
	chipset   string // i440fx or q35
	boots     bool   // QEMU boots from a disk, not a kernel of its own
	spec      *Spec
}

func (l *Layout) add(arguments ...string) { l.spec.Argv = append(l.spec.Argv, arguments...) }

// option adds an option that a QEMU which runs could be given too.
func (l *Layout) option(o Option) {
	l.spec.Options = append(l.spec.Options, o)
	l.add(o.Flag, o.Argument())
}

// device adds a device that has a fixed address.
func (l *Layout) device(driver string, properties ...Property) {
	l.option(Option{Flag: "-device", Kind: driver, Properties: properties})
}

// at is a slot of the root bus.
func (l *Layout) at(slot int) []Property {
	return []Property{{"bus", l.bus}, {"addr", fmt.Sprintf("0x%02x", slot)}}
}

// socket adds a character device that listens on a unix socket in the run folder,
// and returns where.
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

const maxSocketPath = 107 // bytes in sockaddr_un, less the final zero

func checkSocket(where string) error {
	if len(where) > maxSocketPath {
		return fmt.Errorf("socket %s: a path of %d bytes, but unix sockets allow %d: choose a shorter param state_dir",
			where, len(where), maxSocketPath)
	}
	return nil
}

// plainName fits everywhere: into files' names, QEMU's ids (a letter first) and its
// node names (31 characters with our prefix).
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,24}$`)

const wantPlainNames = "names of at most 25 letters, digits and ._-, a letter first"

// plainNames are the names of objects that a param lists, at most so many. Names
// that fit nowhere are errors, and left out.
func plainNames(v api.Values, param string, most int) []string {
	names := v.Names(param)
	if len(names) > most {
		v.AddError(fmt.Errorf("param %s: got %d, want %d at most", param, len(names), most))
		return nil
	}
	var plain []string
	for _, name := range names {
		if !plainName.MatchString(name) {
			v.AddError(&api.ValueError{Param: param, Value: name, Want: wantPlainNames})
			continue
		}
		plain = append(plain, name)
	}
	return plain
}
