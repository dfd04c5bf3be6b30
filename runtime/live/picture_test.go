// SPDX-License-Identifier: Apache-2.0

package live

import (
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// stage is a picture that hears what is logged, at a time of the test's choice.
type stage struct {
	*picture
	now  time.Time
	ends []string
}

func newStage(planned int) *stage {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	return &stage{picture: newPicture(planned, now), now: now}
}

// at logs as a variant's part of the run does.
func (s *stage) at(second float64, variant string) *slog.Logger {
	s.now = s.started.Add(time.Duration(second * float64(time.Second)))
	return slog.New(result.Listen(result.LevelProgress, func(e result.Event) {
		e.Time = s.now
		if v := s.handle(e); v != nil {
			s.ends = append(s.ends, draw(v.end(e, 80), 80, false))
		}
	})).With("variant", variant)
}

func (s *stage) drawn(width int, color bool) string {
	var b strings.Builder
	for _, line := range s.lines(s.now, width, 24) {
		b.WriteString(strings.TrimRight(draw(line, width, color), " ") + "\n")
	}
	return b.String()
}

func TestPicture(t *testing.T) {
	t.Parallel()
	s := newStage(4)
	s.at(0, "001-a").Info("variant begins", "name", "a.JeOS", "hosts", "host1,host2")
	s.at(0, "002-b").Info("variant begins", "name", "b")
	s.at(1, "002-b").Info("disks prepared", "step", "disk_prepared")
	a := s.at(2, "001-a").With("migration", 1)
	a.Info("migrate", "step", "migrate", "host", "host1", "side", "source")
	a.Info("ports", "step", "ports", "host", "host2", "side", "destination")
	p := result.Progress{Status: "active", Transferred: 81 << 20, Remaining: 32 << 20, Total: 128 << 20, Rate: 100 << 20, Dirty: 2 << 20, Pass: 2}
	a.With("vm", "vm1", "host", "host1").LogAttrs(t.Context(), result.LevelProgress, "progress", p.Attrs()...)
	p.Status = "device"
	a.With("vm", "vm2", "host", "host1").LogAttrs(t.Context(), result.LevelProgress, "progress", p.Attrs()...)
	p.Status = "active"
	for _, predicted := range []result.Prediction{{From: result.FromFirstPass, Converges: true, Milliseconds: 38000}, {From: result.FromSecondPass}} {
		vm := a.With("vm", "vm3", "host", "host1")
		if predicted.Converges {
			vm = a.With("vm", "vm4", "host", "host1")
		}
		vm.LogAttrs(t.Context(), slog.LevelInfo, "prediction", result.PredictionAttrs(predicted)...)
		vm.LogAttrs(t.Context(), result.LevelProgress, "progress", p.Attrs()...)
	}
	s.at(62, "003-c").Info("variant ends", "step", "end", "name", "c", "status", "SKIP", "because", "not here\nreally")
	want := `001 a.JeOS  1m02s  host1 migrate  →  host2 ports
    vm1   ████████████░░░░  75%  32M left, 81M sent  100M/s  dirty 2M/s  pass 2
    vm2   ██████░░  75%  32M left, 81M sent  100M/s  dirty 2M/s  pass 2  device
    vm3   █████░░  75%  32M left  100M/s  dirty 2M/s  pass 2  will not converge
    vm4   ██████░░  75%  32M left  100M/s  dirty 2M/s  pass 2  about 38s in all
002 b  1m02s  disk prepared
1 of 4 variants done  1 SKIP  2 running  1m02s
`
	if diff := cmp.Diff(want, s.drawn(79, false)); diff != "" {
		t.Errorf("(- want, + got):\n%s", diff)
	}

	// The next migration takes the place of the one before.
	a = s.at(64, "001-a").With("migration", 2)
	a.Info("prepare", "step", "prepare", "host", "host2", "side", "source")
	a.Info("prepare", "step", "prepare", "host", "host1", "side", "destination")
	s.at(65, "001-a").With("migration", 1, "side", "source", "host", "host1").Info("done", "step", "end")
	s.at(120, "002-b").Info("variant ends", "step", "end", "status", "FAIL", "because", "lost")
	want = `001 a.JeOS  2m00s  host2 prepare  →  host1 prepare
2 of 4 variants done  1 SKIP  1 FAIL  1 running  2m00s, about 4m00s left
`
	got := strings.ReplaceAll(s.drawn(79, false), "    vm1", "\x00")
	if lines := strings.Split(got, "\n"); len(lines) > 2 {
		got = lines[0] + "\n" + lines[len(lines)-2] + "\n"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(- want, + got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"SKIP   003 c  0s  not here", "FAIL   002 b  2m00s  lost"}, s.ends); diff != "" {
		t.Errorf("ends (- want, + got):\n%s", diff)
	}
}

// A long name hides neither the time nor what the sides do, and what is left out on a
// narrow terminal is what matters least.
func TestLongNames(t *testing.T) {
	t.Parallel()
	s := newStage(2000)
	name := strings.Repeat("üñïcödé_名前.", 10) + "JeOS.x86_64"
	for i := range 9 {
		s.at(0, "00"+string(rune('1'+i))+"-x").Info("variant ends", "step", "end", "status", []string{"PASS", "FAIL", "SKIP"}[i%3], "name", name, "because", "the guest was lost while it moved to its host")
	}
	s.at(2, "1000-x").Info("variant begins", "name", "short")
	v := s.at(2, "0999-x")
	v.Info("variant begins", "name", name)
	v = v.With("migration", 1)
	v.Info("finished", "step", "mig_finished", "host", "host1.example.com", "side", "source")
	v.Info("waits", "step", "wait_for_guest", "host", "host2.example.com", "side", "destination")
	p := result.Progress{Status: "active", Transferred: 81 << 20, Remaining: 32 << 20, Total: 128 << 20, Rate: 100 << 20, Dirty: 2 << 20, Pass: 2}
	v.With("vm", "vm1", "host", "host1").LogAttrs(t.Context(), result.LevelProgress, "progress", p.Attrs()...)
	s.at(64, "1000-x").Info("boots", "step", "boot")
	for _, c := range []struct {
		width int
		want  string
	}{
		{140, `
0999 üñïcödé_名前.üñïcödé_名前.üñï…名前.üñïcödé_名前.JeOS.x86_64  1m02s  host1.example.com mig finished  →  host2.example.com wait for guest
    vm1   ████████████░░░░  75%  32M left, 81M sent  100M/s  dirty 2M/s  pass 2
1000 short  1m02s  boot
9 of 2000 variants done  3 PASS  3 SKIP  3 FAIL  2 running  1m04s, about 5h53m left
`},
		{80, `
0999 üñïcödé_名前.….JeOS.x86_64 1m02s host1 mig finished → host2 wait for guest
    vm1   ████████████░░░░  75%  32M left, 81M sent  100M/s  dirty 2M/s  pass 2
1000 short  1m02s  boot
9/2000 3 PASS 3 SKIP 3 FAIL 2 running 1m04s, ~5h53m left
`},
		{40, `
0999 1m02s mig finished → wait for guest
    vm1   █████░░  75%  32M left  100M/s
1000 short  1m02s  boot
9/2000 3 PASS 3 FAIL 1m04s, ~5h53m left
`},
		{30, `
0999 1m02s mig …hed → wait…est
    vm1   ███░░  75%  32M left
1000 short  1m02s  boot
9/2000 1m04s, ~5h53m left
`},
	} {
		if diff := cmp.Diff(c.want, "\n"+s.drawn(c.width, false)); diff != "" {
			t.Errorf("%d columns (- want, + got):\n%s", c.width, diff)
		}
	}
	for _, end := range s.ends {
		if !strings.Contains(end, "x86_64  0s  the guest was lost") || terminal.Columns(end) > 80 {
			t.Errorf("end: got %q, want time and reason", end)
		}
	}
}

// Variants stand in the order of their numbers, however many digits these have.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := newStage(0)
	for _, id := range []string{"1000-d", "999-c", "98-b", "x-a"} {
		s.at(0, id).Info("variant begins", "name", "n")
	}
	want := "x n  0s  begins\n98 n  0s  begins\n999 n  0s  begins\n1000 n  0s  begins\n0 variants done  4 running  0s\n"
	if diff := cmp.Diff(want, s.drawn(80, false)); diff != "" {
		t.Errorf("(- want, + got):\n%s", diff)
	}
}

// Whatever is logged, no line is wider than the terminal or moves the cursor, and
// the colours are only colours.
func TestNarrowAndHostile(t *testing.T) {
	t.Parallel()
	s := newStage(0)
	for i := range 12 {
		v := s.at(float64(i), string(rune('a'+i))+"-x")
		v.Info("variant begins", "name", "long."+strings.Repeat("name.üñïcödé_名前", 30)+"\x1b[2J\n")
		v.With("migration", 1, "host", "名前\r\x07", "side", "source").Info("x", "step", "mig\x1b_finished")
		v.With("vm", "vm\t1").LogAttrs(t.Context(), result.LevelProgress, "progress", result.Progress{Status: "\x1b[A", Remaining: -5, Total: 1, Pass: 1}.Attrs()...)
	}
	sgr := regexp.MustCompile(`\x1b\[\d+m`)
	for width := range 130 {
		text := s.drawn(width, true)
		for line := range strings.Lines(text) {
			line = sgr.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")
			if n := terminal.Columns(line); n > width {
				t.Fatalf("%d columns of %d: %q", n, width, line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("control character: %q", line)
			}
		}
	}
	if n := strings.Count(s.drawn(80, false), "\n"); n > 3*maxVariants {
		t.Errorf("%d lines of 12 variants", n)
	}
}

// No order of events breaks the picture.
func TestAnyEvents(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	s := newStage(3)
	for i := range 20_000 {
		log := s.at(float64(i)/100, pick("", "1-a", "2-b", "3")).With("migration", random.IntN(3))
		log.Log(t.Context(), []slog.Level{result.LevelProgress, slog.LevelInfo, slog.LevelWarn}[random.IntN(3)], "m",
			"step", pick("", "end", "migrate", "mig_finished"), "side", pick("", "source", "destination"), "host", pick("", "h"),
			"vm", pick("", "vm1"), "status", pick("", "PASS", "nonsense", "FAIL"))
		if len(s.lines(s.now, i%130, 1+i%30)) == 0 {
			t.Fatal("no totals")
		}
	}
}

// A move that will not come to an end like this says so, at its end.
func TestDiverges(t *testing.T) {
	t.Parallel()
	s := newStage(1)
	v := s.at(2, "001-x")
	v.Info("variant begins", "name", "x")
	v = v.With("migration", 1)
	v.Info("migrate", "step", "migrate", "host", "host1", "side", "source")
	p := result.Progress{Status: "active", Transferred: 81 << 20, Remaining: 32 << 20, Total: 128 << 20, Rate: 1 << 20, Dirty: 40 << 20, Pass: 7}
	tell := func() {
		v.With("vm", "vm1", "host", "host1").LogAttrs(t.Context(), result.LevelProgress, "progress", p.Attrs()...)
	}
	const words = "does not converge"
	tell()
	if got := s.drawn(100, false); !strings.Contains(got, "pass 7  "+words) {
		t.Errorf("got\n%swant %q behind the figures", got, words)
	}
	if got := s.drawn(50, false); !strings.Contains(got, words) {
		t.Errorf("narrow: got\n%swant %q", got, words)
	}
	for _, ends := range []func(){
		func() { p.Dirty = 1000 }, func() { p.Dirty, p.Pass = 40<<20, 2 }, func() { p.Pass, p.Status = 7, "device" },
	} {
		ends()
		tell()
		if got := s.drawn(100, false); strings.Contains(got, words) {
			t.Errorf("%+v: got\n%s", p, got)
		}
	}
}
