// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

var update = flag.Bool("update", false, "rewrite the goldens in testdata")

var (
	placement = vm.Placement{RunDir: "/run/mhmig/v1", ImageDir: "/srv/images/v1", BaseDir: "/srv"}
	shape     = vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 256<<10 - 8}
	on35      = vm.Shape{Accel: "kvm", Machine: "pc-q35-7.2,smm=off", CPU: "host", MemoryKiB: 4 << 20}
)

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name     string
		params   cartesian.Params
		shape    vm.Shape
		incoming bool
		shared   bool
		handed   string // over as descriptors, in that mode
	}{
		{name: "nothing", shape: shape},
		{name: "incoming", shape: shape, incoming: true},
		{name: "shared-memory", shape: shape, incoming: true, shared: true},
		{name: "descriptors", shape: shape, handed: vm.TransferMode},
		{name: "descriptors-incoming", shape: shape, incoming: true, handed: vm.TransferMode},
		{name: "executed", shape: shape, incoming: true, handed: vm.ExecMode},
		{name: "jeos", shape: shape, params: cartesian.Params{
			"name": "JeOS.multihost", "smp": "2", "nics": "nic1", "serials": "serial0 serial1",
			"kernel": "jeos/vmlinuz", "initrd": "/opt/jeos/initrd", "kernel_params": "console=ttyS0 quiet", "shell_port": "2222",
			"extra_params": `-device virtio-rng-pci,addr=0x0b -fw_cfg 'name=opt/mhmig,string=a b'`,
		}},
		{name: "guest-clock", shape: shape, params: cartesian.Params{"guest_clock": "yes", "serials": "serial0"}},
		{name: "kernel-and-disk", shape: shape, params: cartesian.Params{
			"kernel": "k", "images": "image1", "image_name": "images/jeos",
		}},
		{name: "installed-guest", shape: on35, params: cartesian.Params{
			"name": "RHEL.6.4.x86_64", "images": "image1 stg raw", "image_name": "images/rhel64-64", "nics": "nic1 nic2 nic3",
			"image_name_stg": "images/stg", "create_image_stg": "yes", "image_size_stg": "1G", "drive_format_stg": "scsi",
			"image_name_raw": "/dev/shm/a,b", "image_format_raw": "raw", "image_overlay_raw": "no", "drive_cache_raw": "none", "drive_format_raw": "scsi",
			"nic_model_nic1": "e1000", "nic_mode_nic2": "tap", "netdst_nic2": "br0", "mac_nic2": "52:54:00:00:00:01", "nic_mode_nic3": "none",
			"qemu_binary": "/usr/libexec/qemu-kvm", "display": "vnc",
		}},
		{name: "version", shape: shape, params: cartesian.Params{"qemu_version": "10.0", "qemu_versions_dir": "/var/cache/qemu"}},
		{name: "ide-disks", shape: shape, params: cartesian.Params{
			"images": "a b c", "image_name": "x", "drive_format": "ide",
		}},
		{name: "ide-disks-q35", shape: on35, params: cartesian.Params{
			"images": "a b", "image_name": "x", "drive_format": "ide",
		}},
		{name: "topology-and-iothreads", shape: shape, params: cartesian.Params{
			"smp": "2", "vcpu_maxcpus": "4", "vcpu_sockets": "1", "vcpu_threads": "2", "iothreads": "io1 io2",
			"images": "a b", "image_name": "x", "image_iothread_a": "io1", "blk_extra_params_a": ",serial=A1,physical_block_size=4096",
			"drive_format_b": "scsi", "bus_extra_params_b": "iothread=io2,num_queues=2",
		}},
		{name: "removable-media", shape: shape, params: cartesian.Params{
			"images": "a b", "image_name": "x", "drive_format": "ide", "cdroms": "cd1 cd2 cd3", "cdrom_cd1": "isos/linux,1.iso",
			"cd_format_cd2": "ahci", "cd_format_cd3": "scsi-cd", "cdrom_cd3": "/srv/other.iso", "floppies": "fl fl2", "floppy_name_fl": "images/fl.vfd",
		}},
		{name: "removable-media-q35", shape: on35, params: cartesian.Params{
			"machine_type": "q35", "cdroms": "cd1 cd2", "cdrom_cd1": "isos/linux.iso", "cd_format_cd2": "ahci", "floppies": "fl",
		}},
		{name: "disks-and-cards-with-properties", shape: shape, params: cartesian.Params{
			"images": "a b c", "image_name": "x", "drive_format_b": "scsi", "drive_format_c": "ahci", "drive_werror": "stop", "drive_rerror_b": "stop",
			"drive_serial_a": "A1", "nics": "nic1 nic2", "nic_mode_nic1": "bridge", "netdst": "virbr0", "netdev_extra_params_nic1": ",vhost=on",
			"nic_extra_params_nic2": ",mrg_rxbuf=off",
		}},
		{name: "small-devices", shape: shape, params: cartesian.Params{
			"memballoon_model": "virtio", "virtio_rngs": "rng0", "usbs": "usb1", "usb_type_usb1": "ich9-usb-ehci1", "usb_devices": "tablet1",
			"usbdev_bus": "usb1.0", "enable_watchdog": "yes", "watchdog_action": "pause", "enable_pvpanic": "yes",
			"rtc_base": "utc", "rtc_clock": "host", "rtc_drift": "slew", "disable_s3": "no", "uuid": "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86",
		}},
		{name: "small-devices-q35", shape: on35, params: cartesian.Params{
			"machine_type": "q35", "balloon_dev_devid": "b1", "virtio_rngs": "rng0 rng1", "usbs": "usb1 usb2", "usb_devices": "tablet1 kbd",
			"usbdev_type_kbd": "usb-kbd", "usbdev_bus_kbd": "usb2.0", "enable_watchdog": "yes", "watchdog_device_type": "ib700", "rtc_base": "utc", "disable_s3": "yes",
		}},
		{name: "redirections", shape: shape, params: cartesian.Params{
			"nics": "nic1 nic2", "redirs": "remote_shell web fixed", "guest_port_remote_shell": "22", "guest_port_web": "80",
			"guest_port_fixed": "443", "host_port_fixed": "8443",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			launch := vm.Launch{Incoming: tt.incoming, SharedMemory: tt.shared, Descriptors: tt.handed}
			if tt.incoming && tt.handed != "" {
				launch.Handover = func(vm.Spec) {}
			}
			spec, err := commandLine("vm1", tt.params, placement, tt.shape, launch)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "commandline/"+tt.name+".golden", describe(spec))
		})
	}
}

// commandLine returns the command line of params.
func commandLine(name string, p cartesian.Params, placement vm.Placement, shape vm.Shape, launch vm.Launch) (vm.Spec, error) {
	c, err := vm.ParseConfig(name, p)
	if err != nil {
		return vm.Spec{}, err
	}
	return vm.CommandLine(c, placement, shape, launch)
}

// describe formats a Spec: the command line with one option a line, then what it
// needs.
func describe(s vm.Spec) string {
	var b strings.Builder
	for i, argument := range s.Argv {
		switch {
		case i == 0:
		case strings.HasPrefix(argument, "-"):
			b.WriteString("\n  ")
		default:
			b.WriteString(" ")
		}
		b.WriteString(argument)
	}
	b.WriteString("\n")
	for _, f := range s.Files {
		b.WriteString("file " + f.Path + " (" + f.Param + ")\n")
	}
	for _, t := range s.Taps {
		b.WriteString("tap " + t.Name + " on " + t.Bridge + "\n")
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update rewrites it):\n%s", file, diff)
	}
}

func TestCommandLineRefuses(t *testing.T) {
	long := placement
	long.RunDir = "/run/" + strings.Repeat("x", 100)
	tests := []struct {
		name      string
		vm        string
		placement vm.Placement
		params    cartesian.Params
		want      string
	}{
		{"a VM's name", "../vm1", placement, nil, `param vms: got "../vm1", want names of at most 25 letters, digits and ._-, starting with a letter`},
		{"smp", "vm1", placement, cartesian.Params{"smp": "two"}, `vm1: param smp: got "two", want a whole number`},
		{"no smp", "vm1", placement, cartesian.Params{"smp": "0"}, `vm1: param smp: got "0", want 1 at least`},
		{"guest_clock", "vm1", placement, cartesian.Params{"guest_clock": "maybe"}, `vm1: param guest_clock: got "maybe"`},
		{"a port's name", "vm1", placement, cartesian.Params{"serials": "clock"}, `vm1: param serials: got "clock", want another name`},
		{"a loader", "vm1", placement, cartesian.Params{"qemu_loader": "/opt/ld.so"}, "vm1: param qemu_loader: needs a path in param qemu_binary"},
		{"libraries", "vm1", placement, cartesian.Params{"qemu_libs": "/opt/lib"}, "vm1: param qemu_libs: needs param qemu_loader too"},
		{"a version", "vm1", placement, cartesian.Params{"qemu_version": "../x", "qemu_versions_dir": "/q"}, `vm1: param qemu_version: got "../x", want a version such as 10.0`},
		{"a version without a folder", "vm1", placement, cartesian.Params{"qemu_version": "10.0"}, `vm1: param qemu_version: got "10.0", but qemu_versions_dir is "": want the absolute path of the folder that has QEMU 10.0 on the host`},
		{"display", "vm1", placement, cartesian.Params{"display": "sdl"}, `vm1: param display: got "sdl", want one of none, vnc`},
		{"drive_format", "vm1", placement, cartesian.Params{"images": "image1", "image_name": "x", "drive_format": "floppy"}, `vm1: image1: param drive_format: got "floppy", want one of virtio, ide, ahci, scsi`},
		{"drive_cache", "vm1", placement, cartesian.Params{"images": "image1", "image_name": "x", "drive_cache": "x"}, `vm1: image1: param drive_cache: got "x"`},
		{"image_format", "vm1", placement, cartesian.Params{"images": "image1", "image_name": "x", "image_format": "vmdk"}, `vm1: image1: param image_format: got "vmdk", want one of qcow2, raw`},
		{"image_overlay", "vm1", placement, cartesian.Params{"images": "image1", "image_name": "x", "image_overlay": "maybe"}, `param image_overlay: got "maybe"`},
		{"no image_name", "vm1", placement, cartesian.Params{"images": "image1"}, `vm1: image1: param image_name: missing`},
		{"a new image outside", "vm1", placement, cartesian.Params{"images": "image1", "create_image": "yes", "force_create_image": "yes", "image_size": "1M", "image_overlay": "no", "image_name": "images/../../evil"}, `vm1: image1: param image_name: images/../../evil is outside of images_base_dir, and create_image would write there`},
		{"no image_size", "vm1", placement, cartesian.Params{"images": "image1", "create_image": "yes"}, `vm1: image1: param image_size: missing, create_image needs it`},
		{"an image's name", "vm1", placement, cartesian.Params{"images": "a/b"}, `param images: got "a/b"`},
		{"ide is full", "vm1", placement, cartesian.Params{"images": "a b c d e", "image_name": "x", "drive_format": "ide"}, `vm1: e: param drive_format: got 5 disks, but ide allows 4`},
		{"too many images", "vm1", placement, cartesian.Params{"images": "a b c d e f g h i j k", "image_name": "x"}, `param images: got 11, want at most 10`},
		{"nic_mode", "vm1", placement, cartesian.Params{"nics": "nic1", "nic_mode": "macvtap"}, `vm1: nic1: param nic_mode: got "macvtap", want one of user, tap, none`},
		{"nic_model", "vm1", placement, cartesian.Params{"nics": "nic1", "nic_model": "ne2k"}, `vm1: nic1: param nic_model: got "ne2k", want one of virtio, e1000, e1000e, rtl8139, vmxnet3`},
		{"no bridge", "vm1", placement, cartesian.Params{"nics": "nic1", "nic_mode": "tap"}, `vm1: nic1: param netdst: nic_mode = tap needs the name of a bridge on the host`},
		{"nic_ip", "vm1", placement, cartesian.Params{"nics": "nic1", "nic_mode": "tap", "netdst": "br0", "nic_ip": "10.1.2"}, `vm1: nic1: param nic_ip: got "10.1.2", want an IP address, or auto`},
		{"nic_ip of another guest", "vm1", placement, cartesian.Params{"nics": "nic1", "nic_mode": "tap", "netdst": "br0", "nic_ip": "auto"}, `vm1: nic1: param nic_ip: got "auto", want an address: auto is for the first card of JeOS`},
		{"nic_ip of a second card", "vm1", placement, cartesian.Params{"kernel": "jeos:kernel", "mem": "128", "nics": "nic1 nic2", "nic_mode": "tap", "netdst": "br0", "nic_ip_nic2": "auto"}, `vm1: nic2: param nic_ip: got "auto", want an address: auto is for the first card of JeOS`},
		{"a NIC's name", "vm1", placement, cartesian.Params{"nics": "a,b"}, `param nics: got "a,b"`},
		{"too many NICs", "vm1", placement, cartesian.Params{"nics": "1 2 3 4 5 6 7 8 9"}, `param nics: got 9, want at most 8`},
		{"shell_port", "vm1", placement, cartesian.Params{"nics": "nic1", "shell_port": "ssh"}, `vm1: nic1: param shell_port: got "ssh", want a port number`},
		{"a redirection without port", "vm1", placement, cartesian.Params{"nics": "nic1", "redirs": "web"}, `param guest_port_web: got "", want a port number`},
		{"a host's port", "vm1", placement, cartesian.Params{"nics": "nic1", "redirs": "web", "guest_port_web": "80", "host_port_web": "70000"}, `param host_port_web: got "70000", want a port number`},
		{"initrd alone", "vm1", placement, cartesian.Params{"initrd": "i"}, `vm1: param initrd: needs param kernel too`},
		{"serials", "vm1", placement, cartesian.Params{"serials": "qmp"}, `param serials: got "qmp", want another name`},
		{"too many serials", "vm1", placement, cartesian.Params{"serials": "a b c d e"}, `param serials: got 5, want at most 4`},
		{"a long path", "vm1", long, nil, `set a shorter param state_dir`},
		{"a long path of vnc", "vm1", vm.Placement{RunDir: "/" + strings.Repeat("x", 107-len("/vm1.qmp"))}, cartesian.Params{"display": "vnc"}, `state_dir`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := commandLine(tt.vm, tt.params, tt.placement, shape, vm.Launch{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CommandLine: got %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("machine_type", func(t *testing.T) {
		_, err := commandLine("vm1", cartesian.Params{"machine_type": "microvm"}, placement, shape, vm.Launch{})
		if want := `vm1: param machine_type: got "microvm", want a pc or q35 type`; err == nil || err.Error() != want {
			t.Errorf("CommandLine: got %v, want %s", err, want)
		}
	})
}

// What must be the same on both sides does not depend on the host's folders.
func TestCommandLineSameOnBothHosts(t *testing.T) {
	params := cartesian.Params{"name": "v", "nics": "nic1", "images": "image1", "image_name": "x"}
	other := vm.Placement{RunDir: "/home/u/v1", ImageDir: "/mnt/images/v1", BaseDir: "/mnt"}
	source, err := commandLine("vm1", params, placement, shape, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	destination, err := commandLine("vm1", params, other, shape, vm.Launch{Incoming: true})
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/home/u/v1", "/run/mhmig/v1", "/mnt", "/srv")
	for n, argument := range destination.Argv {
		if argument == "-incoming" {
			break
		}
		if got := here.Replace(argument); got != source.Argv[n] {
			t.Errorf("argument %d: %q on the source, %q on the destination", n, source.Argv[n], argument)
		}
	}
}

// Two instances of one VM on one host have different sockets and tap devices, but the same disk.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	config, err := vm.ParseConfig("vm1", cartesian.Params{"images": "image1", "image_name": "x", "serials": "serial0", "guest_clock": "yes", "nics": "nic1", "nic_mode": "tap", "netdst": "br0"})
	if err != nil {
		t.Fatal(err)
	}
	var specs []vm.Spec
	for id := range 2 {
		at := placement
		at.ID = id + 1
		spec, err := vm.CommandLine(config, at, shape, vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	one, other := specs[0], specs[1]
	if one.Taps[0].Name == other.Taps[0].Name {
		t.Errorf("both have the tap device %s", one.Taps[0].Name)
	}
	if one.QMP != "/run/mhmig/v1/vm1.qmp" || other.QMP != "/run/mhmig/v1/vm1+2.qmp" {
		t.Errorf("monitors: got %s and %s", one.QMP, other.QMP)
	}
	for what, pair := range map[string][2]string{
		"QMP": {one.QMP, other.QMP}, "spare": {one.SpareQMP, other.SpareQMP}, "migration": {one.Migration, other.Migration},
		"serial": {one.Serials[0], other.Serials[0]}, "clock": {one.Clock, other.Clock},
	} {
		if pair[0] == pair[1] || pair[0] == "" {
			t.Errorf("%s: both have %q", what, pair[0])
		}
	}
	if diff := cmp.Diff(one.Files, other.Files); diff != "" {
		t.Errorf("disks (- first, + second):\n%s", diff)
	}
}
