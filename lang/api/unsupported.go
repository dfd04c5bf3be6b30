// SPDX-License-Identifier: Apache-2.0

package api

// unsupported are params of virt-test that affect the guest or its migration, and that
// mhmig does not support yet: a test that sets one would test something else than
// intended.
var unsupported = []Unsupported{
	// devices
	{Name: "vga", Effect: "the VM would have this VGA card"},
	{Name: "inputs", Effect: "the VM would have input devices"},
	{Name: "virtio_ports", Effect: "the VM would have virtio-serial ports"},
	{Name: "watchdogs", Effect: "the VM would have a watchdog"},
	{Name: "sound_devices", Effect: "the VM would have a sound card"},

	// the machine
	{Name: "auto_cpu_model", Effect: "the CPU's model would be that of the host"},
	{Name: "host_spec_flags", Effect: "the CPU's flags would be chosen by the hosts'"},
	{Name: "guest_spec_flags", Effect: "the CPU's flags would be chosen by the guest's"},
	{Name: "all_host_supported_flags", Effect: "the CPU would have all flags that the hosts support"},
	{Name: "strict_mode", Effect: "flags of the CPU that a host lacks would end the test"},

	// the migration
	{Name: "not_wait_for_migration", Effect: "nobody would wait for the migration's end"},
	{Name: "reuse_previous_config", Effect: "the VM would start as it ran before"},

	// preparation
	{Name: "need_to_login", Effect: "nobody would log in before the migration, or somebody would", Same: []string{"yes"}},
	{Name: "not_preprocess", Effect: "nothing would be prepared"},
	{Name: "preprocess_env", Effect: "nothing would be prepared"},
	{Name: "pre_sub_test", Effect: "another test would run before the migration"},
	{Name: "post_sub_test", Effect: "another test would run after the migration"},
	{Name: "regain_ip_cmd", Effect: "the guest would ask for its address again with this command"},
	{Name: "force_image_clone", Effect: "the image would be copied first"},
	{Name: "iterations", Effect: "the test would be repeated", Same: []string{"1"}},
}
