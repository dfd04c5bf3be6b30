// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/qmp"
)

func TestTranscript(t *testing.T) {
	var transcript, log bytes.Buffer
	c := connect(t, qmp.Options{
		Transcript: &transcript,
		Logger:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, func(f *fake) {
		f.serve(func(r request) {
			if r.Execute == "query-qmp-schema" {
				f.reply(r, `"`+strings.Repeat("x", 100<<10)+`"`)
				return
			}
			f.event("STOP", `{}`)
			f.reply(r, `{}`)
		})
	})
	for _, call := range []struct {
		command   string
		arguments any
	}{
		{"migrate", map[string]any{"uri": "tcp:192.0.2.1:4444"}},
		{"set_password", map[string]any{"protocol": "vnc", "password": "hunter2"}},
		{"object-add", map[string]any{"qom-type": "secret", "id": "sec0", "data": "hunter2", "format": "raw"}},
		{"blockdev-add", map[string]any{"driver": "luks", "key-secret": "hunter2", "x": []any{map[string]any{"passwd": "hunter2"}}, "size": int64(1<<62 + 1)}},
		{"human-monitor-command", map[string]any{"command-line": "set_password vnc hunter2"}},
		{"human-monitor-command", map[string]any{"command-line": "info usernet"}},
		{"query-qmp-schema", nil},
	} {
		if err := c.Execute(t.Context(), call.command, call.arguments, nil); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	for name, text := range map[string]string{"transcript": transcript.String(), "log": log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the %s shows a secret:\n%s", name, text)
		}
	}

	var sent []string
	var elided int
	for line := range strings.Lines(transcript.String()) {
		var l struct {
			Time    time.Time
			Dir     string
			Message json.RawMessage
			Elided  int `json:"elided_bytes"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if time.Since(l.Time) > time.Minute || l.Time.Location() != time.UTC {
			t.Errorf("time %v, want now in UTC", l.Time)
		}
		if l.Dir == "send" {
			sent = append(sent, string(l.Message))
		}
		elided += l.Elided
	}
	want := []string{
		`{"execute":"qmp_capabilities","id":1}`,
		`{"arguments":{"uri":"tcp:192.0.2.1:4444"},"execute":"migrate","id":2}`,
		`{"arguments":{"password":"***","protocol":"vnc"},"execute":"set_password","id":3}`,
		`{"arguments":{"data":"***","format":"raw","id":"sec0","qom-type":"secret"},"execute":"object-add","id":4}`,
		`{"arguments":{"driver":"luks","key-secret":"***","size":4611686018427387905,"x":[{"passwd":"***"}]},"execute":"blockdev-add","id":5}`,
		`{"arguments":{"command-line":"set_password ***"},"execute":"human-monitor-command","id":6}`,
		`{"arguments":{"command-line":"info usernet"},"execute":"human-monitor-command","id":7}`,
		`{"execute":"query-qmp-schema","id":8}`,
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Error(diff)
	}
	if elided < 100<<10 {
		t.Errorf("%d bytes elided, want the schema's", elided)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A transcript that cannot be written ends; the connection goes on.
func TestTranscriptFails(t *testing.T) {
	var log bytes.Buffer
	c := connect(t, qmp.Options{Transcript: fullDisk{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(f *fake) {
		f.serve(func(r request) { f.reply(r, `{}`) })
	})
	for range 3 {
		if err := c.Execute(t.Context(), "stop", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if n := strings.Count(log.String(), "no space left"); n != 1 {
		t.Errorf("the log tells it %d times, want once:\n%s", n, log.String())
	}
}
