// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// One call reports all errors, of all devices.
func TestParseConfigFindsAll(t *testing.T) {
	t.Parallel()
	_, err := vm.ParseConfig("vm1", cartesian.Params{
		"mem": "128MB", "smp": "two", "images": "image1 stg", "image_name": "x", "drive_format_stg": "zip", "image_size": "big",
		"nics": "nic1 nic2", "nic_model_nic2": "bogus", "mac_nic1": "52:54", "shell_prompt": "[", "shell_client": "telnet", "accel": "xen",
	})
	want := []string{
		`vm1: param smp: got "two", want a whole number`,
		`vm1: param accel: got "xen", want one of auto, kvm, tcg`,
		`vm1: param mem: got "128MB", want a size (512, 64M, 1.5G)`,
		"vm1: param shell_prompt: got \"[\", want a regular expression: error parsing regexp: missing closing ]: `[`",
		`vm1: param shell_client: got "telnet", want one of ssh`,
		`vm1: image1: param image_size: got "big", want a size (512, 64M, 1.5G)`,
		`vm1: stg: param drive_format: got "zip", want one of virtio, ide, ahci, scsi`,
		`vm1: stg: param image_size: got "big", want a size (512, 64M, 1.5G)`,
		`vm1: nic1: param mac: got "52:54", want an address such as 52:54:00:12:34:56`,
		`vm1: nic2: param nic_model: got "bogus", want one of virtio, e1000, e1000e, rtl8139, vmxnet3`,
	}
	if err == nil {
		t.Fatal("ParseConfig: no error")
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

// An unclosed quote would drop or join arguments of QEMU.
func TestExtraParamsAreWholeWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{``, ""},
		{`-a 'b c' "d\"e" f\ g h#i '#' "it's"`, ""},
		{`-smbios "type=1,serial=zz`, `words as in a shell, each " with a closing one`},
		{`-smbios 'type=1`, `words as in a shell, each ' with a closing one`},
		{`it's`, `words as in a shell, each ' with a closing one`},
		{`'a\'`, ""},
		{`"a\"`, `words as in a shell, each " with a closing one`},
		{`-a \`, `words as in a shell, and a character after the last \`},
		{`-a # -b`, `words as in a shell, where "#" begins a comment; write '#' in quotes`},
	}
	for _, tt := range tests {
		_, err := vm.ParseConfig("vm1", cartesian.Params{"extra_params": tt.text})
		got := ""
		if err != nil {
			got = err.Error()
		}
		want := tt.want
		if want != "" {
			want = fmt.Sprintf("vm1: param extra_params: got %q, want %s", tt.text, want)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", tt.text, got, want)
		}
	}
}

// The plan of a run checks the guest's memory only; ParseConfig reports it with all
// other errors.
func TestGuestMemory(t *testing.T) {
	t.Parallel()
	const small = "vm1: param mem: got %q, want at least 76M: the guest JeOS does not boot with less"
	shipped := cartesian.Params{"kernel": "jeos:kernel", "initrd": "jeos:initrd"}
	for mem, want := range map[string]string{
		"40": fmt.Sprintf(small, "40"), "75.9M": fmt.Sprintf(small, "75.9M"), "76": "", "1G": "", "lots": "",
	} {
		p := maps.Clone(shipped)
		p["mem"] = mem
		if err := vm.CheckGuestMemory("vm1", p); (err != nil || want != "") && fmt.Sprint(err) != want {
			t.Errorf("CheckGuestMemory with %s: got %v, want %q", mem, err, want)
		}
		if _, err := vm.ParseConfig("vm1", p); want != "" && fmt.Sprint(err) != want {
			t.Errorf("ParseConfig with %s: got %v, want %q", mem, err, want)
		}
	}
	for _, p := range []cartesian.Params{{"mem": "40"}, {"mem": "40", "kernel": "jeos:kernel", "initrd": "/boot/initrd"}} {
		if err := vm.CheckGuestMemory("vm1", p); err != nil {
			t.Errorf("CheckGuestMemory of another guest: %v", err)
		}
	}
}

// Synonyms of virt-test.
func TestSpellings(t *testing.T) {
	t.Parallel()
	ours := cartesian.Params{"images": "i", "image_name": "x", "nics": "n", "drive_format": "scsi", "nic_model": "virtio", "display": "none"}
	theirs := maps.Clone(ours)
	maps.Copy(theirs, cartesian.Params{"drive_format": "scsi-hd", "nic_model": "virtio_net", "display": "nographic"})
	one, err := commandLine("vm1", ours, placement, shape, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := commandLine("vm1", theirs, placement, shape, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one.Argv, other.Argv); diff != "" {
		t.Error(diff)
	}
}

// What must be the same on both ends, however the params set it.
func TestCheckSame(t *testing.T) {
	t.Parallel()
	base := cartesian.Params{
		"vms": "vm1", "images": "image1 stg", "image_name": "images/x", "nics": "nic1", "serials": "serial0",
		"images_base_dir_host2": "/elsewhere", "netdst": "br0", "kernel": "k",
	}
	tests := []struct {
		name   string
		params cartesian.Params
		want   string // "" if the guest can migrate
	}{
		{"nothing", nil, ""},
		{"a bridge of another name", cartesian.Params{"nic_mode": "tap", "netdst_host2": "br1"}, ""},
		{"another QEMU", cartesian.Params{"qemu_binary_host2": "/opt/qemu"}, ""},
		{"a NIC's model", cartesian.Params{"nic_model_nic1_vm1_host2": "e1000"}, `param nic_model_nic1_vm1_host2: "virtio" on host1 but "e1000" on host2`},
		{"a NIC's mode", cartesian.Params{"nic_mode_host2": "none"}, `param nic_mode_host2: "user" on host1 but "none" on host2`},
		{"a NIC's address", cartesian.Params{"mac_nic1_host1": "52:54:00:00:00:01"}, `param mac_nic1_host1: "52:54:00:00:00:01" on host1`},
		{"a NIC more", cartesian.Params{"nics_host2": "nic1 nic2"}, `param nics_host2: "nic1" on host1 but "nic1 nic2" on host2`},
		{"a disk's bus", cartesian.Params{"drive_format_stg_vm1_host2": "ide"}, `param drive_format_stg_vm1_host2: "virtio" on host1 but "ide" on host2`},
		{"the same bus by another word", cartesian.Params{"drive_format": "scsi", "drive_format_host2": "scsi-hd"}, ""},
		{"a disk's format", cartesian.Params{"image_format_vm1_host2": "raw"}, `param image_format_vm1_host2: "qcow2" on host1 but "raw" on host2`},
		{"a disk less", cartesian.Params{"images_vm1_host2": "image1"}, `param images_vm1_host2: "image1 stg" on host1 but "image1" on host2`},
		{"an image's file", cartesian.Params{"image_overlay": "no", "image_name_stg_host2": "y"}, `param image_name_stg_host2: "images/x" on host1 but "y" on host2`},
		{"a device's name", cartesian.Params{"image_overlay": "no", "image_raw_device_stg": "yes", "image_name_stg_host1": "/dev/sdb", "image_name_stg_host2": "/dev/sdc"}, ""},
		{"a cache mode", cartesian.Params{"drive_cache_host2": "none"}, ""},
		{"a cache that the guest flushes", cartesian.Params{"drive_cache_stg_host2": "writethrough"}, `param drive_cache_stg_host2: "writeback" on host1 but "writethrough" on host2`},
		{"memory", cartesian.Params{"mem": "1G", "mem_vm1_host1": "1024"}, ""},
		{"other memory", cartesian.Params{"mem_vm1_host2": "2G"}, `param mem_vm1_host2: "1024M" on host1 but "2048M" on host2`},
		{"CPUs", cartesian.Params{"smp_host2": "2"}, `param smp_host2: "1" on host1 but "2" on host2`},
		{"the same topology", cartesian.Params{"smp": "4", "vcpu_cores_host1": "4", "vcpu_sockets_host2": "1"}, ""},
		{"an I/O thread", cartesian.Params{"iothreads_host2": "io1", "image_iothread_stg_host2": "io1"}, ""},
		{"a property of a disk", cartesian.Params{"blk_extra_params_stg_host2": "serial=A"}, `param blk_extra_params_stg_host2: "none" on host1 but "serial=A" on host2`},
		{"a property of a controller", cartesian.Params{"drive_format_stg": "scsi", "bus_extra_params_stg_host2": "num_queues=2"}, `param bus_extra_params`},
		{"a drive", cartesian.Params{"cdroms_host2": "cd1"}, `param cdroms_host2: "" on host1 but "cd1" on host2`},
		{"a drive's bus", cartesian.Params{"cdroms": "cd1", "cd_format_cd1_host2": "ahci"}, `param cd_format_cd1_host2: "ide" on host1 but "ahci" on host2`},
		{"another disc", cartesian.Params{"cdroms": "cd1", "cdrom_cd1_host2": "new.iso"}, ""},
		{"a floppy drive", cartesian.Params{"floppies_vm1_host2": "fl"}, `param floppies_vm1_host2: "" on host1 but "fl" on host2`},
		{"vhost", cartesian.Params{"nic_mode": "tap", "netdst": "br0", "netdev_extra_params_host1": ",vhost=on"}, ""},
		{"a property of a card", cartesian.Params{"nic_extra_params_host1": "mrg_rxbuf=off"}, `param nic_extra_params_host1: "mrg_rxbuf=off" on host1 but "none" on host2`},
		{"an error policy", cartesian.Params{"drive_werror_stg_host2": "stop"}, `param drive_werror_stg_host2: "auto" on host1 but "stop" on host2`},
		{"a serial number", cartesian.Params{"drive_serial_stg_host2": "S"}, `param drive_serial_stg_host2: "none" on host1 but "S" on host2`},
		{"a balloon", cartesian.Params{"memballoon_model_host2": "virtio"}, `param memballoon_model_host2: "" on host1 but "virtio" on host2`},
		{"a balloon's id", cartesian.Params{"memballoon_model": "virtio", "balloon_dev_devid_host2": "b"}, ""},
		{"a source of random numbers", cartesian.Params{"virtio_rngs_host1": "rng0"}, `param virtio_rngs_host1: "rng0" on host1 but "" on host2`},
		{"a USB controller", cartesian.Params{"usbs_host1": "usb1"}, `param usbs_host1: "usb1" on host1 but "" on host2`},
		{"its type", cartesian.Params{"usbs": "usb1", "usb_type_usb1_host1": "usb-ehci"}, `param usb_type_usb1_host1: "usb-ehci" on host1 but "qemu-xhci" on host2`},
		{"a tablet", cartesian.Params{"usbs": "usb1", "usb_devices_host1": "t"}, `param usb_devices_host1: "t" on host1 but "" on host2`},
		{"what a watchdog does", cartesian.Params{"enable_watchdog": "yes", "watchdog_action_host1": "none"}, `param watchdog_action_host1: "none" on host1 but "reset" on host2`},
		{"pvpanic", cartesian.Params{"enable_pvpanic_host1": "yes"}, `param enable_pvpanic_host1: "yes" on host1 but "" on host2`},
		{"lost ticks", cartesian.Params{"rtc_drift_host1": "slew"}, `param rtc_drift_host1: "slew" on host1 but "none" on host2`},
		{"UUID", cartesian.Params{"uuid_host1": "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86"}, `param uuid_host1: "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86" on host1 but "" on host2`},
		{"suspend to RAM", cartesian.Params{"disable_s3_host1": "yes"}, `param disable_s3_host1: "yes" on host1 but "" on host2`},
		{"a kernel", cartesian.Params{"kernel_host2": ""}, `param kernel_host2: "k" on host1 but "" on host2`},
		{"a port more", cartesian.Params{"serials_host2": "serial0 s1"}, `param serials_host2: "1" on host1 but "1 2" on host2`},
		{"the clock's port", cartesian.Params{"guest_clock_vm1_host1": "yes"}, `param guest_clock_vm1_host1: "yes" on host1 but "" on host2`},
		{"a display", cartesian.Params{"display_host2": "vnc"}, `param display_host2: "" on host1 but "vnc" on host2`},
	}
	b := newBed(t)
	h1, h2 := b.host("host1"), b.host("host2")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			params := maps.Clone(base)
			maps.Copy(params, tt.params)
			var hostConfigs []vm.HostConfig
			for _, s := range []struct {
				label string
				on    *site
			}{{"host1", h1}, {"host2", h2}} {
				c, err := vm.ParseConfig("vm1", params.Object(s.label).Object("vm1"))
				if err != nil {
					t.Fatal(err)
				}
				hostConfigs = append(hostConfigs, vm.HostConfig{Host: s.on.Host, Label: s.label, Params: params, Config: c})
			}
			err := vm.CheckSame(hostConfigs[0], hostConfigs[1])
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("CheckSame: got %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("CheckSame: got %v, want %s", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("CheckSame: got %v, want one line", err)
			}
		})
	}
}

// Each device can be hot-plugged into a running QEMU, with the same options as on its
// command line.
func TestDevicesPlugIn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	bare := b.params(cartesian.Params{"images": "", "machine_type": "pc"})
	i := s.start("vm1", bare, false)
	p := b.params(cartesian.Params{
		"images": "a b d", "drive_format_b": "scsi", "drive_cache_b": "none", "drive_format_d": "scsi", "drive_cache_d": "writethrough",
		"nics": "nic1 nic2", "nic_model_nic2": "e1000", "redirs": "web", "guest_port_web": "80", "guest_clock": "yes", "iothreads": "io1", "image_iothread_b": "io1",
		"cdroms": "cd1", "cd_format": "scsi", "cdrom": "images/counter.raw",
		"memballoon_model": "virtio", "virtio_rngs": "rng0", "usbs": "usb1 usb2", "usb_devices": "t",
		"enable_watchdog": "yes",
	})
	s.prepare("vm1", p)
	spec, err := vm.CommandLine(s.config("vm1", p), s.placement, vm.Shape{Accel: "tcg", Machine: "pc", CPU: "qemu64", MemoryKiB: 32 << 10}, vm.Launch{})
	if err != nil {
		t.Fatal(err)
	}
	plugged := 0
	for _, o := range spec.Options {
		if o.Kind == "isa-serial" || o.Flag == "-chardev" && o.Properties[0].Value != "clock" {
			continue // cannot be hot-plugged
		}
		command, arguments := o.QMP()
		if err := i.Monitor().Execute(t.Context(), command, arguments, nil); err != nil {
			text, _ := json.Marshal(arguments)
			t.Fatalf("%s %s: %v", command, text, err)
		}
		plugged++
	}
	// A disk has two block nodes and a device, a NIC two parts, the clock three; and there is a SCSI controller with an I/O thread.
	// A CD-ROM drive with a disc has three parts as well. A balloon has one, a source of
	// random numbers two, as many as there are have USB controllers, tablets and watchdogs.
	if want := 4*3 + 2*2 + 3 + 2 + 1 + 2 + 2 + 1 + 1; plugged != want {
		t.Errorf("plugged in %d, want %d of %+v", plugged, want, spec.Options)
	}
}

// A UUID has its 32 digits in five groups.
func TestUUID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"random", "6b1d3c5e8f404c799a3e2f5d0c7b1a86", "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a8g", "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86,id=x"} {
		if _, err := vm.ParseConfig("vm1", cartesian.Params{"uuid": id}); err == nil || !strings.Contains(err.Error(), "want a UUID, such as") {
			t.Errorf("%s: got %v, want that it is refused", id, err)
		}
	}
}
