// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// BenchmarkHuge writes the variants of the corpus's huge config, and compares their number per second with that of the
// reference implementation, as the corpus has it.
func BenchmarkHuge(b *testing.B) {
	folder := largeCorpus(b)
	for _, g := range goldensOf(b, folder) {
		switch g.ID {
		case "huge-tests-200k-names", "huge-tests-600k-names", "huge-tests-50k-shortnames", "huge-tests-20k-jsonl",
			"huge-tests-rhel63", "huge-multi-host-slice", "huge-shared-boot", "huge-tests-join":
			b.Run(g.ID, func(b *testing.B) { benchmarkGolden(b, folder, g) })
		}
	}
	b.Run("parse-to-ready", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			parseFile(b, filepath.Join(folder, "huge", "tests.cfg"))
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			n, err := parseFile(b, filepath.Join(folder, "huge", "tests.cfg")).Count(b.Context(), cartesian.Options{})
			if err != nil || n.Int64() != 133_179_864 {
				b.Fatal(n, err)
			}
		}
	})
}

func benchmarkGolden(b *testing.B, folder string, g golden) {
	limit := -1
	if g.Limit != nil {
		limit = *g.Limit
	}
	c := parseFile(b, filepath.Join(folder, "huge", g.File), g.Filters...)
	b.ReportAllocs()
	for b.Loop() {
		n, err := c.Write(b.Context(), io.Discard, formats[g.Mode], limit, cartesian.Options{Defaults: g.Defaults})
		if err != nil || n != g.Count {
			b.Fatalf("%d variants, %v, want %d", n, err, g.Count)
		}
	}
	perSecond := float64(g.Count*b.N) / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "variants/s")
	b.ReportMetric(perSecond/(float64(g.Count)/(g.RefSeconds-g.RefParseSeconds)), "xref")
}

func parseFile(tb testing.TB, path string, extra ...string) *cartesian.Config {
	tb.Helper()
	c, err := cartesian.ParseFile(path, extra...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
