// SPDX-License-Identifier: Apache-2.0

package scenarios_test

// moreLeaves are the tests in the order of more.cfg.
var moreLeaves = []leaf{
	{
		name:    "ring",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "evacuate",
		fault:   "a workload of one of the guests is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "cancel_in.none",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "cancel_in.setup",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "cancel_in.active",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "cancel_in.cancelling",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "cancel_in.pre-switchover",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "cancel_in.device",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
		fails:   `bdrv_inactivate_recurse|split brain`, // of QEMU 7.2, which resumes the guest on the source although the destination runs it
	},
	{
		name:    "cancel_in.completed",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "cancel_in.postcopy-active",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
		skips:   `userfaultfd`,
	},
	{
		name:    "cancel_in.postcopy-paused",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
		skips:   `userfaultfd`,
	},
	{
		name:    "destination_ends_in.none",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "destination_ends_in.setup",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "destination_ends_in.active",
		fault:   "the guest is paused on the source when the migration has failed",
		plant:   `failed(env).qmp("stop")`,
		message: `paused`,
	},
	{
		name:    "destination_ends_in.pre-switchover",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "destination_ends_in.device",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "source_ends_in.active",
		fault:   "the guest that was started anew is reset while it moves",
		plant:   `moving_from(env, env.hosts[1]).qmp("system_reset")`,
		message: `the guest was reset on`,
	},
	{
		name:    "source_ends_in.vanishes",
		fault:   "a byte of the memory of the guest that was started anew is changed",
		plant:   `on_destination(env); change_memory(env)`,
		message: `memwork: .*page \d+`,
		skips:   `root`,
	},
	{
		name:    "source_ends_in.completed",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "postcopy_recover.pause",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
		skips:   `userfaultfd`,
	},
	{
		name:    "postcopy_recover.cut",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
		skips:   `userfaultfd|root`,
	},
	{
		name:    "tls_multifd.x509",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
	},
	{
		name:    "tls_multifd.psk",
		fault:   "the memory's workload is killed",
		plant:   `kill_work(env, "memwork")`,
		message: `memwork: .*worker`,
	},
	{
		name:    "storage.complete",
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name:    "storage.cancel_first",
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name:    "storage.dirty_bitmaps",
		fault:   "a write to the disk is lost",
		plant:   `lose_write(env)`,
		message: `diskwork: .*page \d+`,
	},
	{
		name:    "background_snapshot",
		fault:   "the guest is paused when its snapshot is complete",
		plant:   `snapshot_taken(env).qmp("stop")`,
		message: `paused`,
		skips:   `userfaultfd`,
	},
	{
		name:    "soak",
		fault:   "a byte of the guest's memory is changed",
		plant:   `change_memory(env)`,
		message: `memwork: .*page \d+`,
		skips:   `userfaultfd`,
	},
}
