// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/vm"
)

// A real QEMU starts with all kinds of devices at once, on both chipsets: no two of them
// have one address.
func TestDevicesStart(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.write("shared/images/disc.iso", make([]byte, 64<<10), 0o644)
	s := b.host("host1")
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			p := b.params(cartesian.Params{
				"machine_type": machine, "display": "vnc", "guest_clock": "yes", "serials": "serial0 serial1",
				"smp": "3", "vcpu_sockets": "2", "vcpu_cores": "2", "vcpu_threads": "1", "cpu_model_flags": ",+x2apic,-vmx",
				"images": "image1 stg", "iothreads": "io1 io2", "image_iothread_image1": "io1", "drive_format_stg": "scsi",
				"bus_extra_params_stg": "iothread=io2", "blk_extra_params_stg": "serial=A1",
				"nics": "nic1 nic2", "nic_model_nic2": "e1000", "nic_extra_params_nic1": "mrg_rxbuf=off", "netdev_extra_params": "hostname=guest",
				"drive_serial_image1": "S1", "drive_werror": "stop", "drive_rerror": "stop",
				"cdroms": "cd1 cd2 cd3", "cdrom_cd1": "images/disc.iso", "cd_format_cd2": "ahci", "cd_format_cd3": "scsi-cd",
				"memballoon_model": "virtio", "virtio_rngs": "rng0 rng1", "usbs": "usb1 usb2", "usb_type_usb1": "ich9-usb-ehci1", "usb_devices": "tablet1 kbd",
				"usbdev_type_kbd": "usb-kbd", "usbdev_bus_kbd": "usb2.0", "enable_watchdog": "yes", "watchdog_action": "pause", "enable_pvpanic": "yes",
				"rtc_base": "localtime", "rtc_drift": "slew", "disable_s3": "no", "disable_s4": "yes",
				"floppies": "fl fl2", "floppy_name_fl": "images/" + machine + ".vfd",
			})
			b.write("shared/images/"+machine+".vfd", make([]byte, 1440<<10), 0o644)
			s.prepare(machine, p)
			i := s.start(machine, p, false)
			if status, err := i.Status(t.Context()); err != nil || status != "prelaunch" {
				t.Errorf("status %q, %v; want prelaunch", status, err)
			}
		})
	}
}

// Numbers of the topology that are missing are computed, as in virt-test.
func TestTopology(t *testing.T) {
	t.Parallel()
	for params, want := range map[string]string{
		"":                                     "1",
		"smp=4":                                "4",
		"smp=4 cores=0":                        "4",
		"smp=4 cores=2":                        "4,maxcpus=4,sockets=2,cores=2,threads=1",
		"smp=4 cores=1":                        "4,maxcpus=4,sockets=4,cores=1,threads=1",
		"smp=2 maxcpus=8 sockets=2":            "2,maxcpus=8,sockets=2,cores=4,threads=1",
		"smp=8 sockets=2 cores=2":              "8,maxcpus=8,sockets=2,cores=2,threads=2",
		"sockets=2 cores=2":                    "4,maxcpus=4,sockets=2,cores=2,threads=1",
		"smp=3 sockets=2 cores=2 threads=1":    "3,maxcpus=4,sockets=2,cores=2,threads=1",
		"maxcpus=4":                            "4,maxcpus=4,sockets=4,cores=1,threads=1",
		"smp=1 maxcpus=2":                      "1,maxcpus=2,sockets=2,cores=1,threads=1",
		"smp=3 threads=2":                      "1 x 1 x 2 is 2 CPUs, want vcpu_maxcpus = 3, and at least smp = 3",
		"smp=8 sockets=1 cores=2 threads=2":    "1 x 2 x 2 is 4 CPUs, want vcpu_maxcpus = 8, and at least smp = 8",
		"smp=4 maxcpus=2 sockets=1":            "1 x 2 x 1 is 2 CPUs, want vcpu_maxcpus = 2, and at least smp = 4",
		"smp=2 maxcpus=x":                      `param vcpu_maxcpus: got "x", want a whole number`,
		"smp=2 maxcpus=2 sockets=3 threads=-1": `param vcpu_threads: got "-1", want 0 at least`,
	} {
		p := cartesian.Params{}
		for field := range strings.FieldsSeq(params) {
			name, value, _ := strings.Cut(field, "=")
			if name != "smp" {
				name = "vcpu_" + name
			}
			p[name] = value
		}
		spec, err := commandLine("vm1", p, placement, shape, vm.Launch{})
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		default:
			got = option(spec, "-smp")
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %s, want %s", params, got, want)
		}
	}
}

// option is the value of an option of a command line.
func option(s vm.Spec, flag string) string {
	for i, argument := range s.Argv {
		if argument == flag {
			return s.Argv[i+1]
		}
	}
	return ""
}

// Devices that a host or a migration cannot have are errors before anything is started.
func TestDevicesRefuse(t *testing.T) {
	t.Parallel()
	disk := cartesian.Params{"images": "image1", "image_name": "x"}
	tests := []struct {
		name   string
		params cartesian.Params
		want   string
	}{
		{"a flag", cartesian.Params{"cpu_model_flags": "+a;b"}, `vm1: param cpu_model_flags: got "+a;b", want flags such as +x2apic`},
		{"an I/O thread", merge(disk, cartesian.Params{"image_iothread": "io1"}), `vm1: image1: param image_iothread: io1 is none of those that param iothreads names`},
		{"an I/O thread of ide", merge(disk, cartesian.Params{"iothreads": "io1", "image_iothread": "io1", "drive_format": "ide"}), `disks on ide cannot have an I/O thread: use drive_format virtio or scsi`},
		{"two I/O threads of a controller", cartesian.Params{"images": "a b", "image_name": "x", "drive_format": "scsi", "iothreads": "io1 io2", "image_iothread_a": "io1", "image_iothread_b": "io2"}, `vm1: b: param image_iothread: io2, but another disk of the same controller has io1`},
		{"two settings of a controller", cartesian.Params{"images": "a b", "image_name": "x", "drive_format": "scsi", "bus_extra_params_a": "num_queues=2", "bus_extra_params_b": "num_queues=3"}, `vm1: b: param bus_extra_params: num_queues=3, but another disk of the same controller has num_queues=2`},
		{"a controller's settings", merge(disk, cartesian.Params{"bus_extra_params": "num_queues=2"}), `param bus_extra_params: got "num_queues=2", want properties of a virtio-scsi controller`},
		{"a full controller", cartesian.Params{"images": "a b c", "image_name": "x", "drive_format": "ide", "cdroms": "cd1 cd2"}, `vm1: cd2: param cd_format: no free place on ide, which allows 4 disks and CD-ROM drives`},
		{"cd_format", cartesian.Params{"cdroms": "cd1", "cd_format": "virtio"}, `vm1: cd1: param cd_format: got "virtio", want one of ide, ahci, scsi`},
		{"floppies", cartesian.Params{"floppies": "a b c"}, `vm1: param floppies: got 3, want at most 2`},
		{"one name", merge(disk, cartesian.Params{"cdroms": "image1"}), `vm1: two devices are called image1: give disks, drives, `},
		{"a controller's name", cartesian.Params{"images": "scsi", "image_name": "x", "drive_format": "scsi"}, `vm1: two devices are called scsi`},
		{"drive_werror", merge(disk, cartesian.Params{"drive_werror": "x"}), `vm1: image1: param drive_werror: got "x", want one of auto, report, ignore, enospc, stop`},
		{"a card's address", cartesian.Params{"nics": "nic1", "nic_extra_params": "mac=1"}, `param nic_extra_params: got "mac=1", want no property mac`},
		{"rtc_base", cartesian.Params{"rtc_base": "now"}, `vm1: param rtc_base: got "now", want utc, localtime or a date such as`},
		{"rtc_drift", cartesian.Params{"rtc_drift": "x"}, `vm1: param rtc_drift: got "x", want one of none, slew`},
		{"a watchdog", cartesian.Params{"watchdog_device_type": "diag288"}, `vm1: param watchdog_device_type: got "diag288", want one of i6300esb, ib700`},
		{"usb_type", cartesian.Params{"usbs": "usb1", "usb_type_usb1": "x"}, `vm1: usb1: param usb_type: got "x", want one of qemu-xhci`},
		{"no USB", cartesian.Params{"usb_devices": "tablet1"}, `vm1: tablet1: param usb_devices: no USB controller for tablet1`},
		{"no such USB", cartesian.Params{"usbs": "usb1", "usb_devices": "tablet1", "usbdev_bus": "usb2.0"}, `no USB controller for tablet1`},
		{"USB is full", cartesian.Params{"usbs": "usb1", "usb_type": "piix3-usb-uhci", "usb_devices": "a b c"}, `vm1: c: param usb_devices: no free port on usb1, which has 2`},
		{"USB storage", cartesian.Params{"usbs": "usb1", "usb_devices": "stick", "usbdev_type": "usb-storage"}, `vm1: stick: param usbdev_type: got "usb-storage"`},
		{"three rngs", cartesian.Params{"virtio_rngs": "a b c"}, `vm1: param virtio_rngs: got 3, want at most 2`},
		{"a balloon's id", cartesian.Params{"balloon_dev_devid": "a,b"}, `vm1: param balloon_dev_devid: got "a,b"`},
		{"a model of balloon", cartesian.Params{"memballoon_model": "xen"}, `vm1: param memballoon_model: got "xen", want one of none, virtio`},
		{"an address", merge(disk, cartesian.Params{"blk_extra_params": ",addr=0x5"}), `param blk_extra_params: got ",addr=0x5", want no property addr, which mhmig sets`},
		{"a property", merge(disk, cartesian.Params{"blk_extra_params": "serial"}), `param blk_extra_params: got "serial", want properties such as serial=A1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := vm.ParseConfig("vm1", tt.params); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseConfig: got %v, want %s", err, tt.want)
			}
		})
	}
}

func merge(all ...cartesian.Params) cartesian.Params {
	merged := cartesian.Params{}
	for _, p := range all {
		maps.Copy(merged, p)
	}
	return merged
}

// vhost has an effect with a tap only. What the guest does not see may differ between
// hosts.
func TestVhost(t *testing.T) {
	t.Parallel()
	tap := cartesian.Params{"nics": "nic1", "nic_mode": "bridge", "netdst": "br0"}
	user := cartesian.Params{"nics": "nic1"}
	needsTap := []vm.Ignored{{Param: "vhost", Object: "nic1", Reason: "vhost needs nic_mode = tap, but that of nic1 is user"}}
	extraNeedsTap := []vm.Ignored{needsTap[0]}
	extraNeedsTap[0].Param = "netdev_extra_params"
	for _, tt := range []struct {
		params  cartesian.Params
		want    string // in the netdev
		ignored []vm.Ignored
	}{
		{merge(tap, cartesian.Params{"vhost": "on"}), "downscript=no,vhost=on", nil},
		{merge(tap, cartesian.Params{"vhost_nic1": "yes", "vhostforce": "on"}), "downscript=no,vhost=on,vhostforce=on", nil},
		{merge(tap, cartesian.Params{"netdev_extra_params": ",vhost=on,sndbuf=0"}), "downscript=no,vhost=on,sndbuf=0", nil},
		{merge(tap, cartesian.Params{"vhost": "on", "netdev_extra_params": ",vhost=off"}), "downscript=no,vhost=off", nil},
		{merge(user, cartesian.Params{"vhost": "on"}), "hostfwd=tcp:127.0.0.1:0-:22", needsTap},
		{merge(user, cartesian.Params{"netdev_extra_params": ",vhost=on,hostname=x"}), ":22,hostname=x", extraNeedsTap},
		{merge(user, cartesian.Params{"netdev_extra_params": ",vhost=off"}), ":22", nil},
	} {
		c, err := vm.ParseConfig("vm1", tt.params)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := vm.CommandLine(c, placement, shape, vm.Launch{})
		if err != nil {
			t.Fatal(err)
		}
		if got := option(spec, "-netdev"); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%v: got -netdev %s, want it to end in %s", tt.params, got, tt.want)
		}
		if diff := cmp.Diff(tt.ignored, c.Ignored); diff != "" {
			t.Errorf("%v: ignored (- want, + got):\n%s", tt.params, diff)
		}
	}
}
