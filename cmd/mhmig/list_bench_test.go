// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// BenchmarkList runs mhmig list on the corpus's huge config as users do: from
// the start of the process to its end, with the memory that it takes.
func BenchmarkList(b *testing.B) {
	folder := os.Getenv("MHMIG_CORPUS")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	config := filepath.Join(folder, "huge", "tests.cfg")
	if _, err := os.Stat(config); err != nil {
		b.Skipf("THE LARGE CORPUS IS NOT TRIED: it is not at %s; MHMIG_CORPUS names its folder", folder)
	}
	for _, bench := range []struct {
		name string
		args []string
	}{
		{"first-of-narrow", []string{"--filter", "only Win7.64.sp1..shutdown", "--limit", "1"}},
		{"first-jsonl-of-narrow", []string{"--filter", "only Win7.64.sp1..shutdown", "--limit", "1", "--format", "jsonl"}},
		{"10M-names", []string{"--limit", "10000000"}},
		{"1M-jsonl", []string{"--limit", "1000000", "--format", "jsonl"}},
		{"count", []string{"--format", "count"}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var peak int64
			var least time.Duration
			for b.Loop() {
				list := exec.Command(filepath.Join(binDir, "mhmig"), append([]string{"list", config}, bench.args...)...)
				start := time.Now()
				if err := list.Run(); err != nil { // to /dev/null
					b.Fatal(err)
				}
				if took := time.Since(start); least == 0 || took < least {
					least = took
				}
				peak = max(peak, list.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			b.ReportMetric(least.Seconds()*1000, "ms-least")
			b.ReportMetric(float64(peak)/1024, "peak-MiB")
		})
	}
}
