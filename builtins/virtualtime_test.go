// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// Scenarios run in virtual time: all waits of the builtins and of the runtime use
// the clock of the test, so that idle hours pass at once.
func TestVirtualTime(t *testing.T) {
	t.Parallel()
	endless := qmptest.Script{Endless: true}
	for _, tt := range []struct {
		name                string
		source, destination qmptest.Script
		guest               *bedtest.Guest
		params              cartesian.Params
		text                string // of migration_scenario
		lasts               time.Duration
		want                []string // in the failures; none: it passes
	}{
		{
			name: "sleep, and a migration that passes", text: `
	sleep(7200)
	migrate_wait(["vm1"], env.hosts[0], env.hosts[1])
	sleep(3600)`, lasts: 3 * time.Hour,
		},
		{
			name: "a guest that works for ten minutes, and then moves", lasts: 10 * time.Minute, params: cartesian.Params{"nics": "nic1", "not_login_after_mig": "no"},
			guest: &bedtest.Guest{BootTime: 30 * time.Second, Run: func(command string) (string, int) {
				if command == "work" {
					time.Sleep(10 * time.Minute)
				}
				return "worked\n", 0
			}}, text: `
	def work(mig):
		if mig.vm("vm1").wait_for_login().cmd_output("work", timeout=7200) != "worked\n":
			fail("it has not worked")
	def check(mig):
		mig.vm("vm1").wait_for_login().cmd("true")
	migrate_wait(["vm1"], env.hosts[0], env.hosts[1], work, check)`,
		},
		{
			name: "a guest that moves to another QEMU on its host, and back", text: `
	host = env.hosts[0]
	def before(mig):
		got = sync("roles", data=mig.is_src)
		if got != {"source": True, "destination": False}:
			fail("sync on one host: got %s" % got)
		barrier("both")
	for _ in range(3):
		migrate_wait(["vm1"], host, host, before_migration=before)
	if env.vm("vm1").host.name != "host1":
		fail("vm1 is on %s" % env.vm("vm1").host.name)`,
		},
		{
			name: "a destination on the same host that freezes", destination: qmptest.Script{StopAt: "MIGRATION:active"}, params: cartesian.Params{"mig_timeout": "300"}, lasts: 5 * time.Minute,
			want: []string{"the destination failed first (host1)", "QEMU does not answer its monitor"}, text: `
	migrate_wait(["vm1"], env.hosts[0], env.hosts[0])`,
		},
		{
			name: "a barrier that one side never reaches", lasts: 30 * time.Minute, want: []string{"barrier", "never"}, text: `
	def party(host):
		if host.name == env.hosts[1].name:
			sleep(7200)
		barrier("never", timeout=1800)
	on(env.hosts, party)`,
		},
		{
			name: "wait_for that does not come true", lasts: time.Hour, want: []string{"wait_for", "timeout after 1h0m0s"}, text: `
	wait_for(lambda: False, timeout=3600, step=60)`,
		},
		{
			name: "a migration that does not converge", source: endless, params: cartesian.Params{"mig_timeout": "120"}, lasts: 2 * time.Minute,
			want: []string{"not finished after mig_timeout = 2m0s"}, text: `
	migrate_wait(["vm1"], env.hosts[0], env.hosts[1])`,
		},
		{
			name: "a monitor that falls silent", source: qmptest.Script{StopAt: "MIGRATION:active"}, params: cartesian.Params{"monitor_timeout": "600", "mig_timeout": "86400"},
			lasts: 10 * time.Minute, want: []string{"the source failed first", "QEMU does not answer its monitor"}, text: `
	migrate_wait(["vm1"], env.hosts[0], env.hosts[1])`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 1, tt.params)
				bed.QEMUs.Script("vm1", tt.source, tt.destination)
				if tt.guest != nil {
					bed.QEMUs.Guest("vm1", tt.guest)
				}
				began := time.Now()
				verdict := runOn(t, bed.Bed.Bed, nil, "def migration_scenario(env):"+tt.text+"\n")
				if took := time.Since(began); took < tt.lasts || took > tt.lasts*11/10+time.Minute {
					t.Errorf("it took %v of virtual time, want %v", took, tt.lasts)
				}
				failures := fmt.Sprint(verdict.Failures)
				if len(tt.want) == 0 && len(verdict.Failures) > 0 {
					t.Errorf("got %s, want that it passes", failures)
				}
				for _, want := range tt.want {
					if !strings.Contains(failures, want) {
						t.Errorf("got %s, want %q in it", failures, want)
					}
				}
				for _, i := range bed.Instances() {
					_ = bed.Remove(t.Context(), i) // one that is frozen would be an error at the bed's end
				}
			})
			if took := time.Since(began); took > 5*time.Minute { // seconds, where little else runs
				t.Errorf("it took %v of real time", took)
			}
		})
	}
}
