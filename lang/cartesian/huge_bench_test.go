// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
)

func BenchmarkHuge(b *testing.B) {
	for _, bench := range []struct {
		name, file, format string
		filters            []string
		limit              int
	}{
		{"names", "tests.cfg", "names", nil, 600_000},
		{"jsonl", "tests.cfg", "jsonl", nil, 20_000},
		{"rhel63", "tests.cfg", "jsonl", []string{"only RHEL.6.3.x86_64", "only qcow2", "only smp2"}, 100_000},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c, err := cartesian.ParseFile(filepath.Join("../../../shared/corpus/huge", bench.file), bench.filters...)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				lines, err := c.Write(b.Context(), io.Discard, formats[bench.format], bench.limit, cartesian.Options{})
				if err != nil {
					b.Fatal(err)
				}
				n += lines
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "variants/s")
		})
	}
}
