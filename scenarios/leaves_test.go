// SPDX-License-Identifier: Apache-2.0

package scenarios_test

// A leaf is a test of a config, with a fault that it is there to find.
type leaf struct {
	name   string // in the config
	fault  string // what is wrong, for the reference
	params []string
	// plant is Starlark: the body of a function plant(env), a task beside the scenario.
	// The functions of faults.star are there.
	plant   string
	message string // a regular expression for the message of the FAIL
	skips   string // a regular expression for the reason why it may SKIP without the fault
	fails   string // a regular expression for a FAIL without the fault: one of some QEMU
	often   bool   // make test plants it too
}

// leaves are the tests in the order of multi-host.cfg.
var leaves = []leaf{
	{
		name:    "after_login_vm",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "early_boot_vm",
		fault:   "the guest is reset on the destination",
		plant:   `on_destination(env).qmp("system_reset")`,
		message: `the guest was reset on host\d after its migration had started|was reset once more than it was told`,
	},
	{
		name: "with_reboot", often: true,
		fault:   "the guest is reset once more, by nobody's request",
		plant:   `moving(env).qmp("system_reset")`,
		message: `the guest was reset on host\d after its migration had started|was reset once more than it was told`,
	},
	{
		name:  "timedrift.with_kvmclock",
		skips: `no kvm-clock`,
	},
	{
		name:    "timedrift.without_kvmclock",
		fault:   "the guest's clock jumps ahead by 10 s",
		params:  []string{"migrate_count=30"}, // it fails soon after the jump, however fast the moves are
		plant:   `in_guest(env, "sleep 6; date -s @$(($(date +%s) + 10))")`,
		message: `the clock of vm1 is \d+.* s ahead`,
	},
	{
		name: "cancel_with_delay", often: true,
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "measure_speed",
		fault:   "QEMU gets half of the bandwidth",
		plant:   `moving(env).qmp("migrate-set-parameters", max_bandwidth = 4 << 20)`,
		message: `the migration sends \d+ KiB/s, allowed are`,
	},
	{
		name:    "with_file_transfer",
		fault:   "a byte of the file in the guest is changed",
		plant:   `in_guest(env, "when 'test -s /tmp/file.sent'; sleep 1; printf X | dd of=/tmp/file bs=1 seek=12345 conv=notrunc")`,
		message: `differs from what was sent`,
	},
	{
		name:    "with_stress",
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name: "set_downtime.before_migrate", often: true,
		fault:   "QEMU may stop the guest for longer than was set",
		params:  []string{"mig_downtime=0.02", "mig_speed=8M"},
		plant:   `moving(env).qmp("migrate-set-parameters", downtime_limit = 20000)`,
		message: `downtime is \S+, want <=`,
	},
	{
		name:    "set_downtime.after_migrate",
		fault:   "QEMU stops the guest for longer than the last limit",
		params:  []string{"mig_speed=8M", "downtime_step=0.01", "max_downtime=0.02"},
		plant:   `limited(moving(env), "downtime-limit", 20).qmp("migrate-set-parameters", downtime_limit = 60000)`,
		message: `downtime is \S+, want <=`,
	},
	{
		name: "speed", often: true,
		fault:   "QEMU sends without the first limit",
		plant:   `moving(env).qmp("migrate-set-parameters", max_bandwidth = 1 << 30)`,
		params:  []string{"min_migration_speed=2M", "change_speed_interval=60", "memory_work_rate=0"},
		message: `the migration sends \d+ KiB/s, allowed are`,
	},
	{
		name:    "mig_stop_during",
		fault:   "the guest is paused on the destination",
		params:  []string{"login_timeout=15"},
		plant:   `on_destination(env).qmp("stop")`,
		message: `paused|no login`,
	},
	{
		name:    "ping-pong-stress.no_stress",
		fault:   "the guest reboots by itself",
		params:  []string{"migrate_count=30"},
		plant:   `in_guest(env, "sleep 6; reboot -f")`,
		message: `the guest was reset on|its guest was reset after|has rebooted on its way`,
	},
	{
		name: "ping-pong-stress.cpu_memory", often: true,
		fault:   "the processors' workload is killed",
		plant:   `kill_work(env, "cpuwork")`,
		message: `cpuwork: .*worker`,
	},
	{
		name: "ping-pong-stress.disk", often: true,
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name:    "ping-pong-stress.all",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "ping-pong-kdump",
		fault:   "the guest is reset while it dumps, and boots anew instead",
		plant:   `on_destination(env).qmp("system_reset")`,
		message: `no complete dump of its crash|the guest was reset on|its guest was reset after`,
		skips:   `has no kexec|has no crash kernel loaded`,
	},
	{
		name: "with_xbzrle.before_migrate_capability", often: true,
		fault:   "the migration uses XBZRLE although it is off",
		params:  []string{"capabilitys=xbzrle"},
		message: `a migration without xbzrle has used its cache`,
	},
	{
		name:    "with_xbzrle.before_migrate_cache_size",
		fault:   "QEMU's cache gets another size",
		plant:   `compressed(env).qmp("migrate-set-parameters", xbzrle_cache_size = 8 << 20)`,
		message: `the cache was set to \d+ bytes, QEMU has 8388608`,
	},
	{
		name:    "with_xbzrle.after_migrate_cache_size",
		fault:   "QEMU's cache gets another size after it was resized",
		plant:   `limited(moving(env), "xbzrle-cache-size", 64 << 20).qmp("migrate-set-parameters", xbzrle_cache_size = 8 << 20)`,
		message: `the cache was (re)?(sized|set) to \d+ bytes`,
	},
	{
		name:    "auto_converge.dynamic_cpu_throttling",
		fault:   "the throttling begins with more than was set",
		plant:   `converging(env).qmp("migrate-set-parameters", cpu_throttle_initial = 60)`,
		message: `the throttling began with 60 %, not with 30 %`,
	},
	{
		name:    "auto_converge.stress_load",
		fault:   "the throttling rises by less than was set",
		plant:   `converging(env).qmp("migrate-set-parameters", cpu_throttle_increment = 5)`,
		message: `the throttling rose from 30 % to 35 %, not by 20`,
	},
	{
		name:    "auto_converge.io_load",
		fault:   "the migration gets hardly any bandwidth",
		plant:   `moving(env).qmp("migrate-set-parameters", max_bandwidth = 64 << 10)`,
		message: `did not complete within`,
	},
	{
		name:    "host_mig_offline",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "dest-problem-test.firewall-block.long_wait.wait_util_end",
		fault:   "the guest is paused on the source when the migration has failed",
		plant:   `failed(env).qmp("stop")`,
		message: `paused`,
	},
	{
		name:    "dest-problem-test.firewall-block.long_wait.mig_cancel",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name: "dest-problem-test.firewall-block.short_interrupt", often: true,
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "suspend.guest_s3",
		fault:   "the guest is reset as soon as it wakes up",
		plant:   `reset_when_awake(env)`,
		message: `boot|reset`,
		skips:   `cannot be suspended to mem`,
	},
	{
		name:  "suspend.guest_s4",
		skips: `cannot be suspended to disk|no swap space`,
	},
	{
		name:  "qxl.win_XP_VGA_mode",
		skips: `Windows`,
	},
	{
		name:    "cdrom_test.cdrom_locking",
		fault:   "the tray is unlocked on the way",
		plant:   `unlock(env)`,
		message: `the tray of vm1 is unlocked on .*, and was to be locked`,
	},
	{
		name:    "cdrom_test.cdrom_ejecting",
		fault:   "the disc that was taken out is in the drive again",
		plant:   `exchange_disc(env)`,
		message: `the guest reads a disc with the checksum`,
	},
	{
		name:    "cdrom_test.cdrom_copy",
		fault:   "the disc's content changes while it is copied",
		plant:   `change_disc(env)`,
		message: `the copy of the disc has the checksum`,
	},
	{
		name:    "floppy_test.floppy_write",
		fault:   "a sector of the floppy disk is overwritten",
		plant:   `in_guest(env, "when 'test -e /tmp/written'; dd if=/dev/zero of=/dev/fd0 bs=512 count=1; sync")`,
		message: `reads something else from its floppy disk`,
		skips:   `no driver for its floppy drive`,
	},
	{
		name:    "floppy_test.floppy_eject",
		fault:   "a sector of the floppy disk is overwritten",
		plant:   `on_destination(env).wait_for_login().cmd("dd if=/dev/zero of=/dev/fd0 bs=512 count=1 && sync")`,
		message: `reads something else from its floppy disk`,
		skips:   `no driver for its floppy drive`,
	},
	{
		name: "hotplug_disk_test.unplug", often: true,
		fault: "the destination has the disk again",
		plant: `plug_again(env, "hot_disk")`,
		params: []string{"stress_cmd=true", // the first check of it is on the source
			"check_running_cmd=if test -e /tmp/checked; then until test -e /sys/block/vdb; do sleep 0.1; done; else : >/tmp/checked; fi"},
		message: `was unplugged on the source, and the guest has`,
	},
	{
		name:    "hotplug_disk_test.hotplug",
		fault:   "a sector of the plugged disk is overwritten",
		plant:   `on_destination(env).wait_for_login().cmd("dd if=/dev/zero of=/dev/vdb bs=4k seek=7 count=1 && sync")`,
		message: `has not the content on the destination`,
	},
	{
		name:    "with_module_reload",
		fault:   "the driver cannot be loaded any more",
		plant:   `break_driver(env)`,
		message: `driver \w+: .*(failed|can't load)`,
		skips:   `cannot unload its driver`,
	},
	{
		name:    "with_data_plane",
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name:    "cpuflags_multi_host.cpu_stress",
		fault:   "the processors' workload is killed",
		plant:   `kill_work(env, "cpuwork")`,
		message: `cpuwork: .*worker`,
	},
	{
		name: "cpuflags_multi_host.cpu_offline", often: true,
		fault:   "the processor comes back online by itself",
		plant:   `in_guest(env, "when 'grep -q 0 /sys/devices/system/cpu/cpu1/online'; sleep 1; echo 1 >/sys/devices/system/cpu/cpu1/online")`,
		message: `processors from 1 on are online 1, and were to be 0`,
	},
}
