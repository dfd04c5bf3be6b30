// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/digitalocean/go-qemu/qemu"

	"github.com/mhmig/mhmig/runtime/qmp"
)

func TestDomain(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			switch r.Execute {
			case "query-version":
				f.reply(r, `{"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}`)
			case "query-commands":
				f.reply(r, `[{"name": "migrate"}, {"name": "quit"}]`)
			case "query-status":
				f.reply(r, `{"status": "running", "running": true, "singlestep": false}`)
			case "stop":
				f.event("STOP", `{}`)
				f.reply(r, `{}`)
			default:
				f.reply(r, `{}`)
			}
		})
	})
	domain, err := qemu.NewDomain(c, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	if version, err := domain.Version(); err != nil || version != "7.2.22" {
		t.Errorf("Version = %q, %v", version, err)
	}
	if ok, err := domain.Supported("migrate"); err != nil || !ok {
		t.Errorf("Supported(migrate) = %v, %v", ok, err)
	}
	if status, err := domain.Status(); err != nil || status != qemu.StatusRunning {
		t.Errorf("Status = %v, %v", status, err)
	}
	events, done, err := domain.Events()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Execute(t.Context(), "stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Event != "STOP" || e.Timestamp.Seconds != 1700000000 || e.Timestamp.Microseconds != 250000 {
		t.Errorf("got %+v, want STOP with QEMU's time", e)
	}
	done <- struct{}{}
	if err := domain.Close(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	for range events { // Domain closes it when it has seen the end
	}
}

func TestRun(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			if r.Execute == "bad" {
				f.send(`{"error": {"class": "GenericError", "desc": "no"}, "id": ` + idOf(r) + `}`)
				return
			}
			f.reply(r, string(r.Arguments))
		})
	})
	if err := c.Connect(); err != nil {
		t.Errorf("Connect: %v", err)
	}
	tests := []struct{ name, command, want, wantErr string }{
		{"without id", `{"execute": "echo", "arguments": {"a": 1}}`, `{"return":{"a":1}}`, ""},
		{"with an id", `{"execute": "echo", "arguments": {"a": 1}, "id": "mine"}`, `{"id":"mine","return":{"a":1}}`, ""},
		{"an error", `{"execute": "bad"}`, "", "bad: no"},
		{"no command", `{"run": "echo"}`, "", "not a command"},
		{"no JSON", `echo`, "", "not a command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := c.Run([]byte(tt.command))
			if string(got) != tt.want {
				t.Errorf("Run = %s, want %s", got, tt.want)
			}
			if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("Run: got error %v, want %q", err, tt.wantErr)
			}
		})
	}
	if err := c.Disconnect(); err != nil {
		t.Error(err)
	}
	if err := c.Connect(); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("Connect after Disconnect: %v", err)
	}
	if _, err := c.Events(t.Context()); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("Events after Disconnect: %v", err)
	}
}

func idOf(r request) string {
	b, _ := json.Marshal(r.ID)
	return string(b)
}

// Events that nobody reads stop neither calls nor the end.
func TestEventsUnread(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			f.event("STOP", `{}`)
			f.event("RESUME", `{}`)
			f.reply(r, `{}`)
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	unread, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancelled, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := c.Run([]byte(`{"execute": "stop"}`)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	for range cancelled {
	}
	if err := c.Disconnect(); err != nil {
		t.Error(err)
	}
	for range unread {
	}
}
