// SPDX-License-Identifier: Apache-2.0

package lsp_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/lsp"
)

// BenchmarkHuge measures answers about the largest files of the corpus's huge config, after a letter was typed. An
// answer should take less than 50 ms. processor-ms is what the server, the editor and the diagnosis of the file take
// together of processors, for machines that do something else too.
func BenchmarkHuge(b *testing.B) {
	corpus := os.Getenv("MHMIG_CORPUS")
	if corpus == "" {
		corpus = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	folder, err := filepath.Abs(filepath.Join(corpus, "huge"))
	if err != nil {
		b.Fatal(err)
	}
	for _, tt := range []struct{ name, method, file, line string }{
		{"filter", "textDocument/completion", "guest-os.cfg", "only "},
		{"statement", "textDocument/completion", "subtests.cfg", "m"},
		{"include", "textDocument/completion", "subtests.cfg", "include @std//"},
		{"hover-param", "textDocument/hover", "subtests.cfg", "mem"},
		{"hover-variant", "textDocument/hover", "subtests.cfg", "only RHEL"},
		{"definition-variant", "textDocument/definition", "subtests.cfg", "only RHEL"},
		{"formatting", "textDocument/formatting", "guest-os.cfg", "a = 1"},
	} {
		b.Run(tt.name, func(b *testing.B) {
			text, err := os.ReadFile(filepath.Join(folder, tt.file))
			if err != nil {
				b.Skipf("THE HUGE CONFIG IS NOT TRIED: %v; MHMIG_CORPUS names the corpus's folder", err)
			}
			uri := "file://" + filepath.Join(folder, tt.file)
			e := start(b, lsp.Options{})
			e.call("initialize", object{}, nil)
			e.open(uri, string(text)+"\n"+tt.line)
			e.await(uri, 1)
			last := strings.Count(string(text), "\n") + 1
			var times []time.Duration
			version := 1
			before := processorTime(b)
			for b.Loop() {
				version++
				place := place(uri, last, len(tt.line))
				begun := time.Now()
				e.notify("textDocument/didChange", object{
					"textDocument":   object{"uri": uri, "version": version},
					"contentChanges": []object{{"range": object{"start": place["position"], "end": place["position"]}, "text": " "}},
				})
				var answer json.RawMessage
				e.call(tt.method, place, &answer)
				times = append(times, time.Since(begun))
				if len(answer) < 3 || string(answer) == "null" {
					b.Fatal("no answer")
				}
			}
			slices.Sort(times)
			median := times[len(times)/2]
			b.ReportMetric(float64(median.Microseconds())/1000, "median-ms")
			b.ReportMetric(float64(times[len(times)-1].Microseconds())/1000, "worst-ms")
			used := (processorTime(b) - before) / time.Duration(len(times))
			b.ReportMetric(float64(used.Microseconds())/1000, "processor-ms")
		})
	}
}

// processorTime is the time of processors that this process has used.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
