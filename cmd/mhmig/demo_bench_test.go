// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

// BenchmarkDemo runs the shipped scenario with guests that boot, and with guests that are
// restored from saved states, in turns.
func BenchmarkDemo(b *testing.B) {
	w := newWorld(b)
	if err := giveImage(w.cache); err != nil {
		b.Fatal(err)
	}
	demo := func(start string) time.Duration {
		began := time.Now()
		code, _, stderr := w.exec("exec", "@scenarios//multihost_migration.star", "--param", "mig_second_delay=0", "--param", "guest_start="+start)
		if code != 0 {
			b.Fatalf("exit status %d:\n%s", code, stderr)
		}
		return time.Since(began)
	}
	demo("warm") // saves the states, and whether KVM works here
	var cold, warm time.Duration
	for b.Loop() {
		cold += demo("cold")
		warm += demo("warm")
	}
	b.ReportMetric(cold.Seconds()/float64(b.N), "s-cold")
	b.ReportMetric(warm.Seconds()/float64(b.N), "s-warm")
	b.ReportMetric(warm.Seconds()/cold.Seconds(), "of-the-cold-time")
}
