// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/run"
)

// Invalid values are found before the run, with the param that sets them.
func TestCheckParams(t *testing.T) {
	t.Parallel()
	base := cartesian.Params{"vms": "vm1 vm2", "images": "image1", "image_name": "x", "nics": "nic1"}
	for _, planted := range []struct{ key, value, want string }{
		{"mem", "abc", `vm1: param mem: got "abc", want a size (512, 64M, 1.5G)`},
		{"mem_vm2", "128MB", `vm2: param mem: got "128MB", want a size (512, 64M, 1.5G)`},
		{"mem_vm1_host2", "0", `vm1: param mem: got "0", want at least 1M`},
		{"smp", "0", `vm1: param smp: got "0", want 1 at least`},
		{"smp_vm1", "many", `vm1: param smp: got "many", want a whole number`},
		{"machine_type", "vax", `vm1: param machine_type: got "vax", want a pc or q35 type`},
		{"accel", "xen", `vm1: param accel: got "xen", want one of auto, kvm, tcg`},
		{"tcg_dirty_guard", "maybe", `vm1: param tcg_dirty_guard: got "maybe", want one of auto, on, off`},
		{"display", "sdl", `vm1: param display: got "sdl", want one of none, vnc`},
		{"initrd_vm2", "i", `vm2: param initrd: needs param kernel too`},
		{"serials", "qmp", `vm1: param serials: got "qmp", want another name: qmp, spare, mig, cpr, state, vmstate, exec, prog, clock, vnc, sh, log, exit, pid are reserved`},
		{"serials_vm1", "a b c d e", `vm1: param serials: got 5, want at most 4`},
		{"guest_clock", "sometimes", `vm1: param guest_clock: got "sometimes", want yes or no`},
		{"monitor_timeout", "-1", `vm1: param monitor_timeout: got "-1", want seconds (240, 1.5) or a time with units (1m30s)`},
		{"start_vm_vm2", "x", `vm2: param start_vm: got "x", want yes or no`},
		{"images_vm1", "../x", `vm1: param images: got "../x", want names of at most 25 letters, digits and ._-, starting with a letter`},
		{"image_format", "vmdk", `vm1: image1: param image_format: got "vmdk", want one of qcow2, raw`},
		{"image_name_image1_vm2", "", `vm2: image1: param image_name: missing`},
		{"force_create_image", "yes", `vm1: image1: param image_size: missing, create_image needs it (such as 10G)`},
		{"drive_format_image1", "zip", `vm1: image1: param drive_format: got "zip", want one of virtio, ide, ahci, scsi`},
		{"drive_cache", "often", `vm1: image1: param drive_cache: got "often", want one of writeback, none, writethrough, directsync, unsafe`},
		{"nic_model", "bogus", `vm1: nic1: param nic_model: got "bogus", want one of virtio, e1000, e1000e, rtl8139, vmxnet3`},
		{"nic_mode_host2", "macvtap", `vm1: nic1: param nic_mode: got "macvtap", want one of user, tap, none`},
		{"nic_mode_nic1_vm2", "tap", `vm2: nic1: param netdst: nic_mode = tap needs the name of a bridge on the host`},
		{"mac_nic1", "x", `vm1: nic1: param mac: got "x", want an address such as 52:54:00:12:34:56`},
		{"redirs", "web", `vm1: nic1: param guest_port_web: got "", want a port number`},
		{"shell_port", "70000", `vm1: param shell_port: got "70000", want a port number`},
		{"shell_prompt", "[", "vm1: param shell_prompt: got \"[\", want a regular expression: error parsing regexp: missing closing ]: `[`"},
		{"shell_client", "nc", `vm1: param shell_client: got "nc", want one of ssh`},
		{"qemu_version_host2", "10.0", `vm1: param qemu_version: got "10.0", but qemu_versions_dir is "": want the absolute path of the folder that has QEMU 10.0 on the host`},
		{"mig_protocol", "nosuch", `param mig_protocol: got "nosuch", want one of cpr-exec, cpr-reboot, cpr-transfer, exec, fd, file, rdma, tcp, unix, x-rdma`},
		{"mig_speed", "fast", `param mig_speed: got "fast", want a size (512, 64M, 1.5G)`},
		{"mig_downtime", "short", `param mig_downtime: got "short", want seconds (240, 1.5) or a time with units (1m30s)`},
		{"mig_downtime", "2001", `param mig_downtime: got "2001", want 0 to 2000 seconds`},
		{"mig_multifd_channels", "300", `param mig_multifd_channels: got "300", want 1 to 255`},
		{"mig_xbzrle_cache", "3M", `param mig_xbzrle_cache: got "3M", want a power of two, 4096 at least`},
		{"mig_xbzrle_cache", "0", `param mig_xbzrle_cache: got "0", want a power of two, 4096 at least`},
		{"mig_announce_initial", "101", `param mig_announce_initial: got "101", want 0 to 100 seconds`},
		{"mig_announce_max_delay", "1000", `param mig_announce_max_delay: got "1000", want 0 to 100 seconds`},
		{"mig_announce_step", "0", `param mig_announce_step: got "0", want 0.001 to 10 seconds`},
		{"mig_announce_step", "10.5", `param mig_announce_step: got "10.5", want 0.001 to 10 seconds`},
		{"mig_announce_rounds", "1001", `param mig_announce_rounds: got "1001", want 1 to 1000`},
		{"mig_port", "5200-100", `param mig_port: got "5200-100", want a TCP port, a range such as 5200-5899, or 0 for any`},
		{"mig_timeout", "soon", `param mig_timeout: got "soon", want seconds (240, 1.5) or a time with units (1m30s)`},
		{"mig_offline", "x", `param mig_offline: got "x", want yes or no`},
		{"kill_vm", "maybe", `param kill_vm: got "maybe", want yes or no`},
		{"disk_prepare_timeout", "x", `param disk_prepare_timeout: got "x", want seconds (240, 1.5) or a time with units (1m30s)`},
		{"ssh_port_host2", "x", `param ssh_port: got "x", want a port number`},
		{"ssh_connect_timeout", "0", `param ssh_connect_timeout: got "0", want 1 at least`},
		{"hosts_needed", "none", `param hosts_needed: got "none", want a whole number`},
	} {
		t.Run(planted.key+"="+planted.value, func(t *testing.T) {
			t.Parallel()
			params := maps.Clone(base)
			params[planted.key] = planted.value
			for name, check := range map[string]func(cartesian.Params, int) []*run.ParamError{"before a run": run.CheckParams, "all": run.CheckAllParams} {
				var got []string
				for _, fault := range check(params, 2) {
					got = append(got, fault.Error())
				}
				if len(got) == 0 || got[0] != planted.want {
					t.Errorf("%s: got %q, want %q first", name, got, planted.want)
				}
				if twice := slices.Compact(slices.Sorted(slices.Values(got))); len(twice) != len(got) {
					t.Errorf("%s: got %q, want each once", name, got)
				}
			}
		})
	}
	if faults := run.CheckParams(base, 3); len(faults) > 0 {
		t.Errorf("without a fault: got %v", faults)
	}
	faults := run.CheckParams(cartesian.Params{"vms": "vm1", "nics": "nic1", "nic_model_nic1_vm1_host2": "x"}, 2)
	if len(faults) != 1 || faults[0].Key != "nic_model_nic1_vm1_host2" {
		t.Errorf("got %+v, want the key that sets the value", faults)
	}
}

// What a run finds when a guest starts or a migration begins is found with the rest.
func TestCheckAllParams(t *testing.T) {
	t.Parallel()
	base := cartesian.Params{"vms": "vm1 vm2", "images": "image1", "image_name": "x", "nics": "nic1"}
	if faults := run.CheckAllParams(base, 3); len(faults) > 0 {
		t.Errorf("without a fault: got %v", faults)
	}
	for _, right := range []cartesian.Params{
		{"mig_storage": "nbd", "images_vm2": ""},
		{"mig_validate_uuid": "yes", "extra_params": "-uuid 6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86"},
		{"images_shared": "no", "floppies": "fl"},
		{"images_shared": "no", "floppies": "fl", "floppy_name": "x.img", "mig_protocol": "unix"},
		{
			"mig_speed": "64M", "mig_downtime": "0.3", "mig_xbzrle": "yes", "mig_xbzrle_cache": "16M",
			"parameters": "max-bandwidth downtime-limit xbzrle-cache-size tls-creds", "parameters_value": "65536K 300 16M mine",
		},
	} {
		params := maps.Clone(base)
		maps.Copy(params, right)
		if faults := run.CheckAllParams(params, 2); len(faults) > 0 {
			t.Errorf("%v: got %v", right, faults)
		}
	}
	for _, planted := range []struct {
		params cartesian.Params
		key    string
		want   string
	}{
		{cartesian.Params{"guest_start_vm1": "foo"}, "guest_start_vm1", `vm1: param guest_start: got "foo", want one of auto, cold, warm`},
		{cartesian.Params{"guest_start_vm2_host2": "foo"}, "guest_start_vm2_host2", `vm2: param guest_start: got "foo", want one of auto, cold, warm`},
		{cartesian.Params{"nic_model_nic1_vm1_host2": "e1000"}, "nic_model_nic1_vm1_host2", `vm1: param nic_model_nic1_vm1_host2: "virtio" on host1 but "e1000" on host2: the guest cannot migrate between them`},
		{cartesian.Params{"smp_vm2": "2", "smp_vm2_host1": "3"}, "smp_vm2_host1", `vm2: param smp_vm2_host1: "3" on host1 but "2" on host2: the guest cannot migrate between them`},
		{cartesian.Params{"mig_postcopy_start": "nonsense"}, "mig_postcopy_start", `param mig_postcopy_start: got "nonsense", want active, passes N, sent SIZE or remaining SIZE`},
		{cartesian.Params{"mig_postcopy_preempt": "yes"}, "mig_postcopy_preempt", `param mig_postcopy_preempt: postcopy-preempt needs mig_postcopy = yes, or mig_postcopy_start`},
		{cartesian.Params{"capabilitys": "postcopy-blocktime"}, "capabilitys", `param capabilitys: postcopy-blocktime needs mig_postcopy = yes, or mig_postcopy_start`},
		{cartesian.Params{"qemu_dst_binary_vm1": "qemu", "qemu_version_vm1_host2": "10.0"}, "qemu_dst_binary_vm1", `vm1: param qemu_dst_binary: qemu_version = 10.0 chooses the QEMU of this host too: use one of them`},
		{
			cartesian.Params{"qemu_versions_dir": "/all", "qemu_version_host2": "10.0", "qemu_binary_vm1_host2": "/new"},
			"qemu_binary_vm1_host2",
			`vm1: param qemu_binary: qemu_binary_vm1_host2 = /new has no effect, as qemu_version_host2 = 10.0 chooses the QEMU of host2 with its files: use one of them`,
		},
		{
			cartesian.Params{"qemu_versions_dir": "/all", "qemu_version": "10.0", "qemu_data_vm2_host2": "/data"},
			"qemu_data_vm2_host2",
			`vm2: param qemu_data: qemu_data_vm2_host2 = /data has no effect, as qemu_version = 10.0 chooses the QEMU of host2 with its files: use one of them`,
		},
		{cartesian.Params{"mig_multifd_channels": "4"}, "mig_multifd_channels", `param mig_multifd_channels: needs mig_multifd = yes`},
		{cartesian.Params{"initrd_vm2": "i"}, "initrd_vm2", `vm2: param initrd: needs param kernel too`},
		{cartesian.Params{"nic_mode_nic1_vm2": "tap", "netdst_nic1_vm2": ""}, "netdst_nic1_vm2", `vm2: nic1: param netdst: nic_mode = tap needs the name of a bridge on the host`},
		{cartesian.Params{"mem_vm2_host1": "0"}, "mem_vm2_host1", `vm2: param mem: got "0", want at least 1M`},
		{cartesian.Params{"mig_protocol": "file", "mig_postcopy": "yes"}, "", "post-copy needs a return path, which mig_protocol = file has not"},
		{cartesian.Params{"mig_protocol": "fd", "mig_channels": "yes"}, "mig_channels", "param mig_channels: mig_protocol = fd has only a URI: use another transport"},
		{cartesian.Params{"mig_protocol": "fd", "mig_exit_on_error": "no"}, "mig_exit_on_error", "param mig_exit_on_error: mig_protocol = fd has only a URI for migrate-incoming, and no exit-on-error: use another transport"},
		{cartesian.Params{"mig_xbzrle_cache": "16M"}, "mig_xbzrle_cache", "param mig_xbzrle_cache: needs mig_xbzrle = yes"},
		{cartesian.Params{"mig_protocol": "exec", "mig_file_offset": "1M"}, "mig_file_offset", "param mig_file_offset: needs a mig_protocol that has a file (file, cpr-reboot, cpr-exec)"},
		{cartesian.Params{"mig_mapped_ram": "yes", "mig_xbzrle": "yes"}, "mig_mapped_ram", `param mig_mapped_ram: got "yes", want no, where mig_xbzrle is yes: a page has its place in the file as it is`},
		{cartesian.Params{"mig_mapped_ram": "yes", "mig_protocol": "file", "mig_multifd": "yes", "parameters": "multifd-compression", "parameters_value": "zlib"}, "mig_mapped_ram", `param mig_mapped_ram: got "yes", want no, where multifd-compression compresses`},
		{cartesian.Params{"mig_speed": "320M", "parameters": "max-bandwidth", "parameters_value": "64M"}, "mig_speed", `param mig_speed: got "320M", want the same as parameters, which sets max-bandwidth to 64M`},
		{cartesian.Params{"mig_downtime": "0.3", "parameters": "downtime-limit", "parameters_value": "200"}, "mig_downtime", `param mig_downtime: got "0.3", want the same as parameters, which sets downtime-limit to 200`},
		{cartesian.Params{"mig_protocol": "cpr-reboot", "parameters": "mode", "parameters_value": "normal"}, "mig_protocol", `param mig_protocol: got "cpr-reboot", want the same as parameters, which sets mode to normal`},
		{cartesian.Params{"mig_protocol": "cpr-exec", "parameters": "cpr-exec-command", "parameters_value": "/bin/true"}, "parameters", `param parameters: mig_protocol = cpr-exec sets cpr-exec-command by itself`},
		{cartesian.Params{"mig_tls": "psk", "parameters": "tls-creds", "parameters_value": "mine"}, "parameters", `param parameters: mig_tls = psk sets tls-creds by itself`},
		{cartesian.Params{"mig_tls": "x509", "parameters": "tls-hostname", "parameters_value": "mine"}, "parameters", `param parameters: mig_tls = x509 sets tls-hostname by itself: use mig_tls_hostname`},
		{cartesian.Params{"mig_mapped_ram": "yes"}, "", "mapped-ram needs a file to which memory is sent, which mig_protocol = tcp has not"},
		{cartesian.Params{"mig_zero_copy": "yes"}, "mig_zero_copy", `param mig_zero_copy: zero-copy-send needs mig_multifd = yes: multifd's channels send without a copy, others cannot`},
		{cartesian.Params{"mig_zero_copy": "yes", "mig_multifd": "yes", "mig_tls": "psk"}, "mig_zero_copy", `param mig_zero_copy: zero-copy-send sends the memory as it is, not encrypted: use it without mig_tls`},
		{cartesian.Params{"capabilitys": "zero-copy-send multifd", "mig_multifd_compression": "zlib"}, "capabilitys", `param capabilitys: zero-copy-send sends the memory as it is, not compressed: use it without multifd-compression`},
		{cartesian.Params{"mig_zero_copy": "yes", "mig_multifd": "yes", "parameters": "multifd-compression", "parameters_value": "zstd"}, "mig_zero_copy", `param mig_zero_copy: zero-copy-send sends the memory as it is, not compressed: use it without multifd-compression`},
		{cartesian.Params{"mig_zero_copy": "yes", "mig_multifd": "yes", "mig_xbzrle": "yes"}, "mig_zero_copy", `param mig_zero_copy: zero-copy-send sends the memory as it is, not what has changed of it: use it without mig_xbzrle`},
		{cartesian.Params{"mig_tls_hostname": "x"}, "mig_tls_hostname", `param mig_tls_hostname: needs mig_tls = x509: only certificates have names`},
		{cartesian.Params{"capabilitys_state": "enable disable"}, "capabilitys_state", `param capabilitys_state: `},
		{cartesian.Params{"mig_storage": "nbd", "mig_postcopy": "yes"}, "mig_storage", `param mig_storage: got "nbd", want none, where the migration may be switched to post-copy`},
		{cartesian.Params{"capabilitys": "background-snapshot"}, "capabilitys", `param capabilitys: background-snapshot leaves the guest where it is, and is no migration: use vm.background_snapshot`},
		{cartesian.Params{"mig_storage": "nbd", "images": ""}, "mig_storage", `param mig_storage: got "nbd", want none, where no VM has a disk (param images)`},
		{cartesian.Params{"mig_storage": "nbd", "image_overlay_vm2": "no"}, "image_overlay_vm2", `vm2: image1: param image_overlay: no, so that the disk is image_name itself`},
		{cartesian.Params{"mig_storage": "nbd", "mig_port": "5200"}, "mig_port", `param mig_port: got "5200", want a range of two ports or more for each VM, where mig_storage is nbd`},
		{cartesian.Params{"mig_dirty_bitmaps": "yes", "images": ""}, "mig_dirty_bitmaps", `param mig_dirty_bitmaps: dirty-bitmaps needs a disk, and no VM has one (param images)`},
		{cartesian.Params{"capabilitys": "dirty-bitmaps", "images": ""}, "capabilitys", `param capabilitys: dirty-bitmaps needs a disk, and no VM has one (param images)`},
		{cartesian.Params{"mig_validate_uuid": "yes", "uuid_vm1": "6b1d3c5e-8f40-4c79-9a3e-2f5d0c7b1a86"}, "uuid", `vm2: param uuid: missing: with mig_validate_uuid QEMU compares those of both ends`},
		{cartesian.Params{"images_shared": "no", "floppies_vm1": "fl", "floppy_name_fl": "x.img"}, "floppy_name_fl", `vm1: fl: param floppy_name: the hosts share no images (images_shared = no)`},
	} {
		params := maps.Clone(base)
		maps.Copy(params, planted.params)
		faults := run.CheckAllParams(params, 2)
		if len(faults) != 1 || faults[0].Key != planted.key || !strings.HasPrefix(faults[0].Error(), planted.want) {
			t.Errorf("%v: got %v, want %s at %q", planted.params, faults, planted.want, planted.key)
		}
	}
}

// reads is a scenario that reads params for any object.
type reads []string

func (r reads) Mentions(key string) bool        { return slices.Contains(r, key) }
func (r reads) MayReadOf(name, key string) bool { return r.Mentions(name) || r.Mentions(key) }

// Unsupported params of virt-test are reported, and those with suffixes of objects for which
// they cannot be set; values without an effect are not, nor
// params that the scenario supports.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	var got []string
	for _, d := range run.Unsupported(cartesian.Params{
		"sound_devices": "s1", "watchdogs": "", "vga": "qxl", "rtc_base": "utc", "enable_pvpanic": "no",
		"mig_multifd_vm1": "yes", "mem_vm1_host2": "128", "kill_vm_vm1": "no", "mem_host2_vm1": "64", "mig_speed_vm9": "1", "finish_timeout_vm1": "1", "state_dir_host1": "/tmp", "state_dir_vm1": "/var",
		"netdev_extra_params_host2": ",vhost=on", "vms": "vm1", "nics": "nic1", "need_to_login": "yes", "mem": "128", "stress_memory": "2G", "post_sub_test": "guest_suspend",
	}, reads{"post_sub_test", "finish_timeout"}) {
		if d.Decides {
			d.Text = "error: " + d.Text
		}
		got = append(got, d.Text)
	}
	want := []string{
		"param sound_devices = s1 is not supported: the VM would have a sound card",
		"param vga = qxl is not supported: the VM would have this VGA card",
		"param kill_vm_vm1 = no: kill_vm is for the whole variant: the suffix _vm1 has no effect",
		"param mem_host2_vm1 = 64: mem can be set for each VM, then host: the suffix _host2_vm1 has no effect",
		"error: param mig_multifd_vm1 = yes: mig_multifd is for the whole variant: the suffix _vm1 has no effect",
		"param state_dir_vm1 = /var: state_dir can be set for each host: the suffix _vm1 has no effect",
		"param netdev_extra_params_host2 = ,vhost=on has no effect: vhost needs nic_mode = tap, but that of nic1 is user",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
