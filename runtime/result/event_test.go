// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadEventsGoesOn(t *testing.T) {
	t.Parallel()
	text := `{"time":"2026-11-23T20:50:10Z","level":"INFO","message":"a","host":"h","fields":{"z":1,"a":[2]}}` + "\n" +
		"\n{\"time\":\"2026-11-23T2\n" + // cut by a full disk
		`{"time":"2026-11-23T20:50:11Z","level":"WARN","message":"b"}` + "\n" +
		`{"time":"2026-11-23T20:50:12Z","lev` // killed
	var got []string
	for e, err := range ReadEvents(strings.NewReader(text)) {
		if err != nil {
			got = append(got, err.Error()[:len("events line 1")])
			continue
		}
		got = append(got, e.Level.String()+" "+e.Message+" "+e.line())
	}
	want := []string{"INFO a a z=1 a=[2]", "events line 3", "WARN b b", "events line 5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, err := range ReadEvents(iotest.ErrReader(io.ErrUnexpectedEOF)) {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("broken reader: got %v", err)
		}
	}
}

// TestPlainValues: whatever is logged becomes a line of JSON.
func TestPlainValues(t *testing.T) {
	t.Parallel()
	values := []any{
		nil, "s", 1, uint64(math.MaxUint64), 1.5, math.NaN(), math.Inf(1), true, time.Second, time.Unix(0, 0), io.EOF,
		[]byte("x"),
		map[string]int{"a": 1},
		make(chan int), func() {},
		struct{ A int }{1},
		json.Number("3"), slog.LevelInfo,
		slog.GroupValue(slog.Int("a", 1)), (*int)(nil), "a\x00\x1b[31m\xff",
	}
	for _, v := range values {
		var e Event
		e.add("", slog.Any("k", v))
		line, err := e.jsonLine()
		if err != nil {
			t.Errorf("%T: %v", v, err)
			continue
		}
		if bytes.Count(line, []byte("\n")) != 1 || !json.Valid(line) {
			t.Errorf("%T: got %s", v, line)
		}
		if got := string(e.logLine()); strings.Count(got, "\n") != 1 || strings.ContainsAny(got, "\x1b\x00") {
			t.Errorf("%T: log line %q", v, got)
		}
	}
}

// FuzzEvents: the reader never panics, and what it read can be written and read
// again, the same.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T20:50:10Z","level":"INFO","message":"a","fields":{"z":1,"a":{"b":[null,"x"]}}}` + "\n"))
	f.Add([]byte("{}\n{\"fields\":null}\n[]\n\x00\n{\"level\":\"INFO+3\"}"))
	f.Add([]byte(`{"fields":{"a":1,"a":2,"":1e400}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for e, err := range ReadEvents(bytes.NewReader(data)) {
			if err != nil {
				continue
			}
			_ = e.logLine()
			line, err := e.jsonLine()
			if err != nil {
				t.Fatalf("write %+v: %v", e, err)
			}
			for again, err := range ReadEvents(bytes.NewReader(line)) {
				if err != nil {
					t.Fatalf("read %s: %v", line, err)
				}
				if diff := cmp.Diff(e, again); diff != "" {
					t.Fatalf("written and read again (-want +got):\n%s", diff)
				}
			}
		}
	})
}

func FuzzSafeName(f *testing.F) {
	f.Add("a/b")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		name := safeName(text)
		if len(name) > maxName || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
			t.Errorf("safeName(%q): got %q", text, name)
		}
		if checkArtifactName(text) == nil && (strings.Contains("/"+text+"/", "/../") || strings.HasPrefix(text, "/")) {
			t.Errorf("artifact name %q was allowed", text)
		}
	})
}

// TestDiskFull: the writer goes on, says it once, and Close tells.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	var said []error
	s := newSink("events.jsonl", full, func(err error) { said = append(said, err) })
	for range 3 {
		if n, err := s.Write([]byte("line\n")); n != 5 || err != nil {
			t.Errorf("Write: got %d, %v", n, err)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0].Error(), "no space left") {
		t.Errorf("complaints: got %v, want one", said)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("Close: got %v", err)
	}
	if n, err := s.Write([]byte("late\n")); n != 5 || err != nil {
		t.Errorf("Write after Close: got %d, %v", n, err)
	}
}

// cutWriter is a disk that is full for a while and takes half a line.
type cutWriter struct {
	bytes.Buffer
	room int
}

func (c *cutWriter) Write(p []byte) (int, error) {
	n := min(len(p), c.room)
	c.room -= n
	c.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (c *cutWriter) Close() error { return nil }

// TestDiskHasRoomAgain: the lines after the cut one are whole.
func TestDiskHasRoomAgain(t *testing.T) {
	t.Parallel()
	disk := &cutWriter{room: 8}
	s := newSink("x", disk, func(error) {})
	for _, line := range []string{"one\n", "two two\n"} {
		_, _ = s.Write([]byte(line))
	}
	disk.room = 100
	_, _ = s.Write([]byte("three\n"))
	_, _ = s.Write([]byte("four\n"))
	if got := disk.String(); got != "one\ntwo \nthree\nfour\n" {
		t.Errorf("got %q", got)
	}
}
