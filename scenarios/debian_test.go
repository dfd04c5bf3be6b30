// SPDX-License-Identifier: Apache-2.0

package scenarios_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// debian is for make test-debian: the guest takes minutes to build.
var debian = flag.Bool("debian", false, "run one test of each kind on Debian, built by mhmig bootstrap --guest debian")

// onDebian are tests of multi-host.cfg, one of each kind and all shipped scenarios among
// them, that pass on a real distribution. With skips, it may be a SKIP for that reason.
var onDebian = []struct{ name, skips string }{
	{name: "after_login_vm"},
	{name: "early_boot_vm"},
	{name: "with_reboot"},
	{name: "timedrift.without_kvmclock"},
	{name: "cancel_with_delay"},
	{name: "measure_speed"},
	{name: "with_file_transfer"},
	{name: "with_stress"},
	{name: "set_downtime.before_migrate"},
	{name: "speed"},
	{name: "mig_stop_during"},
	{name: "ping-pong-stress.all"},
	{name: "ping-pong-kdump", skips: `crash kernel`},
	{name: "with_xbzrle.before_migrate_capability"},
	{name: "auto_converge.io_load"},
	{name: "host_mig_offline"},
	{name: "dest-problem-test.firewall-block.short_interrupt"},
	{name: "suspend.guest_s3"},
	{name: "qxl.win_XP_VGA_mode", skips: `Windows`},
	{name: "cdrom_test.cdrom_locking"},
	{name: "floppy_test.floppy_write"},
	{name: "hotplug_disk_test.hotplug"},
	{name: "with_module_reload"},
	{name: "with_data_plane"},
	{name: "cpuflags_multi_host.cpu_stress"},
}

// A test of each kind passes on a real distribution, and so does the seed's scenario. Its
// guest can be restored from a saved state.
func TestDebian(t *testing.T) {
	if !*debian {
		t.Skip("make test-debian runs them")
	}
	binary := mhmig(t)
	kind := "embedded"
	if os.Getuid() == 0 {
		kind = "netns"
	}
	common := []string{"--defaults", "--lab", kind, "--filter", "only Debian", "--filter"}
	var filter strings.Builder
	filter.WriteString("only ")
	for i, d := range onDebian {
		if i > 0 {
			filter.WriteString(", ")
		}
		filter.WriteString(strings.ReplaceAll(d.name, ".", ".."))
	}
	ended := map[string]result.Outcome{}
	for _, o := range outcomes(t, binary, append(append([]string{config}, common...), filter.String())...) {
		ended[o.ShortName] = o
	}
	for _, d := range onDebian {
		want(t, ended[d.name+".Debian"], d.name, d.skips)
	}
	for _, o := range outcomes(t, binary, append(append([]string{config}, common...), "only after_login_vm", "--param", "guest_start=warm")...) {
		want(t, o, "restored from its saved state", "")
	}
	for _, o := range outcomes(t, binary, "multihost_migration.star", "--lab", kind, "--filter", "only Debian", "--param", "mig_second_delay=0") {
		want(t, o, "the seed's scenario", "")
	}
}
