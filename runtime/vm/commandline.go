// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Spec is a VM's command line, and what it names on the host.
type Spec struct {
	Argv      []string  // the program and its arguments
	Options   []Option  // those of the arguments that a QEMU which runs could be given too
	QMP       string    // socket of the monitor
	SpareQMP  string    // socket of a second monitor, for people: mhmig qmp
	Serials   []string  // sockets of the serial ports; the first is the console
	Clock     string    // socket of the port on which the guest stamps its clock, or ""
	Migration string    // socket on which it may be told to wait for a guest
	Files     []File    // what must exist before QEMU starts
	Taps      []Tap     // network devices that must exist before QEMU starts
	Forwards  []Forward // guest ports that can be reached on the host's loopback
}

// File is a file that a param names.
type File struct{ Param, Path string }

// Tap is a host's network device that is a guest's NIC's other end.
type Tap struct {
	Name, Bridge, MAC string
	Address           string // the guest's, where the params tell it
}

// Forward is a TCP port of the guest, and that of the host's loopback which leads
// to it: 0 when QEMU picks it.
type Forward struct{ Guest, Host int }

// Launch is how a QEMU comes up.
type Launch struct {
	// Incoming waits for a migration, in place of a guest that waits for
	// [Instance.Cont].
	Incoming bool
	// Arguments are more of the command line, which a migration's transport needs.
	Arguments []string
}

// CommandLine makes the command line of a VM. It is pure: of placement it reads the
// folders only.
func CommandLine(c Config, placement Placement, shape Shape, launch Launch) (Spec, error) {
	spec := Spec{}
	l := &Layout{Placement: placement, vm: c.Name, chipset: chipsetOf(shape.Machine), boots: c.Kernel == "", spec: &spec}
	switch l.chipset {
	case "i440fx":
		l.bus = "pci.0"
	case "q35":
		l.bus = "pcie.0"
	default:
		return Spec{}, fmt.Errorf("%s: machine type %q is no pc or q35 type", c.Name, shape.Machine)
	}
	l.machine(c, shape)
	if err := l.monitors(); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	for _, d := range c.Devices {
		if err := d.Render(l); err != nil {
			return Spec{}, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	l.kernel(c)
	l.add(c.Extra...)
	l.add(launch.Arguments...)
	if launch.Incoming {
		l.add("-incoming", "defer")
	} else {
		l.add("-S")
	}
	return spec, nil
}

func (l *Layout) machine(c Config, shape Shape) {
	accel := shape.Accel
	if accel == "tcg" {
		// QEMU's own default is up to 1 GiB of translated code, which small guests
		// fill with what they run once.
		mib := shape.MemoryKiB >> 10
		accel += ",tb-size=" + strconv.FormatInt(min(max(mib/8, 16), 256), 10)
	}
	l.add(c.QEMU, "-name", c.Name, "-nodefaults", "-no-user-config", "-msg", "timestamp=on",
		"-machine", shape.Machine, "-accel", accel, "-cpu", shape.CPU,
		"-m", memoryOption(shape.MemoryKiB), "-smp", strconv.Itoa(c.CPUs))
}

func memoryOption(kib int64) string {
	if kib%1024 == 0 {
		return strconv.FormatInt(kib/1024, 10) + "M"
	}
	return strconv.FormatInt(kib, 10) + "K"
}

func (l *Layout) monitors() (err error) {
	if l.spec.QMP, err = l.monitor("qmp"); err != nil {
		return err
	}
	if l.spec.SpareQMP, err = l.monitor("spare"); err != nil {
		return err
	}
	l.spec.Migration = l.Placement.file(l.vm, "mig")
	return checkSocket(l.spec.Migration)
}

func (l *Layout) monitor(id string) (where string, err error) {
	if where, err = l.socket(id); err == nil {
		l.add("-mon", "chardev="+id+",mode=control")
	}
	return where, err
}

func (l *Layout) kernel(c Config) {
	if c.Kernel == "" {
		return
	}
	for _, f := range []struct{ param, value string }{{"kernel", c.Kernel}, {"initrd", c.Initrd}} {
		if f.value == "" {
			continue
		}
		where := l.Placement.bootFile(f.value)
		l.spec.Files = append(l.spec.Files, File{f.param, where})
		l.add("-"+f.param, where)
	}
	if c.KernelParams != "" {
		l.add("-append", c.KernelParams)
	}
}

// ShippedPrefix marks the value of kernel or initrd as one of mhmig's own files.
const ShippedPrefix = "jeos:"

// bootFile is where a kernel or initrd lies.
func (pl Placement) bootFile(value string) string {
	if name, ours := strings.CutPrefix(value, ShippedPrefix); ours {
		return path.Join(pl.ShippedDir, name)
	}
	return resolvePath(pl.BaseDir, value)
}

// resolvePath is a path, taken from folder when it is relative.
func resolvePath(folder, where string) string {
	if path.IsAbs(where) {
		return path.Clean(where)
	}
	return path.Join(folder, where)
}
