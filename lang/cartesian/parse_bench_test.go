// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpusFolder is where the large corpus is, which corpus_test.go describes.
func corpusFolder() string {
	if folder := os.Getenv("MHMIG_CORPUS"); folder != "" {
		return folder
	}
	return filepath.Join("..", "..", "..", "shared", "corpus")
}

// hugeConfig is the largest config of the corpus.
func hugeConfig(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(corpusFolder(), "huge", "tests.cfg")
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("THE HUGE CONFIG IS NOT PARSED: it is not at %s; MHMIG_CORPUS names the corpus's folder", path)
	}
	return path
}

// parseFiles reads, lexes and parses the file at path and all that it includes, each once. It returns the lines.
func parseFiles(tb testing.TB, path string, done map[string]bool) int {
	src, err := namedFiles{}.read(path)
	if err != nil {
		tb.Fatal(err)
	}
	done[path] = true
	tokens := lex(src)
	body, err := parse(tokens)
	if err != nil {
		tb.Fatal(err)
	}
	if errs := body.errors(); errs != nil || tokens.errs != nil {
		tb.Fatalf("%v, %v", tokens.errs, errs)
	}
	lines := len(src.lines)
	for _, s := range body.Statements {
		if i, ok := s.(*include); ok {
			path, err := (namedFiles{}).resolve(path, i.Path)
			if err != nil {
				tb.Fatal(err)
			}
			if !done[path] {
				lines += parseFiles(tb, path, done)
			}
		}
	}
	return lines
}

// BenchmarkParseHuge is what parsing a config of thousands of lines costs, from files to statements.
func BenchmarkParseHuge(b *testing.B) {
	path := hugeConfig(b)
	lines := 0
	b.ReportAllocs()
	for b.Loop() {
		lines += parseFiles(b, path, map[string]bool{})
	}
	b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/op")
}

// generated is config text of the shape of real ones, about 33 lines for each family.
func generated(families int) string {
	var b strings.Builder
	for i := range 4 * families {
		fmt.Fprintf(&b, "param_%d = value %d of many\n", i, i)
	}
	b.WriteString("# Guests\nvariants guest [default=family0]:\n")
	for f := range families {
		fmt.Fprintf(&b, "    - @family%d:\n        os_type = family%d\n        image_size ?= 10G\n\n        variants:\n", f, f)
		for v := range 4 {
			fmt.Fprintf(&b, "            - %d.%d: install.f%d, setup\n", f, v, f)
			fmt.Fprintf(&b, "                # the image of version %d\n                image_name = images/f%d-v%d-64\n", v, f, v)
			fmt.Fprintf(&b, "                extra_params += \" -device e1000,netdev=%d\"\n                no disk%d, Windows..guest.f%d\n", v, v, f)
		}
		fmt.Fprintf(&b, "        virtio_net, e1000:\n            nics = \"nic1\tnic2\"\n        !family%d..1: only (guest=family%d)\n", f, f)
	}
	return b.String()
}

// BenchmarkParseGenerated is BenchmarkParseHuge for text that is always there.
func BenchmarkParseGenerated(b *testing.B) {
	for _, families := range []int{200, 4000} {
		text := generated(families)
		lines := strings.Count(text, "\n")
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				src, err := newSource("main.cfg", "main.cfg", text)
				if err != nil {
					b.Fatal(err)
				}
				body, err := parse(lex(src))
				if err != nil || body.errors() != nil {
					b.Fatal(err, body.errors())
				}
			}
			b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
