// SPDX-License-Identifier: Apache-2.0

package api

// params is the registry: one row for each param that mhmig supports. The order is
// that of the reference.
var params = []Param{
	// ---- the variant
	{
		Name: "name", Kind: Text, Object: Variant, Reader: "lang/cartesian",
		Doc: "The variant's whole name. The config language sets it.",
	},
	{
		Name: "shortname", Kind: Text, Object: Variant, Reader: "lang/cartesian",
		Doc: "The variant's name without the labels that the config marks as not worth saying. The config language sets it.",
	},
	{
		Name: "dep", Kind: Text, Object: Variant, Reader: "lang/cartesian",
		Doc: "The variants that must pass before this one runs. The config language sets it.",
	},
	{
		Name: "type", Kind: Text, Object: Variant, Reader: "cmd/mhmig",
		Doc: "The scenario of the variant, where mhmig exec is given a config: the name of a shipped scenario, or of a file beside the config.",
	},
	{
		Name: "hosts_needed", Kind: Number, Min: 1, Object: Variant, Reader: "runtime/run",
		Doc: "How many hosts the variant runs on; without it the scenario's own global hosts_needed, else a fair share of the hosts that there are, two at least.",
	},
	{
		Name: "vms", Kind: Names, Object: Variant, Reader: "runtime/testbed",
		Doc: "The names of the VMs. A scenario that only uses hosts has none.",
	},
	{
		Name: "main_vm", Kind: Word, Object: Variant, Reader: "scenarios",
		Doc: "The VM that a scenario takes when it does not say which.",
	},
	{
		Name: "kill_vm", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "End the VMs when the scenario is over.",
	},
	{
		Name: "kill_vm_on_error", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "End the VMs also when the scenario did not pass; no leaves them for a look, until mhmig cleanup.",
	},
	{
		Name: "disk_prepare_timeout", Kind: Seconds, Default: "360", Object: Variant, Reader: "runtime/testbed",
		Doc: "How long making all disks may take.",
	},

	// ---- the hosts
	{
		Name: "qemu_binary", Kind: Word, Default: "qemu-system-x86_64", Object: VM, Reader: "runtime/vm",
		Doc: "QEMU: a name that the host's PATH knows, or a whole path.",
	},
	{
		Name: "qemu_img_binary", Kind: Word, Default: "qemu-img", Object: VM, Reader: "runtime/vm",
		Doc: "The program that makes disk images: a name that the host's PATH knows, or a whole path.",
	},
	{
		Name: "images_base_dir", Kind: Word, Default: "/var/lib/virt_test", Object: Host, Reader: "runtime/testbed",
		Doc: "A folder on storage that all hosts share: image_name, kernel and initrd are relative to it.",
	},
	{
		Name: "state_dir", Kind: Word, Default: "/tmp", Object: Host, Reader: "runtime/testbed",
		Doc: "The folder of each host's own in which a run makes its own: for sockets and logs. A short path.",
	},
	{
		Name: "mig_address", Kind: Word, Object: Host, Reader: "runtime/testbed",
		Doc: "Where the other hosts reach this one for migrations; without it the address by which mhmig itself reaches it.",
	},
	{
		Name: "ssh_address", Kind: Word, Object: Host, Reader: "runtime/host",
		Doc: "The host's address, in place of what its name and ssh_config say.",
	},
	{
		Name: "ssh_port", Kind: Port, Object: Host, Reader: "runtime/host",
		Doc: "The port of the host's SSH server.",
	},
	{
		Name: "ssh_user", Kind: Word, Object: Host, Reader: "runtime/host",
		Doc: "The account on the host.",
	},
	{
		Name: "ssh_password", Kind: Text, Object: Host, Reader: "runtime/host",
		Doc: "The account's password, for hosts that take no key.",
	},
	{
		Name: "ssh_key", Kind: Names, Object: Host, Reader: "runtime/host",
		Doc: "Files of the private keys to log in with; no others are tried then.",
	},
	{
		Name: "ssh_known_hosts", Kind: Names, Object: Host, Reader: "runtime/host",
		Doc: "Files of the hosts' public keys, in place of those of ssh_config.",
	},
	{
		Name: "ssh_config", Kind: Word, Object: Host, Reader: "runtime/host",
		Doc: "Another file than ~/.ssh/config; none reads no such file at all.",
	},
	{
		Name: "ssh_connect_timeout", Kind: Number, Min: 1, Unit: "seconds", Object: Host, Reader: "runtime/host",
		Doc: "How long making the connection to the host may take.",
	},
	{
		Name: "ssh_max_sessions", Kind: Number, Min: 1, Object: Host, Reader: "runtime/host",
		Doc: "How many sessions the host's SSH server allows on one connection: its MaxSessions.",
	},

	// ---- the machine
	{
		Name: "start_vm", Kind: Bool, Default: "no", Object: VM, Reader: "runtime/testbed",
		Doc: "Start the VM on the first host before the scenario begins; else with the first migration or login.",
	},
	{
		Name: "accel", Kind: Choice, Default: "auto", Choices: []string{"auto", "kvm", "tcg"}, Object: VM, Reader: "runtime/vm",
		Doc: "The accelerator. auto tries whether KVM is there and fit for use, and takes TCG if not.",
	},
	{
		Name: "tcg_dirty_guard", Kind: Choice, Default: "auto", Choices: []string{"auto", "on", "off"}, Object: VM, Reader: "runtime/vm",
		Doc: "QEMU before 9.0 loses memory when it migrates a guest under TCG, unless the guest has an odd size of memory. auto takes a few KiB from it where that is so; off leaves it, for showing the loss.",
	},
	{
		Name: "machine_type", Kind: Word, Default: "pc", Object: VM, Reader: "runtime/vm",
		Doc: "A pc or q35 machine type. An alias becomes the newest version of it that all hosts have.",
	},
	{
		Name: "cpu_model", Kind: Word, Default: "qemu64", Object: VM, Reader: "runtime/vm",
		Doc: "QEMU's model of the CPU. qemu64 is the same everywhere; host needs KVM and equal processors.",
	},
	{
		Name: "cpu_model_flags", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "Flags of the CPU: +FLAG -FLAG ..., separated by commas or blanks.",
	},
	{
		Name: "smp", Kind: Number, Min: 1, Default: "1", Object: VM, Reader: "runtime/vm",
		Doc: "The number of the guest's CPUs.",
	},
	{
		Name: "mem", Kind: Size, Unit: "MiB", Default: "1024", Object: VM, Reader: "runtime/vm",
		Doc: "The guest's memory.",
	},
	{
		Name: "display", Kind: Choice, Default: "none", Choices: []string{"none", "vnc"}, Spellings: map[string]string{"nographic": "none"}, Object: VM, Reader: "runtime/vm",
		Doc: "vnc gives the VM a VGA card and a VNC server on a unix socket in the run's folder.",
	},
	{
		Name: "kernel", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "A kernel that QEMU boots directly: a file below images_base_dir, or jeos:kernel, which is mhmig's own.",
	},
	{
		Name: "initrd", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "The kernel's initial RAM disk: a file below images_base_dir, or jeos:initrd.",
	},
	{
		Name: "kernel_params", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "The kernel's command line.",
	},
	{
		Name: "extra_params", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "More arguments for QEMU, words as in a shell.",
	},
	{
		Name: "serials", Kind: Names, Default: "serial0", Object: VM, Reader: "runtime/vm",
		Doc: "The serial ports; on the first one is the guest's console.",
	},
	{
		Name: "guest_clock", Kind: Bool, Default: "no", Object: VM, Reader: "runtime/vm",
		Doc: "Give the VM a port on which its guest stamps its clock while it moves, so that statistics tell the downtime that the guest felt. JeOS stamps by itself.",
	},

	{
		Name: "monitor_timeout", Kind: Seconds, Default: "10", Object: VM, Reader: "runtime/vm",
		Doc: "How long QEMU may take to answer a QMP command.",
	},

	// ---- disks
	{
		Name: "images", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's disks.",
	},
	{
		Name: "image_name", Kind: Word, Object: Image, Reader: "runtime/vm",
		Doc: "The image's file: a path below images_base_dir, without the format, which is appended: images/NAME.qcow2.",
	},
	{
		Name: "image_format", Kind: Choice, Default: "qcow2", Choices: []string{"qcow2", "raw"}, Object: Image, Reader: "runtime/vm",
		Doc: "The format of the image, and the ending of its file.",
	},
	{
		Name: "image_raw_device", Kind: Bool, Default: "no", Object: Image, Reader: "runtime/vm",
		Doc: "image_name is the whole name of a block device or file: no format is appended.",
	},
	{
		Name: "image_size", Kind: Size, Unit: "bytes", Object: Image, Reader: "runtime/vm",
		Doc: "The size of an image that is made.",
	},
	{
		Name: "image_overlay", Kind: Bool, Default: "yes", Object: Image, Reader: "runtime/vm",
		Doc: "Leave the image as it is, and write to a layer above it that goes away at the end.",
	},
	{
		Name: "create_image", Kind: Bool, Default: "no", Object: Image, Reader: "runtime/vm",
		Doc: "Make an empty image of image_size, unless image_name is there: that one is kept, and with image_overlay the guest writes to an overlay on it.",
	},
	{
		Name: "force_create_image", Kind: Bool, Default: "no", Object: Image, Reader: "runtime/vm",
		Doc: "Make an empty image of image_size even if image_name is there. With image_overlay that one is left as it is.",
	},
	{
		Name: "drive_format", Kind: Choice, Default: "virtio", Choices: []string{"virtio", "ide", "ahci", "scsi"},
		Spellings: map[string]string{"virtio_blk": "virtio", "virtio-blk-pci": "virtio", "scsi-hd": "scsi", "virtio_scsi": "scsi"}, Object: Image, Reader: "runtime/vm",
		Doc: "The disk's device: virtio-blk, a disk on the chipset's own IDE controller, on an AHCI controller, or on a virtio-scsi one.",
	},
	{
		Name: "drive_cache", Kind: Choice, Default: "writeback", Choices: []string{"writeback", "none", "writethrough", "directsync", "unsafe"}, Object: Image, Reader: "runtime/vm",
		Doc: "QEMU's cache mode of the disk.",
	},

	// ---- network cards
	{
		Name: "nics", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's network cards.",
	},
	{
		Name: "nic_model", Kind: Choice, Default: "virtio", Choices: []string{"virtio", "e1000", "e1000e", "rtl8139"},
		Spellings: map[string]string{"virtio_net": "virtio", "virtio-net-pci": "virtio"}, Object: NIC, Reader: "runtime/vm",
		Doc: "The network card's device.",
	},
	{
		Name: "nic_mode", Kind: Choice, Default: "user", Choices: []string{"user", "tap", "none"}, Object: NIC, Reader: "runtime/vm",
		Doc: "user: the guest reaches out, and mhmig reaches in; tap: the card is on the host's bridge netdst, which needs root; none: there is no such card.",
	},
	{
		Name: "netdst", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The host's bridge that a tap is put on.",
	},
	{
		Name: "mac", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The card's address; without it one that is the same on every host, and another for each variant, VM and card.",
	},
	{
		Name: "nic_ip", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The guest's address on a tap; without it what the host has learned about the card's address.",
	},
	{
		Name: "redirs", Kind: Names, Object: NIC, Reader: "runtime/vm",
		Doc: "Redirections of ports of the host's loopback to the guest, each with params guest_port_NAME and host_port_NAME. The shell port has one in any case.",
	},
	{
		Name: "guest_port_*", Kind: Port, Object: NIC, Reader: "runtime/vm",
		Doc: "The guest's port of a redirection.",
	},
	{
		Name: "host_port_*", Kind: Port, Object: NIC, Reader: "runtime/vm",
		Doc: "The host's port of a redirection; without it QEMU chooses.",
	},

	// ---- logins in the guest
	{
		Name: "shell_client", Kind: Choice, Default: "ssh", Choices: []string{"ssh"}, Object: VM, Reader: "runtime/testbed",
		Doc: "How mhmig logs in to the guest.",
	},
	{
		Name: "shell_port", Kind: Port, Default: "22", Object: VM, Reader: "runtime/vm",
		Doc: "The port of the guest's SSH server.",
	},
	{
		Name: "shell_prompt", Kind: Pattern, Default: `[#$]\s*$`, Object: VM, Reader: "runtime/testbed",
		Doc: "What the guest's shell writes when it waits for a command.",
	},
	{
		Name: "username", Kind: Text, Default: "root", Object: VM, Reader: "runtime/testbed",
		Doc: "The account in the guest.",
	},
	{
		Name: "password", Kind: Text, Object: VM, Reader: "runtime/testbed",
		Doc: "The account's password.",
	},
	{
		Name: "login_timeout", Kind: Seconds, Default: "360", Object: VM, Reader: "runtime/migration",
		Doc: "How long a guest may take from its start until somebody is logged in.",
	},

	// ---- migrations
	{
		Name: "mig_protocol", Kind: Choice, Default: "tcp", Choices: []string{"tcp", "unix"}, Object: Variant, Reader: "runtime/migration",
		Doc: "How the guest gets from one host to the other: unix only where both are one machine, as in an embedded lab.",
	},
	{
		Name: "mig_timeout", Kind: Seconds, Default: "480", Object: Variant, Reader: "runtime/migration",
		Doc: "From the QMP command migrate until the guest runs on the destination.",
	},
	{
		Name: "finish_timeout", Kind: Seconds, Default: "120", Object: Variant, Reader: "runtime/migration",
		Doc: "How long each of the barriers behind the migration may take.",
	},
	{
		Name: "start_migration_timeout", Kind: Seconds, Object: Variant, Reader: "runtime/migration",
		Doc: "Migrate when the guest has run for so long, without a login before; without it when somebody could log in.",
	},
	{
		Name: "cancel_delay", Kind: Seconds, Object: Variant, Reader: "runtime/migration",
		Doc: "Cancel the migration when it has run for so long; without it, let it end.",
	},
	{
		Name: "mig_offline", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Stop the guest before it moves.",
	},
	{
		Name: "mig_speed", Kind: Size, Unit: "bytes", Object: Variant, Reader: "runtime/migration",
		Doc: "The limit of QEMU's bandwidth, per second; without it QEMU's own.",
	},
	{
		Name: "mig_downtime", Kind: Seconds, Object: Variant, Reader: "runtime/migration",
		Doc: "How long the guest may stand still; without it QEMU's own limit.",
	},
	{
		Name: "mig_port", Kind: Ports, Object: Variant, Reader: "runtime/migration",
		Doc: "Where the destination listens with tcp: a port, a range such as 5200-5899, or 0 for any that is free.",
	},
	{
		Name: "not_login_after_mig", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Do not log in on the destination before the migration counts as done.",
	},
}
