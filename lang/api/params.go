// SPDX-License-Identifier: Apache-2.0

package api

import "time"

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
		Doc: "The variant's name without the labels that the config marks with @. The config language sets it.",
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
		Doc: "How many hosts the variant runs on; without it the scenario's own global hosts_needed, else a fair share of the hosts, at least two.",
	},
	{
		Name: "vms", Kind: Names, Object: Variant, Reader: "runtime/testbed",
		Doc: "The names of the VMs. A scenario that only uses hosts has none.",
	},
	{
		Name: "main_vm", Kind: Word, Object: Variant, Reader: "scenarios",
		Doc: "The VM that a scenario uses by default.",
	},
	{
		Name: "kill_vm", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "End the VMs when the scenario is over.",
	},
	{
		Name: "kill_vm_on_error", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "End the VMs also when the scenario did not pass; no keeps them for inspection, until mhmig cleanup.",
	},
	{
		Name: "disk_prepare_timeout", Kind: Seconds, Default: "360", Object: Variant, Reader: "runtime/testbed",
		Doc: "How long making all disks may take.",
	},

	// ---- the hosts
	{
		Name: "qemu_binary", Kind: Word, Default: "qemu-system-x86_64", Object: VM, Reader: "runtime/vm",
		Doc: "The QEMU program: a name in the host's PATH, or a path.",
	},
	{
		Name: "qemu_dst_binary", Kind: Word, Object: VM, Reader: "lang/api",
		Doc: "The QEMU program of all hosts but host1, in place of qemu_binary and the params of its files (qemu_loader, …); qemu_binary_host2 of a host comes first. Not with qemu_version.",
	},
	{
		Name: "qemu_loader", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "The dynamic loader that starts qemu_binary, for one that was built for another distribution: a path, such as ld-linux-x86-64.so.2 beside its libraries.",
	},
	{
		Name: "qemu_libs", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "Where qemu_loader looks for libraries: folders, separated by colons.",
	},
	{
		Name: "qemu_modules", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "The folder of the QEMU's modules, QEMU_MODULE_DIR; without, where it was built to look.",
	},
	{
		Name: "qemu_data", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "Folders of the QEMU's firmware, separated by colons: QEMU's -L.",
	},
	{
		Name: "qemu_version", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "A QEMU that mhmig bootstrap --qemu has put into qemu_versions_dir, such as 10.0, in place of qemu_binary and the params of its files; but a qemu_binary that is set for fewer, such as qemu_binary_host2 beside a qemu_version of all hosts, comes first. A host without it is a SKIP.",
	},
	{
		Name: "qemu_versions_dir", Kind: Word, Object: Host, Reader: "runtime/vm",
		Doc: "The folder with the QEMUs that qemu_version chooses from. A lab sets it to the one of mhmig's cache.",
	},
	{
		Name: "qemu_img_binary", Kind: Word, Default: "qemu-img", Object: VM, Reader: "runtime/vm",
		Doc: "The qemu-img program: a name in the host's PATH, or a path.",
	},
	{
		Name: "images_base_dir", Kind: Word, Default: "/var/lib/virt_test", Object: Host, Reader: "runtime/testbed",
		Doc: "A folder on storage that all hosts share: image_name, kernel and initrd are relative to it.",
	},
	{
		Name: "state_dir", Kind: Word, Default: "/tmp", Object: Host, Reader: "runtime/testbed",
		Doc: "The folder on each host in which a run makes its state folder, for sockets and logs. A short path.",
	},
	{
		Name: "mig_address", Kind: Word, Object: Host, Reader: "runtime/testbed",
		Doc: "The address by which the other hosts reach this one for migrations; without it the address by which mhmig reaches it.",
	},
	{
		Name: "ssh_address", Kind: Word, Object: Host, Reader: "runtime/host",
		Doc: "The host's address, instead of its name and HostName of ssh_config.",
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
		Doc: "The account's password, for hosts that accept no key.",
	},
	{
		Name: "ssh_key", Kind: Names, Object: Host, Reader: "runtime/host",
		Doc: "Private key files for the login; no others are tried then.",
	},
	{
		Name: "ssh_known_hosts", Kind: Names, Object: Host, Reader: "runtime/host",
		Doc: "The known_hosts files, instead of those of ssh_config.",
	},
	{
		Name: "ssh_config", Kind: Word, Object: Host, Reader: "runtime/host",
		Doc: "A file to read instead of ~/.ssh/config; none reads no file.",
	},
	{
		Name: "ssh_connect_timeout", Kind: Number, Min: 1, Unit: "seconds", Object: Host, Reader: "runtime/host",
		Doc: "How long connecting to the host may take.",
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
		Name: "guest_start", Kind: Choice, Default: "auto", Choices: []string{"auto", "cold", "warm"}, Object: VM, Reader: "runtime/testbed",
		Doc: "How the guest starts: cold, it boots; warm, it is restored from a state that was saved when a guest like it had booted. auto is warm where mhmig can tell that the guest will see no difference: JeOS, and a Linux guest that is installed on an image, with overlays; the log says which, and why. warm where that cannot be is an error.",
	},
	{
		Name: "os_type", Kind: Word, Default: "linux", Object: VM, Reader: "runtime/testbed",
		Doc: "The guest's operating system: linux, windows or another one. Only linux is restored from a saved state.",
	},
	{
		Name: "accel", Kind: Choice, Default: "auto", Choices: []string{"auto", "kvm", "tcg"}, Object: VM, Reader: "runtime/vm",
		Doc: "The accelerator. auto uses KVM if it works on the host, else TCG.",
	},
	{
		Name: "tcg_dirty_guard", Kind: Choice, Default: "auto", Choices: []string{"auto", "on", "off"}, Object: VM, Reader: "runtime/vm",
		Doc: "QEMU before 9.0 loses memory when it migrates a guest under TCG, unless the guest has an odd memory size. auto reduces the memory by a few KiB in that case; off does not, to reproduce the bug.",
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
		Doc: "CPU flags: +FLAG -FLAG NAME=VALUE ..., separated by commas or blanks.",
	},
	{
		Name: "smp", Kind: Number, Min: 1, Default: "1", Object: VM, Reader: "runtime/vm",
		Doc: "The number of the guest's CPUs; where it is not set, the topology's.",
	},
	{
		Name: "vcpu_maxcpus", Kind: Number, Object: VM, Reader: "runtime/vm",
		Doc: "CPUs can be hot-plugged up to this number: vcpu_sockets x vcpu_cores x vcpu_threads. In these four params 0, like no value, means a number computed from the others.",
	},
	{
		Name: "vcpu_sockets", Kind: Number, Object: VM, Reader: "runtime/vm",
		Doc: "The number of CPU sockets.",
	},
	{
		Name: "vcpu_cores", Kind: Number, Object: VM, Reader: "runtime/vm",
		Doc: "The number of cores of each socket.",
	},
	{
		Name: "vcpu_threads", Kind: Number, Object: VM, Reader: "runtime/vm",
		Doc: "The number of threads of each core.",
	},
	{
		Name: "iothreads", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of QEMU's I/O threads, for image_iothread.",
	},
	{
		Name: "mem", Kind: Size, Unit: "MiB", Default: "1024", Object: VM, Reader: "runtime/vm",
		Doc: "The guest's memory.",
	},
	{
		Name: "uuid", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "The VM's UUID, as 8-4-4-4-12 hexadecimal digits; without it QEMU's, which is none.",
	},
	{
		Name: "display", Kind: Choice, Default: "none", Choices: []string{"none", "vnc"}, Spellings: map[string]string{"nographic": "none"}, Object: VM, Reader: "runtime/vm",
		Doc: "vnc gives the VM a VGA card and a VNC server on a unix socket in the run's folder.",
	},
	{
		Name: "kernel", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "A kernel that QEMU boots directly: a file below images_base_dir, or mhmig's own: jeos:kernel, or jeos:bzimage, which boots slower, but wakes up from suspend to RAM, or debian:kernel.",
	},
	{
		Name: "initrd", Kind: Text, Object: VM, Reader: "runtime/vm",
		Doc: "The kernel's initial RAM disk: a file below images_base_dir, or jeos:initrd, or debian:initrd.",
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
		Doc: "Give the VM a port to which its guest writes clock stamps during migrations, so that statistics include the downtime by the guest's clock. JeOS does so by itself.",
	},
	{
		Name: "memballoon_model", Kind: Choice, Default: "none", Choices: []string{"none", "virtio"}, Object: VM, Reader: "runtime/vm",
		Doc: "virtio gives the VM a balloon.",
	},
	{
		Name: "balloon_dev_devid", Kind: Word, Object: VM, Reader: "runtime/vm",
		Doc: "The id of the VM's balloon, which it has then in any case; without it balloon0.",
	},
	{
		Name: "virtio_rngs", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's sources of random numbers, two at most. They give those of the host's /dev/urandom.",
	},
	{
		Name: "usbs", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's USB controllers, two at most.",
	},
	{
		Name: "usb_type", Kind: Choice, Default: "qemu-xhci", Choices: []string{"qemu-xhci", "nec-usb-xhci", "usb-ehci", "ich9-usb-ehci1", "piix3-usb-uhci", "piix4-usb-uhci"}, Object: USB, Reader: "runtime/vm",
		Doc: "The USB controller's device. ich9-usb-ehci1 comes with its three UHCI companions.",
	},
	{
		Name: "usb_devices", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's USB devices.",
	},
	{
		Name: "usbdev_type", Kind: Choice, Default: "usb-tablet", Choices: []string{"usb-tablet", "usb-mouse", "usb-kbd"}, Object: USBDev, Reader: "runtime/vm",
		Doc: "The USB device.",
	},
	{
		Name: "usbdev_bus", Kind: Word, Object: USBDev, Reader: "runtime/vm",
		Doc: "The controller of a USB device, as usb1.0; without it the first.",
	},
	{
		Name: "enable_watchdog", Kind: Bool, Default: "no", Object: VM, Reader: "runtime/vm",
		Doc: "Give the VM a watchdog.",
	},
	{
		Name: "watchdog_device_type", Kind: Choice, Default: "i6300esb", Choices: []string{"i6300esb", "ib700"}, Object: VM, Reader: "runtime/vm",
		Doc: "The watchdog's device, with enable_watchdog = yes.",
	},
	{
		Name: "watchdog_action", Kind: Choice, Default: "reset", Choices: []string{"reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"}, Object: VM, Reader: "runtime/vm",
		Doc: "What happens when the watchdog expires.",
	},
	{
		Name: "enable_pvpanic", Kind: Bool, Default: "no", Object: VM, Reader: "runtime/vm",
		Doc: "Give the VM a device by which its kernel reports a panic. The guest is paused then, for its console and its memory to be looked at.",
	},
	{
		Name: "rtc_base", Kind: Word, Default: "utc", Object: VM, Reader: "runtime/vm",
		Doc: "Where the guest's real-time clock starts: utc, localtime or a date such as 2006-06-17T16:01:21.",
	},
	{
		Name: "rtc_clock", Kind: Choice, Default: "host", Choices: []string{"host", "rt", "vm"}, Object: VM, Reader: "runtime/vm",
		Doc: "The clock that the guest's real-time clock follows: the host's, the host's without its corrections, or that of the guest's execution.",
	},
	{
		Name: "rtc_drift", Kind: Choice, Default: "none", Choices: []string{"none", "slew"}, Object: VM, Reader: "runtime/vm",
		Doc: "What happens to ticks of the real-time clock that the guest has missed: slew delivers them later.",
	},
	{
		Name: "disable_s3", Kind: Bool, Object: VM, Reader: "runtime/vm",
		Doc: "Do not offer suspend to RAM to the guest; without it as the machine type does.",
	},
	{
		Name: "disable_s4", Kind: Bool, Object: VM, Reader: "runtime/vm",
		Doc: "Do not offer suspend to disk to the guest; without it as the machine type does.",
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
		Doc: "The image's file: a path below images_base_dir, without the format, which is appended: images/NAME.qcow2; or debian:disk, the disk of mhmig's own Debian.",
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
		Doc: "Do not change the image, but write to an overlay that is removed at the end.",
	},
	{
		Name: "create_image", Kind: Bool, Default: "no", Object: Image, Reader: "runtime/vm",
		Doc: "Make an empty image of image_size, unless image_name exists: then it is kept, and with image_overlay the guest writes to an overlay on it.",
	},
	{
		Name: "force_create_image", Kind: Bool, Default: "no", Object: Image, Reader: "runtime/vm",
		Doc: "Make an empty image of image_size even if image_name exists. With image_overlay the existing one is not changed.",
	},
	{
		Name: "drive_format", Kind: Choice, Default: "virtio", Choices: []string{"virtio", "ide", "ahci", "scsi"},
		Spellings: map[string]string{"virtio_blk": "virtio", "virtio-blk-pci": "virtio", "scsi-hd": "scsi", "virtio_scsi": "scsi"}, Object: Image, Reader: "runtime/vm",
		Doc: "The disk's device: virtio-blk, a disk on the chipset's IDE controller, on an AHCI controller, or on a virtio-scsi controller. JeOS has no driver for AHCI, which is also what ide means on a q35.",
	},
	{
		Name: "drive_cache", Kind: Choice, Default: "writeback", Choices: []string{"writeback", "none", "writethrough", "directsync", "unsafe"}, Object: Image, Reader: "runtime/vm",
		Doc: "QEMU's cache mode of the disk.",
	},
	{
		Name: "drive_serial", Kind: Word, Object: Image, Reader: "runtime/vm",
		Doc: "The disk's serial number.",
	},
	{
		Name: "drive_werror", Kind: Choice, Default: "auto", Choices: []string{"auto", "report", "ignore", "enospc", "stop"}, Object: Image, Reader: "runtime/vm",
		Doc: "What happens when a write to the image fails: the guest is told or stopped; auto, like enospc, stops it when the disk is full and tells it else.",
	},
	{
		Name: "drive_rerror", Kind: Choice, Default: "auto", Choices: []string{"auto", "report", "ignore", "stop"}, Object: Image, Reader: "runtime/vm",
		Doc: "What happens when a read from the image fails; auto tells the guest.",
	},
	{
		Name: "image_iothread", Kind: Word, Object: Image, Reader: "runtime/vm",
		Doc: "The I/O thread that serves a disk on virtio or, with all disks of its controller, on scsi. iothread=NAME in blk_extra_params or bus_extra_params is the same.",
	},
	{
		Name: "blk_extra_params", Kind: Text, Object: Image, Reader: "runtime/vm",
		Doc: "More properties of the disk's device: NAME=VALUE, separated by commas.",
	},
	{
		Name: "bus_extra_params", Kind: Text, Object: Image, Reader: "runtime/vm",
		Doc: "More properties of the disk's virtio-scsi controller, which all disks on scsi share.",
	},

	// ---- drives with removable media
	{
		Name: "cdroms", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's CD-ROM drives.",
	},
	{
		Name: "cdrom", Kind: Word, Object: CDROM, Reader: "runtime/vm",
		Doc: "The disc that is in the drive at the VM's start: a path below images_base_dir. Without it the drive is empty. It may differ between hosts, as cdrom_cd1_host2.",
	},
	{
		Name: "cd_format", Kind: Choice, Default: "ide", Choices: []string{"ide", "ahci", "scsi"},
		Spellings: map[string]string{"ide-cd": "ide", "scsi-cd": "scsi", "virtio-scsi": "scsi", "virtio_scsi": "scsi"}, Object: CDROM, Reader: "runtime/vm",
		Doc: "The CD-ROM drive's device: on the chipset's IDE controller, on an AHCI controller, or on a virtio-scsi controller. JeOS has no driver for AHCI, which is also what ide means on a q35.",
	},
	{
		Name: "floppies", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's floppy drives, two at most.",
	},
	{
		Name: "floppy_name", Kind: Word, Object: Floppy, Reader: "runtime/vm",
		Doc: "The image of the disk that is in the drive at the VM's start, to which the guest writes: a path below images_base_dir, on storage that the hosts share: with images_shared = no, a VM that has one is moved to no other host. Without it the drive is empty.",
	},

	// ---- network cards
	{
		Name: "nics", Kind: Names, Object: VM, Reader: "runtime/vm",
		Doc: "The names of the VM's network cards.",
	},
	{
		Name: "nic_model", Kind: Choice, Default: "virtio", Choices: []string{"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"},
		Spellings: map[string]string{"virtio_net": "virtio", "virtio-net-pci": "virtio"}, Object: NIC, Reader: "runtime/vm",
		Doc: "The network card's device. JeOS has drivers for virtio and vmxnet3.",
	},
	{
		Name: "nic_mode", Kind: Choice, Default: "user", Choices: []string{"user", "tap", "none"}, Spellings: map[string]string{"bridge": "tap"}, Object: NIC, Reader: "runtime/vm",
		Doc: "user: user-mode networking with port forwarding; tap: the card is on the host's bridge netdst, which needs root; none: no card.",
	},
	{
		Name: "netdst", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The host's bridge for the tap device: br0 in a netns lab, where all hosts' bridges are one network.",
	},
	{
		Name: "vhost", Kind: Bool, Default: "no", Object: NIC, Reader: "runtime/vm",
		Doc: "The host's kernel moves the packets of a virtio card on a tap. With another nic_mode it has no effect, which is a WARN. vhost=on in netdev_extra_params is the same.",
	},
	{
		Name: "vhostforce", Kind: Bool, Default: "no", Object: NIC, Reader: "runtime/vm",
		Doc: "Use vhost even with a guest without MSI-X.",
	},
	{
		Name: "netdev_extra_params", Kind: Text, Object: NIC, Reader: "runtime/vm",
		Doc: "More properties of the card's end on the host: NAME=VALUE, separated by commas. They may differ between hosts.",
	},
	{
		Name: "nic_extra_params", Kind: Text, Object: NIC, Reader: "runtime/vm",
		Doc: "More properties of the card's device: NAME=VALUE, separated by commas.",
	},
	{
		Name: "mac", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The card's MAC address; without it a generated one, the same on every host, and unique for each VM and card; unless nic_mode is user, for each variant too.",
	},
	{
		Name: "nic_ip", Kind: Word, Object: NIC, Reader: "runtime/vm",
		Doc: "The guest's address on a tap: with auto, mhmig chooses a free one in the network of the host's bridge for the first card of JeOS, and tells the guest of it; without a value it is the address that the host has learned for the card's MAC.",
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
		Doc: "How long a guest may take from its start until the login.",
	},
	{
		Name: "reboot_command", Kind: Text, Default: "reboot", Object: VM, Reader: "runtime/testbed",
		Doc: "The command of the guest's shell by which it reboots, for vm.reboot(\"shell\").",
	},

	// ---- migrations
	{
		Name: "mig_protocol", Kind: Choice, Default: "tcp", Choices: language().Transports, Object: Variant, Reader: "runtime/migration",
		Doc: "The transport of the migration: over TCP (IPv4 or IPv6); unix only if both hosts are the same machine, as in an embedded lab; rdma (x-rdma is the same) over RDMA, which the hosts must have; exec through programs that QEMU starts (see mig_exec_program); fd over a TCP connection that QEMU gets as a file descriptor; file through a file, in state_dir, that is copied to the other host, and that a QEMU without file: URIs (before 8.2) writes and reads by exec:cat; cpr-reboot from a host to itself, without the guest's RAM, which stays in a file that both QEMUs have (QEMU 8.2 or later); cpr-transfer between two QEMUs on one machine, as unix, without the guest's RAM, which the source hands over as file descriptors: its destination is started in the step migrate (QEMU 10.0 or later); cpr-exec from a host to itself, in the process of the source, which executes the destination's command line when it has completed: the guest's RAM stays where it is (QEMU 10.2 or later).",
	},
	{
		Name: "mig_channels", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Tell QEMU where the guest goes by channels instead of a URI. It needs QEMU 8.2 or later. Not with mig_protocol = fd.",
	},
	{
		Name: "mig_exec_program", Kind: Choice, Default: "any", Choices: []string{"any", "socat", "nc", "ncat", "busybox", "ssh"}, Object: Variant, Reader: "runtime/migration",
		Doc: "For mig_protocol = exec: the program that connects the two QEMUs; nc is OpenBSD's or nmap's. any is the first of these that a host has. ssh connects on the destination's host by one of them, where the source's host can log in to it without a password. Without one the variant is skipped.",
	},
	{
		Name: "migration_exec_cmd_src", Kind: Text, Object: Variant, Reader: "runtime/migration",
		Doc: "For mig_protocol = exec: the command by which the source's QEMU writes the guest to a file, such as gzip -c > %s. %s is the file, in state_dir, which is copied to the other host. Without these two commands, the QEMUs are connected (mig_exec_program).",
	},
	{
		Name: "migration_exec_cmd_dst", Kind: Text, Object: Variant, Reader: "runtime/migration",
		Doc: "For mig_protocol = exec: the command by which the destination's QEMU reads the guest from that file, such as gzip -dc %s.",
	},
	{
		Name: "mig_file_offset", Kind: Size, Unit: "bytes", Default: "0", Object: Variant, Reader: "runtime/migration",
		Doc: "For mig_protocol = file, cpr-reboot and cpr-exec: where the guest begins in the file. It needs QEMU 8.2 or later on both hosts.",
	},
	{
		Name: "mig_timeout", Kind: Seconds, Default: "480", Object: Variant, Reader: "runtime/migration",
		Doc: "From the QMP command migrate until the guest runs on the destination.",
	},
	{
		Name: "finish_timeout", Kind: Seconds, Default: "120", Object: Variant, Reader: "runtime/migration",
		Doc: "How long each of the barriers after the migration may take.",
	},
	{
		Name: "start_migration_timeout", Kind: Seconds, Object: Variant, Reader: "runtime/migration",
		Doc: "Migrate when the guest has run for this time, without a login before; without it after a successful login.",
	},
	{
		Name: "cancel_delay", Kind: Seconds, Object: Variant, Reader: "runtime/migration",
		Doc: "Cancel the migration when it has run for this time; without it, let it complete.",
	},
	{
		Name: "mig_offline", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Stop the guest before the migration.",
	},
	{
		Name: "mig_postcopy", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Let migrations be switched to post-copy by mig.start_postcopy: the capability postcopy-ram on both ends.",
	},
	{
		Name: "mig_postcopy_start", Kind: Text, Object: Variant, Reader: "runtime/migration",
		Doc: "Switch migrations to post-copy without mig.start_postcopy, as soon as every VM of them is so far: active, passes N (complete passes over the RAM), sent SIZE or remaining SIZE. It includes mig_postcopy. A migration that completes before is not switched, which the log and mig.stats say.",
	},
	{
		Name: "mig_postcopy_preempt", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Send the pages that the guest waits for in post-copy over a connection of their own: the capability postcopy-preempt on both ends, together with mig_postcopy.",
	},
	{
		Name: "mig_postcopy_blocktime", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Measure on the destination how long the guest waits for pages in post-copy: the capability postcopy-blocktime, together with mig_postcopy. A destination that reports no time is a FAIL.",
	},
	{
		Name: "mig_multifd", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Send the memory over several connections at the same time: the capability multifd on both ends; with mig_mapped_ram, several threads write and read the file. A move that has not used them is a FAIL.",
	},
	{
		Name: "mig_multifd_channels", Kind: Number, Min: 1, Max: 255, Object: Variant, Reader: "runtime/migration",
		Doc: "How many connections multifd uses (multifd-channels), besides the main one; without it QEMU's default.",
	},
	{
		Name: "mig_multifd_compression", Kind: Choice, Default: "none", Choices: []string{"none", "zlib", "zstd", "qatzip", "qpl", "uadk"}, Object: Variant, Reader: "runtime/migration",
		Doc: "How multifd compresses the memory (multifd-compression). A QEMU that lacks the method is a SKIP. Memory that is sent as it is is a FAIL, from QEMU 8.2 on, which counts the bytes that are sent, and if it is enough to tell.",
	},
	{
		Name: "mig_zero_page_detection", Kind: Choice, Default: "multifd", Choices: []string{"none", "legacy", "multifd"}, Object: Variant, Reader: "runtime/migration",
		Doc: "Which threads look for pages of zeros (zero-page-detection, QEMU 9.0 or later); without it QEMU's default. Pages of zeros that are found with none are a FAIL; which threads have found them QEMU does not say.",
	},
	{
		Name: "mig_xbzrle", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Send only what has changed of a page that was sent before: the capability xbzrle on both ends. A move that has not used its cache is a FAIL.",
	},
	{
		Name: "mig_xbzrle_cache", Kind: Size, Unit: "bytes", PowerOfTwo: 4096, Object: Variant, Reader: "runtime/migration",
		Doc: "The size of XBZRLE's cache (xbzrle-cache-size); without it QEMU's default. A cache of another size is a FAIL.",
	},
	{
		Name: "mig_auto_converge", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Throttle a guest that writes too fast for its migration: the capability auto-converge on both ends. A throttle that falls, or none where the guest writes too fast for long, is a FAIL.",
	},
	{
		Name: "mig_zero_copy", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Send the memory without a copy in the source's kernel: the capability zero-copy-send, together with mig_multifd. A kernel that has to copy, as on loopback, or may not lock enough memory, is a SKIP. QEMU reports the passes of which the kernel copied all, and nothing that proves that it sent any memory without a copy.",
	},
	{
		Name: "mig_tls", Kind: Choice, Default: "none", Choices: []string{"none", "x509", "psk"}, Object: Variant, Reader: "runtime/migration",
		Doc: "Encrypt the migration with TLS, by certificates or a pre-shared key, which are made for each migration. Both ends verify each other. Not over rdma, which QEMU never encrypts.",
	},
	{
		Name: "mig_tls_hostname", Kind: Word, Object: Variant, Reader: "runtime/migration",
		Doc: "The name that the source expects in the destination's certificate (tls-hostname), with mig_tls = x509; without it the address to which it connects. Another name fails the migration.",
	},
	{
		Name: "mig_tls_certificate_name", Kind: Word, Object: Variant, Reader: "runtime/migration",
		Doc: "The name in the destination's certificate, a host name or an IP address, with mig_tls = x509; without it the destination's address.",
	},
	{
		Name: "mig_validate_uuid", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Make the destination refuse a guest whose UUID is another: the capability validate-uuid. Each VM needs the param uuid.",
	},
	{
		Name: "memory_proof", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Compare the RAM on both ends, page by page, when the guest has arrived and before it runs there: a difference is a FAIL with the addresses. " +
			"The hosts hash it, so that little is sent; the guest stands still meanwhile. Not with post-copy, where the guest runs before its memory is there, and not where the memory is not sent, with mig_ignore_shared, cpr-reboot, cpr-transfer and cpr-exec: both ends map the same RAM, so that it is equal whatever happens. The log warns of that.",
	},
	{
		Name: "mig_switchover_ack", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Make the source switch over only when the destination's devices are ready: the capability switchover-ack on both ends (QEMU 8.1 or later). Only VFIO devices need that time. Ends without a return path are a FAIL.",
	},
	{
		Name: "mig_ignore_shared", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Leave the guest's RAM in a file that both QEMUs map, and do not send it: the capability x-ignore-shared. From a host to itself only; mig_protocol = cpr-reboot includes it. RAM that is sent all the same is a FAIL.",
	},
	{
		Name: "mig_mapped_ram", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Give each page of RAM its place in the guest's file: the capability mapped-ram on both ends (QEMU 9.0 or later), with mig_protocol = file. The file is no larger than the RAM then, whatever the guest writes meanwhile. With mig_multifd several threads write it, uncompressed. A file that is not one of mapped-ram, or larger, is a FAIL.",
	},
	{
		Name: "mig_exit_on_error", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/migration",
		Doc: "Let a destination's QEMU end when it cannot load the guest. With no it stays and says why (exit-on-error of migrate-incoming, QEMU 9.1 or later); one that ends all the same is said in the failure. Not with mig_protocol = fd.",
	},
	{
		Name: "mig_announce_initial", Kind: Seconds, Longest: 100 * time.Second, Object: Variant, Reader: "runtime/migration",
		Doc: "When the destination announces the guest's NICs to the network for the second time, after the first (announce-initial); without it QEMU's default. With this or one of the three others, announcements that are not sent, or sent faster, are a FAIL: QEMU records what its NICs send.",
	},
	{
		Name: "mig_announce_step", Kind: Seconds, Shortest: time.Millisecond, Longest: 10 * time.Second, Object: Variant, Reader: "runtime/migration",
		Doc: "How much longer each further announcement is waited for (announce-step).",
	},
	{
		Name: "mig_announce_max_delay", Kind: Seconds, Longest: 100 * time.Second, Object: Variant, Reader: "runtime/migration",
		Doc: "How long an announcement is waited for, at most (announce-max).",
	},
	{
		Name: "mig_announce_rounds", Kind: Number, Min: 1, Max: 1000, Object: Variant, Reader: "runtime/migration",
		Doc: "How often the destination announces the guest's NICs (announce-rounds).",
	},
	{
		Name: "mig_prediction", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Measure the guest's dirty rate for a second before each migration (QMP calc-dirty-rate), and predict from it whether and when the migration converges. A QEMU that cannot is a warning. " +
			"Without it, the first passes over the memory are what is predicted from. The prediction is in the log, in mig.stats and in the reports, with how it came out; it is no verdict.",
	},
	{
		Name: "capabilitys", Kind: Names, Object: Variant, Reader: "runtime/migration",
		Doc: "QEMU's migration capabilities to switch on, on both ends, such as xbzrle. With pause-before-switchover the source stops there and goes on at once, unless mig.hold keeps it. The spelling is virt-test's.",
	},
	{
		Name: "capabilitys_state", Kind: Text, Object: Variant, Reader: "runtime/migration",
		Doc: "For each name in capabilitys, in this order: enable, or disable, which leaves it off. Those without one are enabled.",
	},
	{
		Name: "parameters", Kind: Names, Object: Variant, Reader: "runtime/migration",
		Doc: "QEMU's migration parameters to set, on both ends, such as xbzrle-cache-size.",
	},
	{
		Name: "parameters_value", Kind: Text, Object: Variant, Reader: "runtime/migration",
		Doc: "For each name in parameters, in this order: its value. Sizes may have units, as in 64M.",
	},
	{
		Name: "mig_speed", Kind: Size, Unit: "bytes", Object: Variant, Reader: "runtime/migration",
		Doc: "The limit of the migration bandwidth, per second; without it QEMU's default. A QEMU that does not take it is a FAIL.",
	},
	{
		Name: "mig_downtime", Kind: Seconds, Longest: 2000 * time.Second, Object: Variant, Reader: "runtime/migration",
		Doc: "The maximum downtime; without it QEMU's default. A QEMU that does not take it is a FAIL.",
	},
	{
		Name: "mig_port", Kind: Ports, Object: Variant, Reader: "runtime/migration",
		Doc: "Where the destination listens with tcp: a port, a range such as 5200-5899, or 0 for any that is free. With mig_storage = nbd its NBD server listens on a port of the range too: each VM that moves at the same time takes two.",
	},
	{
		Name: "mig_storage", Kind: Choice, Default: "none", Choices: []string{"none", "nbd"}, Object: Variant, Reader: "runtime/migration",
		Doc: "How the disks move with the guest: none, they are on storage that both hosts share; nbd, each move copies them to new images on the destination, while the guest writes to them (blockdev-mirror to the destination's NBD server). A move whose disks were not copied is a FAIL. It needs a VM with a disk; a disk with image_overlay = no cannot be copied, nor can a floppy disk.",
	},
	{
		Name: "mig_storage_timeout", Kind: Seconds, Default: "480", Object: Variant, Reader: "runtime/migration",
		Doc: "With mig_storage: how long the copy of the disks may take until it is as new as they are (BLOCK_JOB_READY), and again how long the rest may take when the guest is stopped.",
	},
	{
		Name: "mig_dirty_bitmaps", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Move the dirty bitmaps of the disks too: the capability dirty-bitmaps on both ends. A disk that has none gets one, which is persistent in a qcow2 image. A bitmap that is missing on the destination, has lost something or does not record on is a FAIL.",
	},
	{
		Name: "images_shared", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "Whether images_base_dir is on storage that all hosts share. With no, each host has images of its own there, and mig_storage moves the disks: a VM that has any needs it to move to another host.",
	},
	{
		Name: "migration_sync_vms", Kind: Bool, Default: "yes", Object: Variant, Reader: "runtime/testbed",
		Doc: "Start the destination with the disks and cards that the source has now: those plugged in since its start, without those unplugged. With no, the destination has those of the params; a difference is an ERROR.",
	},
	{
		Name: "not_login_after_mig", Kind: Bool, Default: "no", Object: Variant, Reader: "runtime/migration",
		Doc: "Do not log in on the destination before the migration counts as done.",
	},
}
