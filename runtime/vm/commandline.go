// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hugelgupf/go-shlex"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
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
)

const (
	defaultMemory    = 1 << 30 // bytes
	defaultShellPort = "22"
	maxSocketPath    = 107 // bytes in sockaddr_un, less the final zero
)

// Spec is a VM's command line, and what it names on the host.
type Spec struct {
	Argv     []string  // the program and its arguments
	QMP      string    // socket of the monitor
	SpareQMP string    // socket of a second monitor, for people: mhmig qmp
	Serials  []string  // sockets of the serial ports; the first is the console
	Clock    string    // socket of the port on which the guest stamps its clock, or ""
	Files    []File    // what must exist before QEMU starts
	Taps     []Tap     // network devices that must exist before QEMU starts
	Forwards []Forward // guest ports that can be reached on the host's loopback
}

// File is a file that a param names.
type File struct{ Param, Path string }

// Tap is a host's network device that is a guest's NIC's other end.
type Tap struct{ Name, Bridge, MAC string }

// Forward is a TCP port of the guest, and that of the host's loopback which leads
// to it: 0 when QEMU picks it.
type Forward struct{ Guest, Host int }

// CommandLine makes the command line of the VM called name. It is pure: of place
// it reads the folders only. An unknown value is an error that names the param,
// the value and what is allowed.
func CommandLine(name string, p cartesian.Params, place Place, shape Shape, incoming bool) (Spec, error) {
	if !plainName.MatchString(name) {
		return Spec{}, fmt.Errorf("param vms: got %q, want a name of at most 25 letters, digits and ._-, a letter first", name)
	}
	c := &commandLine{vm: name, p: p, place: place, shape: shape}
	for _, step := range []func() error{
		c.machine, c.monitors, c.serials, c.clock, c.display, c.disks, c.nics, c.kernel, c.extra,
	} {
		if err := step(); err != nil {
			return Spec{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if incoming {
		c.add("-incoming", "defer")
	} else {
		c.add("-S")
	}
	return c.spec, nil
}

// commandLine is a Spec in the making.
type commandLine struct {
	vm    string
	p     cartesian.Params
	place Place
	shape Shape

	spec Spec
	bus  string // the root PCI bus
}

// plainName fits everywhere: into files' names, QEMU's ids (a letter first) and its
// node names (31 characters with our prefix).
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,24}$`)

func (c *commandLine) add(arguments ...string) {
	c.spec.Argv = append(c.spec.Argv, arguments...)
}

func (c *commandLine) machine() error {
	smp, err := c.p.Int("smp", 1)
	if err != nil {
		return err
	}
	if smp < 1 {
		return fmt.Errorf("param smp: got %q, want 1 at least", c.p["smp"])
	}
	switch family(c.shape.Machine) {
	case "i440fx":
		c.bus = "pci.0"
	case "q35":
		c.bus = "pcie.0"
	default:
		return fmt.Errorf("param machine_type: got %q, want a pc or q35 type", c.shape.Machine)
	}
	accel := c.shape.Accel
	if accel == "tcg" {
		// QEMU's own default is up to 1 GiB of translated code, which small guests
		// fill with what they run once.
		mib := c.shape.MemoryKiB >> 10
		accel += ",tb-size=" + strconv.FormatInt(min(max(mib/8, 16), 256), 10)
	}
	c.add(qemuBinary(c.p), "-name", c.vm, "-nodefaults", "-no-user-config", "-msg", "timestamp=on",
		"-machine", c.shape.Machine, "-accel", accel, "-cpu", c.shape.CPU,
		"-m", memoryOption(c.shape.MemoryKiB), "-smp", strconv.Itoa(smp))
	return nil
}

// family is the chipset of a machine type, "" for one that is not a PC.
func family(machine string) string {
	name, _, _ := strings.Cut(machine, ",")
	switch {
	case name == "q35" || strings.HasPrefix(name, "pc-q35-"):
		return "q35"
	case name == "pc" || strings.HasPrefix(name, "pc-i440fx-"):
		return "i440fx"
	default:
		return ""
	}
}

func memoryOption(kib int64) string {
	if kib%1024 == 0 {
		return strconv.FormatInt(kib/1024, 10) + "M"
	}
	return strconv.FormatInt(kib, 10) + "K"
}

func (c *commandLine) monitors() error {
	for _, m := range []struct {
		id   string
		path *string
	}{{"qmp", &c.spec.QMP}, {"spare", &c.spec.SpareQMP}} {
		if err := c.socket(m.id, m.path); err != nil {
			return err
		}
		c.add("-mon", "chardev="+m.id+",mode=control")
	}
	return nil
}

func (c *commandLine) serials() error {
	names := c.p.Objects("serials")
	if len(names) == 0 {
		names = []string{"serial0"}
	}
	if len(names) > 4 {
		return fmt.Errorf("param serials: got %d ports, want 4 at most", len(names))
	}
	c.spec.Serials = make([]string, len(names))
	for i, name := range names {
		if !plainName.MatchString(name) || slices.Contains([]string{"qmp", "spare", "clock"}, name) {
			return fmt.Errorf("param serials: got %q, want another name", name)
		}
		if err := c.socket(name, &c.spec.Serials[i]); err != nil {
			return err
		}
		c.add("-device", fmt.Sprintf("isa-serial,chardev=%s,index=%d", name, i))
	}
	return nil
}

// clock adds the port on which the guest stamps its clock. Nobody else uses its
// controller, which so needs no more than the port and the console's reserved one.
func (c *commandLine) clock() error {
	wanted, err := c.p.Bool("guest_clock", false)
	if err != nil || !wanted {
		return err
	}
	if err := c.socket("clock", &c.spec.Clock); err != nil {
		return err
	}
	c.add("-device", c.at("virtio-serial-pci", slotClock)+",id=clocks,max_ports=2",
		"-device", "virtserialport,bus=clocks.0,nr=1,chardev=clock,name="+clockwork.PortName)
	return nil
}

// socket adds a character device that listens on a unix socket in the run folder.
func (c *commandLine) socket(id string, where *string) error {
	*where = c.place.file(c.vm, id)
	if err := checkSocket(*where); err != nil {
		return err
	}
	c.add("-chardev", fmt.Sprintf("socket,id=%s,path=%s,server=on,wait=off", id, escape(*where)))
	return nil
}

func checkSocket(where string) error {
	if len(where) > maxSocketPath {
		return fmt.Errorf("socket %s: a path of %d bytes, but unix sockets allow %d: choose a shorter param state_dir",
			where, len(where), maxSocketPath)
	}
	return nil
}

func (c *commandLine) display() error {
	display, err := choice(c.p, "display", "none", "none", "nographic", "vnc")
	if err != nil {
		return err
	}
	c.add("-display", "none")
	if display == "vnc" {
		where := c.place.file(c.vm, "vnc")
		if err := checkSocket(where); err != nil {
			return err
		}
		c.add("-device", c.at("VGA", slotVGA), "-vnc", "unix:"+escape(where))
	}
	return nil
}

func (c *commandLine) disks() error {
	disks, err := disksOf(c.vm, c.p, c.place)
	if err != nil {
		return err
	}
	if len(disks) > maxDisks {
		return fmt.Errorf("param images: got %d, want %d at most", len(disks), maxDisks)
	}
	scsi := false
	for i, d := range disks {
		p := c.p.Object(d.image)
		c.spec.Files = append(c.spec.Files, File{"image_name of " + d.image, d.path})
		file := fmt.Sprintf("driver=file,filename=%s,node-name=file_%s", escape(d.path), d.image)
		node := fmt.Sprintf("driver=%s,file=file_%s,node-name=drive_%s", d.format, d.image, d.image)
		cache, err := choice(p, "drive_cache", "writeback", "writeback", "none")
		if err != nil {
			return fmt.Errorf("%s: %w", d.image, err)
		}
		if cache == "none" {
			file, node = file+",cache.direct=on", node+",cache.direct=on"
		}
		c.add("-blockdev", file, "-blockdev", node)

		format, err := choice(p, "drive_format", "virtio", "virtio", "ide", "scsi")
		if err != nil {
			return fmt.Errorf("%s: %w", d.image, err)
		}
		var device string
		switch format {
		case "virtio":
			device = c.at("virtio-blk-pci", slotFirstDisk+i)
		case "ide":
			device, err = c.ide(i)
			if err != nil {
				return fmt.Errorf("%s: %w", d.image, err)
			}
		case "scsi":
			if !scsi {
				c.add("-device", c.at("virtio-scsi-pci", slotSCSI)+",id=scsi")
				scsi = true
			}
			device = fmt.Sprintf("scsi-hd,bus=scsi.0,scsi-id=%d", i)
		}
		device += fmt.Sprintf(",id=%[1]s,drive=drive_%[1]s", d.image)
		if c.p["kernel"] == "" { // QEMU's kernel loader claims the first place itself
			device += fmt.Sprintf(",bootindex=%d", i)
		}
		c.add("-device", device)
	}
	return nil
}

// ide is the place of the disk number i on the chipset's own controller.
func (c *commandLine) ide(i int) (string, error) {
	buses, perBus := 2, 2
	if family(c.shape.Machine) == "q35" {
		buses, perBus = 6, 1
	}
	if i >= buses*perBus {
		return "", fmt.Errorf("param drive_format: disk %d does not fit, ide has room for %d", i+1, buses*perBus)
	}
	return fmt.Sprintf("ide-hd,bus=ide.%d,unit=%d", i/perBus, i%perBus), nil
}

// at is a device at a slot of the root bus.
func (c *commandLine) at(device string, slot int) string {
	return fmt.Sprintf("%s,bus=%s,addr=0x%02x", device, c.bus, slot)
}

// nicDevices are QEMU's devices for the values of nic_model.
var nicDevices = map[string]string{
	"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139",
}

func (c *commandLine) nics() error {
	nics := c.p.Objects("nics")
	if len(nics) > maxNICs {
		return fmt.Errorf("param nics: got %d, want %d at most", len(nics), maxNICs)
	}
	for i, nic := range nics {
		if !plainName.MatchString(nic) {
			return fmt.Errorf("param nics: got %q, want names of at most 25 letters, digits and ._-, a letter first", nic)
		}
		if err := c.nic(i, nic, c.p.Object(nic)); err != nil {
			return fmt.Errorf("%s: %w", nic, err)
		}
	}
	return nil
}

func (c *commandLine) nic(i int, nic string, p cartesian.Params) error {
	mode, err := choice(p, "nic_mode", "user", "user", "tap", "none")
	if err != nil || mode == "none" {
		return err
	}
	model, err := choice(p, "nic_model", "virtio", "virtio", "e1000", "e1000e", "rtl8139")
	if err != nil {
		return err
	}
	mac := p.Get("mac", macOf(p["name"], c.vm, nic))
	switch mode {
	case "user":
		var netdev strings.Builder
		netdev.WriteString("user,id=" + nic)
		if len(c.spec.Forwards) == 0 { // the guest's ports are reached through its first such NIC
			if c.spec.Forwards, err = forwardsOf(p); err != nil {
				return err
			}
			for _, f := range c.spec.Forwards {
				fmt.Fprintf(&netdev, ",hostfwd=tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)
			}
		}
		c.add("-netdev", netdev.String())
	case "tap":
		bridge := p["netdst"]
		if bridge == "" {
			return errors.New("param netdst: nic_mode = tap needs the name of a bridge on the host")
		}
		t := Tap{Name: tapName(c.place.RunDir, c.vm, nic), Bridge: bridge, MAC: mac}
		c.spec.Taps = append(c.spec.Taps, t)
		c.add("-netdev", fmt.Sprintf("tap,id=%s,ifname=%s,script=no,downscript=no", nic, t.Name))
	}
	// An empty romfile spares hosts the package of boot ROMs, and the migration
	// their equality.
	device := c.at(nicDevices[model], slotFirstNIC+i)
	c.add("-device", fmt.Sprintf("%s,id=dev_%s,netdev=%s,mac=%s,romfile=", device, nic, nic, mac))
	return nil
}

// forwardsOf are the guest's shell port and those that redirs names. A redirection
// NAME has the params guest_port_NAME and, if the host's port matters,
// host_port_NAME. virt-test's remote_shell is the shell port.
func forwardsOf(p cartesian.Params) ([]Forward, error) {
	shell, err := port(p, "shell_port", defaultShellPort)
	if err != nil {
		return nil, err
	}
	forwards := []Forward{{Guest: shell}}
	for _, name := range p.Objects("redirs") {
		guest, err := port(p, "guest_port_"+name, "")
		if err != nil && name == "remote_shell" {
			guest, err = shell, nil
		}
		if err != nil {
			return nil, err
		}
		f := Forward{Guest: guest}
		if p["host_port_"+name] != "" {
			if f.Host, err = port(p, "host_port_"+name, ""); err != nil {
				return nil, err
			}
		}
		if i := slices.IndexFunc(forwards, func(o Forward) bool { return o.Guest == guest }); i >= 0 {
			forwards[i] = f
			continue
		}
		forwards = append(forwards, f)
	}
	return forwards, nil
}

func port(p cartesian.Params, key, def string) (int, error) {
	value := word(p, key, def)
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 65535 {
		return 0, fmt.Errorf("param %s: got %q, want a port number", key, value)
	}
	return n, nil
}

// macOf is the same on every host, and another for each variant, VM and NIC.
func macOf(variant, vm, nic string) string {
	h := digest(variant, vm, nic)
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2])
}

// tapName fits into the 15 characters of a network device's name.
func tapName(runDir, vm, nic string) string {
	return fmt.Sprintf("mh%x", digest(runDir, vm, nic)[:5])
}

func digest(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return sum[:]
}

func (c *commandLine) kernel() error {
	for _, key := range []string{"kernel", "initrd"} {
		if c.p[key] == "" {
			continue
		}
		if c.p["kernel"] == "" {
			return fmt.Errorf("param %s: needs param kernel too", key)
		}
		where := under(c.place.BaseDir, c.p[key])
		c.spec.Files = append(c.spec.Files, File{key, where})
		c.add("-"+key, where)
	}
	if parameters := c.p["kernel_params"]; parameters != "" && c.p["kernel"] != "" {
		c.add("-append", parameters)
	}
	return nil
}

// extra adds extra_params, split as a shell splits words.
func (c *commandLine) extra() error {
	c.add(shlex.Split(c.p["extra_params"])...)
	return nil
}

func qemuBinary(p cartesian.Params) string { return word(p, "qemu_binary", "qemu-system-x86_64") }

// splitFlags takes virt-test's form too, which begins with a comma.
func splitFlags(flags string) []string {
	return strings.FieldsFunc(flags, func(r rune) bool { return r == ',' || r == ' ' })
}

// word is a param without blanks around it, or def when nothing is left.
func word(p cartesian.Params, key, def string) string {
	if w := strings.TrimSpace(p[key]); w != "" {
		return w
	}
	return def
}

// choice is a param that has few possible values.
func choice(p cartesian.Params, key, def string, allowed ...string) (string, error) {
	value := word(p, key, def)
	if !slices.Contains(allowed, value) {
		return "", fmt.Errorf("param %s: got %q, want one of %s", key, value, strings.Join(allowed, ", "))
	}
	return value, nil
}

// under is a path, taken from folder when it is relative.
func under(folder, where string) string {
	if path.IsAbs(where) {
		return path.Clean(where)
	}
	return path.Join(folder, where)
}

// escape protects a value in QEMU's comma-separated options.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }
