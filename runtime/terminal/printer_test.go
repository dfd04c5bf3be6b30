// SPDX-License-Identifier: Apache-2.0

package terminal_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func outcomes() []result.Outcome {
	return []result.Outcome{
		{ID: "001-a", ShortName: "virtio.JeOS.x86_64", Seconds: 42.1, Failure: result.Failure{Status: result.Pass}, Notices: []string{"vm1 is another guest"}},
		{
			ID: "002-b", ShortName: "virtio.very.long.name.of.a.variant.that.does.not.fit.in.eighty.columns.JeOS.x86_64", Seconds: 3723,
			Failure: result.Failure{
				Status: result.Fail, Host: "host2", Side: "destination", VM: "vm1", Phase: "login", Position: "ping_pong.star:12:9",
				Message: "login_timeout (240s) on vm1@host2 passed\nlast lines of the console:\n\x1b[31mKernel panic\x1b[0m",
			},
			Further:  []result.Failure{{Status: result.Error, Message: "cleanup: remove /tmp/x"}},
			Warnings: []string{"vm1 was slow"},
		},
		{ID: "003-c", Name: "skipped.one", Failure: result.Failure{Status: result.Skip, Message: "no KVM"}},
		{ID: "004-d", ShortName: "left", Seconds: 0.04},
	}
}

// drawRun draws a small run in virtual time.
func drawRun(t *testing.T, opts terminal.Options) string {
	t.Helper()
	var b bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		printer := terminal.New(&b, opts)
		log := slog.New(printer)
		log.Info("lab is up", "hosts", 2)
		time.Sleep(400 * time.Millisecond)
		v := log.With("variant", "001-virtio.JeOS.x86_64")
		source := v.With("host", "host1", "side", "source")
		destination := v.With("host", "host2", "side", "destination")
		source.Info("guest started", "vm", "vm1", "boot", 2100*time.Millisecond)
		destination.Info("waiting for the guest", "vm", "vm1")
		source.Debug("qmp", "vm", "vm1", "execute", "query-migrate")
		time.Sleep(62 * time.Second)
		source.Warn("QEMU 7.2 loses dirty pages under TCG: the guest gets 262136 KiB, which is not a multiple of 256 KiB", "vm", "vm1")
		v.Info("guest said", "text", "\x1b[2J\nevil\tžluťoučký")
		destination.Error("guest lost", "vm", "vm1", "path", "/"+strings.Repeat("very-long-path/", 8))
		log.With("variant", "002-second").Info("begun", "host", "a-host-with-a-very-long-name.example.com")
		source.Info("over", "vm", "vm1")
		printer.Table(each(outcomes()))
	})
	return b.String()
}

// each yields outcomes as those of a folder are.
func each(outcomes []result.Outcome) iter.Seq2[result.Outcome, error] {
	return func(yield func(result.Outcome, error) bool) {
		for _, o := range outcomes {
			if !yield(o, nil) {
				return
			}
		}
	}
}

func TestPrinter(t *testing.T) {
	tests := []struct {
		golden string
		opts   terminal.Options
	}{
		{"80", terminal.Options{}},
		{"40", terminal.Options{Width: func() int { return 40 }}},
		{"120-verbose", terminal.Options{Width: func() int { return 120 }, Verbose: true}},
		{"color", terminal.Options{Color: true, Width: func() int { return 0 }}},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			got := drawRun(t, tt.opts)
			path := filepath.Join("testdata", "printer", tt.golden+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			width := 80
			if tt.opts.Width != nil && tt.opts.Width() > 0 {
				width = tt.opts.Width()
			}
			for line := range strings.Lines(regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(got, "")) {
				line = strings.TrimSuffix(line, "\n")
				if n := terminal.Columns(line); n > width && !oneWord.MatchString(line) {
					t.Errorf("line of %d columns: %q", n, line)
				}
				if strings.ContainsAny(line, "\x1b\t\r") {
					t.Errorf("control characters: %q", line)
				}
			}
			if strings.Contains(got, "\x1b") != tt.opts.Color {
				t.Errorf("colour: want %v", tt.opts.Color)
			}
		})
	}
}

// TestPrinterWidths: no width and no text breaks it.
func TestPrinterWidths(t *testing.T) {
	t.Parallel()
	for width := -1; width < 130; width++ {
		var b bytes.Buffer
		printer := terminal.New(&b, terminal.Options{Width: func() int { return width }})
		log := slog.New(printer).With("variant", "001-a", "host", "host1", "side", "source", "vm", "vm1")
		for _, text := range []string{"", " ", "a", strings.Repeat("移行", 80), strings.Repeat(" ", 100), "a " + strings.Repeat("b", 200), strings.Repeat("üñïcödé_名前 ", 20), strings.Repeat("e\u0301", 150)} {
			log.Info(text)
		}
		named := outcomes()
		for i := range named {
			named[i].ShortName = strings.Repeat("üñïcödé_名前.", 5*i+1)
			named[i].Message = strings.Repeat("名前", 30)
		}
		printer.Table(each(append(outcomes(), named...)))
		limit := width
		if limit < 20 {
			limit = 80
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if head := regexp.MustCompile(`\S+$`).ReplaceAllString(line, ""); terminal.Columns(line) > limit && terminal.Columns(head) <= limit/2+4 {
				continue // a word that no line has room for, behind nothing or what says where it belongs
			}
			if n := terminal.Columns(line); n > max(limit, 27) { // the table's columns need 27
				t.Fatalf("width %d: line of %d columns: %q", width, n, line)
			}
		}
	}
}

func TestPrinterConcurrently(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer // the terminal locks for it
	printer := terminal.New(&b, terminal.Options{})
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			log := slog.New(printer).With("host", fmt.Sprintf("host%d", i))
			for range 20 {
				log.Info("line")
			}
		})
	}
	wg.Wait()
	if got := strings.Count(b.String(), "line\n"); got != 200 {
		t.Errorf("got %d lines, want 200", got)
	}
	if printer.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("Debug is enabled without Verbose")
	}
}

// oneWord is a line that cannot be wrapped at blanks: a path, or a variant's number and name.
var oneWord = regexp.MustCompile(`^ *(\d{3} )?\S+$`)

func TestTableOfNothing(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	terminal.New(&b, terminal.Options{}).Table(each(nil))
	if !strings.HasSuffix(b.String(), "\n0 variants\n") {
		t.Errorf("got %q", b.String())
	}
}
