// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// guests is a config of about the shape of real ones: families of variants with some params each, filters, conditions.
func guests(families int) string {
	var b strings.Builder
	for i := range 150 {
		fmt.Fprintf(&b, "param_%d = value %d\n", i, i)
	}
	b.WriteString("variants:\n")
	for f := range families {
		fmt.Fprintf(&b, "    - family%d:\n        os = f%d\n        variants:\n", f, f)
		for v := range 10 {
			fmt.Fprintf(&b, "            - %d.%d:\n                image = images/f%dv%d\n                no disk%d\n", f, v, f, v, v)
			b.WriteString("                image ?+= .qcow2\n")
		}
	}
	b.WriteString("variants:\n")
	for d := range 10 {
		fmt.Fprintf(&b, "    - disk%d:\n        drive = d%d\n        family1: drive += x\n        note = ${os}/${image}\n", d, d)
	}
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	text := guests(100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		parseText(b, text)
	}
	b.ReportMetric(float64(strings.Count(text, "\n")*b.N)/b.Elapsed().Seconds(), "lines/s")
}

func BenchmarkVariants(b *testing.B) {
	c := parseText(b, guests(10))
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range c.Variants(b.Context(), cartesian.Options{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "variants/s")
}

func BenchmarkAppendJSON(b *testing.B) {
	var first *cartesian.Variant
	for v := range parseText(b, guests(1)).Variants(b.Context(), cartesian.Options{}) {
		first = v
		break
	}
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line = first.AppendJSON(line[:0])
	}
	b.SetBytes(int64(len(line)))
}
