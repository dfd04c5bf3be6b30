// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// matrix is a config of so many variants without guests.
func matrix(variants int) string {
	var b strings.Builder
	b.WriteString("vms = vm1\nmem = 32\naccel = tcg\nvariants:\n")
	for i := range variants {
		fmt.Fprintf(&b, "    - v%d:\n", i+1)
	}
	return b.String()
}

// BenchmarkParallel compares runs of 40 variants that sleep, over a lab of four
// hosts, with --parallel 1 and 2.
func BenchmarkParallel(b *testing.B) {
	w := newWorld(b)
	w.write("forty.cfg", matrix(40))
	w.write("sleeps.star", "def migration_scenario(env):\n    sleep(0.5)\n")
	var took [3]time.Duration
	for b.Loop() {
		for _, parallel := range []int{1, 2} {
			began := time.Now()
			if code, _, stderr := w.exec("exec", "sleeps.star", "--config", "forty.cfg", "--lab-hosts", "4", "--parallel", fmt.Sprint(parallel)); code != 0 {
				b.Fatalf("exit status %d:\n%s", code, stderr)
			}
			took[parallel] += time.Since(began)
		}
	}
	b.ReportMetric(took[1].Seconds()/float64(b.N), "s-with-1")
	b.ReportMetric(took[2].Seconds()/float64(b.N), "s-with-2")
	b.ReportMetric(took[1].Seconds()/took[2].Seconds(), "times-as-fast")
}

// BenchmarkVariants runs 200 and 1,000 variants of a scenario that does nothing,
// and compares the memory they take at most.
func BenchmarkVariants(b *testing.B) {
	w := newWorld(b)
	w.write("nothing.star", "def migration_scenario(env):\n    pass\n")
	memory := map[int]float64{}
	took := map[int]time.Duration{}
	for b.Loop() {
		for _, n := range []int{200, 1000} {
			name := fmt.Sprintf("%d.cfg", n)
			w.write(name, matrix(n))
			cmd := w.command("exec", "nothing.star", "--config", name, "--lab-hosts", "4")
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v:\n%s", err, out)
			}
			took[n] += time.Since(began)
			memory[n] = max(memory[n], float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		}
	}
	for n := range took {
		b.ReportMetric(took[n].Seconds()/float64(b.N), fmt.Sprintf("s-for-%d", n))
		b.ReportMetric(memory[n], fmt.Sprintf("MiB-for-%d", n))
	}
}
