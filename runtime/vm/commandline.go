// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Spec is a VM's command line, and the files and devices of the host that it names.
type Spec struct {
	Argv      []string  // the program and its arguments
	Options   []Option  // those of the arguments that could be hot-plugged into a running QEMU too
	QMP       string    // socket of the monitor
	SpareQMP  string    // socket of a second monitor, for mhmig qmp
	Serials   []string  // sockets of the serial ports; the first is the console
	Clock     string    // socket of the port for the guest's clock stamps, or ""
	Migration string    // socket on which it can listen for a migration
	Handover  string    // socket on which it can wait for the descriptors of another QEMU's guest
	Script    string    // file of the command line, as a shell script
	State     string    // file for the guest's state, where a migration goes through a file
	Exec      string    // file for what the program says that connects a migration
	Program   string    // file for such a program of mhmig's own
	Files     []File    // files that must exist before QEMU starts
	Taps      []Tap     // tap devices that must exist before QEMU starts
	Forwards  []Forward // guest ports that can be reached on the host's loopback
}

// File is a file that a param names.
type File struct{ Param, Path string }

// Tap is the tap device on the host of a guest's NIC.
type Tap struct {
	Name, Bridge, MAC string
	Address           string // the guest's, from the param nic_ip, or ""
}

// Forward is a TCP port of the guest, and the port of the host's loopback that is
// forwarded to it: 0 when QEMU picks it.
type Forward struct{ Guest, Host int }

// Launch is how a QEMU is started.
type Launch struct {
	// Incoming makes QEMU wait for a migration. Otherwise its guest waits for
	// [Instance.Cont].
	Incoming bool
	// Restore is the file of a saved state on the host, from which the guest is restored
	// instead of booting; "": it boots. It waits for [Instance.Cont] in both cases.
	Restore string
	// MustBoot is why the guest must not be restored from a saved state; "": it may be.
	MustBoot string
	// SharedMemory puts the guest's RAM into a file that all of the VM's instances on the
	// host have, so that a guest can move from one to another without its RAM. The RAM
	// has the same name as without: a guest can also move to an instance that has none.
	// A guest that starts finds there what one before it has left, as after a reset.
	SharedMemory bool
	// Descriptors puts the guest's RAM, and that of its devices, into memory that QEMU can
	// hand over to another QEMU of the host as file descriptors: see Handover. It is the
	// mode of migrations for that, [TransferMode] or [ExecMode]; "": none. A QEMU whose
	// schema lacks the mode is a SKIP. The RAM has the same name as without.
	Descriptors string
	// Handover makes a QEMU that waits for a migration first wait for the descriptors of
	// the guest's QEMU: it has no monitor until then. Start calls it when the guest's QEMU
	// can be told to hand them over, and returns when there is a monitor. Nil: it does not
	// wait. In [TransferMode] QEMU waits on [Spec.Handover]. In [ExecMode] it does not run
	// before the guest's QEMU executes [Spec.Script] in its own process.
	Handover func(Spec)
	// CopyDisks says that the disks of an instance that waits for a migration are new,
	// empty images of its own, which the migration fills: see [CreateCopies].
	CopyDisks bool
}

// CommandLine returns the command line of a VM. It is pure: of placement it uses the
// folders only.
func CommandLine(c Config, placement Placement, shape Shape, launch Launch) (Spec, error) {
	spec := Spec{}
	l, err := newLayout(c, placement, shape, &spec)
	if err != nil {
		return Spec{}, err
	}
	l.machine(c, shape, launch)
	if err := l.monitors(); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	for _, d := range c.Devices {
		if err := d.Render(l); err != nil {
			return Spec{}, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	l.kernel(c, shape)
	l.add(c.Extra...)
	if !launch.Incoming {
		l.add("-S")
	}
	if launch.Incoming || launch.Restore != "" {
		l.add("-incoming", "defer")
	}
	if launch.Handover != nil && launch.Descriptors == TransferMode {
		channel, err := json.Marshal(map[string]any{
			"channel-type": "cpr", "addr": map[string]any{"transport": "socket", "type": "unix", "path": spec.Handover},
		})
		if err != nil {
			return Spec{}, err
		}
		l.add("-incoming", string(channel))
	}
	return spec, nil
}

func newLayout(c Config, placement Placement, shape Shape, spec *Spec) (*Layout, error) {
	address, _, _ := strings.Cut(shape.Address, "/")
	l := &Layout{Placement: placement, vm: c.Name, address: address, chipset: chipsetOf(shape.Machine), boots: c.Kernel == "", spec: spec}
	switch l.chipset {
	case "i440fx":
		l.bus = "pci.0"
	case "q35":
		l.bus = "pcie.0"
	default:
		return nil, fmt.Errorf("%s: machine type %q is not a pc or q35 type", c.Name, shape.Machine)
	}
	return l, nil
}

// leastCodeMiB is the room for translated code of a small guest under TCG: twice what JeOS
// fills when it has booted and its workloads run.
const leastCodeMiB = 64

// ramID is what QEMU calls the RAM of a PC if it is not told otherwise.
const ramID = "pc.ram"

func (l *Layout) machine(c Config, shape Shape, launch Launch) {
	accel := shape.Accel
	if accel == "tcg" {
		// QEMU's default is up to 1 GiB of translated code, which even small guests fill
		// with code that they run once. When it is full, QEMU drops all of it and translates
		// anew: JeOS, whose code takes 30 MiB, runs ten times slower with 16 MiB for it.
		mib := shape.MemoryKiB >> 10
		accel += ",tb-size=" + strconv.FormatInt(min(max(mib/8, leastCodeMiB), 256), 10)
	}
	l.add(c.QEMU.Words()...)
	machine := shape.Machine
	if launch.SharedMemory || launch.Descriptors != "" {
		machine += ",memory-backend=" + ramID
	}
	if launch.Descriptors != "" {
		machine += ",aux-ram-share=on"
	}
	l.add("-name", c.Name, "-nodefaults", "-no-user-config", "-msg", "timestamp=on",
		"-machine", machine, "-accel", accel, "-cpu", shape.CPU,
		"-m", memoryOption(shape.MemoryKiB), "-smp", c.Topology.option(c.CPUs))
	if launch.SharedMemory {
		l.add("-object", fmt.Sprintf("memory-backend-file,id=%s,size=%dK,mem-path=%s,share=on,x-use-canonical-path-for-ramblock-id=off", ramID, shape.MemoryKiB,
			path.Join(l.Placement.RunDir, fileName(c.Name, "ram"))))
	}
	if launch.Descriptors != "" {
		l.add("-object", fmt.Sprintf("memory-backend-memfd,id=%s,size=%dK,share=on,x-use-canonical-path-for-ramblock-id=off", ramID, shape.MemoryKiB))
	}
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
	l.spec.State, l.spec.Exec, l.spec.Program = l.Placement.file(l.vm, "state"), l.Placement.file(l.vm, "exec"), l.Placement.file(l.vm, "prog")
	l.spec.Handover, l.spec.Script = l.Placement.file(l.vm, "cpr"), l.Placement.file(l.vm, "sh")
	return checkSocket(l.spec.Migration)
}

func (l *Layout) monitor(id string) (where string, err error) {
	if where, err = l.socket(id); err == nil {
		l.add("-mon", "chardev="+id+",mode=control")
	}
	return where, err
}

func (l *Layout) kernel(c Config, shape Shape) {
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
	params := c.KernelParams
	if shape.Address != "" {
		params = strings.TrimSpace(params + " mhmig.ip=" + shape.Address)
	}
	if params != "" {
		l.add("-append", params)
	}
}

// bootFile is the path of a kernel or initrd.
func (pl Placement) bootFile(value string) string {
	if file, shipped := ShippedFile(value); shipped {
		return path.Join(pl.ShippedDir, file)
	}
	return resolvePath(pl.BaseDir, value)
}

// resolvePath resolves a relative path against folder.
func resolvePath(folder, where string) string {
	if path.IsAbs(where) {
		return path.Clean(where)
	}
	return path.Join(folder, where)
}
