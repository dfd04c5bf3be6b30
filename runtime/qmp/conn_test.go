// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

func TestNew(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) { f.next() })
	if got := c.Version().String(); got != "7.2.22" {
		t.Errorf("Version() = %s, want 7.2.22", got)
	}
	if c.Err() != nil {
		t.Errorf("Err() = %v, want nil", c.Err())
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		script func(*fake)
		want   string
	}{
		{"EOF", func(*fake) {}, "QEMU is gone: it closed its monitor"},
		{"half a greeting", func(f *fake) { f.send(greeting[:20]) }, "in the middle of a message"},
		{"another protocol", func(f *fake) { f.send("SSH-2.0-OpenSSH_9.2\r\n") }, "invalid message"},
		{"another JSON", func(f *fake) { f.send(`{"hello": 1}`) }, "not a QMP monitor"},
		{"a wrong type", func(f *fake) { f.send(`{"QMP": 7}`) }, "invalid message"},
		{"a message without an end", func(f *fake) {
			f.send(`{"QMP": "`)
			for endless := bytes.Repeat([]byte("a"), 1<<20); ; {
				if _, err := f.conn.Write(endless); err != nil {
					return
				}
			}
		}, "QEMU is gone: message too long: more than 64 MiB"},
		{"a refusal", func(f *fake) {
			f.send(greeting)
			f.send(fmt.Sprintf(`{"id": %d, "error": {"class": "GenericError", "desc": "not you"}}`, f.next().ID))
			f.next()
		}, "qmp_capabilities: not you"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := qmp.New(t.Context(), pipe(t, tt.script), qmp.Options{Name: "vm1@host1"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "vm1@host1: ") {
				t.Errorf("New: got %v, want vm1@host1: … %s", err, tt.want)
			}
		})
	}
}

// A QMP socket serves one client; the second connects and hears nothing.
func TestNewWithoutGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("5 s passed"))
		defer cancel()
		_, err := qmp.New(ctx, client, qmp.Options{})
		if err == nil || !strings.Contains(err.Error(), "is another client on this monitor?") || !strings.Contains(err.Error(), "5 s passed") {
			t.Errorf("New: got %v, want a hint at another client and the cause", err)
		}
		if _, err := server.Write([]byte("x")); err == nil {
			t.Error("New failed but left the connection open")
		}
	})
}

func TestExecute(t *testing.T) {
	c := connect(t, qmp.Options{Name: "vm1@host1"}, func(f *fake) {
		f.serve(func(r request) {
			switch r.Execute {
			case "query-status":
				f.reply(r, `{"status": "running"}`)
			case "echo":
				f.reply(r, string(r.Arguments))
			default:
				f.send(fmt.Sprintf(`{"id": %d, "error": {"class": "CommandNotFound", "desc": "The command %s has not been found"}}`, r.ID, r.Execute))
			}
		})
	})
	var status struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("query-status = %q, %v; want running", status.Status, err)
	}
	var echo map[string]int64
	if err := c.Execute(t.Context(), "echo", map[string]int64{"bytes": 1<<62 + 1}, &echo); err != nil || echo["bytes"] != 1<<62+1 {
		t.Errorf("echo = %v, %v; want the argument unchanged", echo, err)
	}
	if err := c.Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Errorf("query-status without a place for its reply: %v", err)
	}
	err := c.Execute(t.Context(), "nosuch", nil, nil)
	refusal, ok := errors.AsType[*qmp.Error](err)
	if !ok || refusal.Class != "CommandNotFound" || refusal.Command != "nosuch" {
		t.Errorf("nosuch: got %#v, want a *qmp.Error of class CommandNotFound", err)
	}
	if got, want := err.Error(), "vm1@host1: nosuch: The command nosuch has not been found (CommandNotFound)"; got != want {
		t.Errorf("nosuch: got %q, want %q", got, want)
	}
	if err := c.Execute(t.Context(), "query-status", nil, new(int)); err == nil || !strings.Contains(err.Error(), "unexpected reply") {
		t.Errorf("a reply of another type: got %v", err)
	}
	if err := c.Execute(t.Context(), "echo", func() {}, nil); err == nil || !strings.Contains(err.Error(), "arguments") {
		t.Errorf("arguments that are no JSON: got %v", err)
	}
	if err := c.Execute(t.Context(), "query-status", nil, &status); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// What go-qemu's SocketMonitor gets wrong: a reply that larger events overtake.
func TestRepliesAmongEvents(t *testing.T) {
	const rounds = 300
	filler := strings.Repeat("x", 3<<10)
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			f.event("BEFORE", `{"filler": "`+filler+`"}`)
			f.reply(r, `"`+strings.Repeat("r", 2<<10)+r.Execute+`"`)
			f.event("AFTER", `{"filler": "`+filler+`"}`)
		})
	})
	for i := range rounds {
		name := fmt.Sprintf("command-%d", i)
		var got string
		if err := c.Execute(t.Context(), name, nil, &got); err != nil {
			t.Fatal(err)
		}
		if want := strings.Repeat("r", 2<<10) + name; got != want {
			t.Fatalf("round %d: the reply was overwritten: %.60q…", i, got)
		}
	}
}

func TestLargeReplies(t *testing.T) {
	for _, size := range []int{64 << 10, 70_000, 200 << 10, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			// The race detector takes seconds for the largest, and more on a busy machine.
			c := connect(t, qmp.Options{Transcript: io.Discard, Timeout: time.Minute}, func(f *fake) {
				f.serve(func(r request) { f.reply(r, `"`+strings.Repeat("x", size)+`"`) })
			})
			for range 2 {
				var got string
				if err := c.Execute(t.Context(), "query-qmp-schema", nil, &got); err != nil || len(got) != size {
					t.Errorf("got %d bytes, %v; want %d", len(got), err, size)
				}
			}
		})
	}
}

// QEMU answers out of order, in pieces, with unknown ids and without id.
func TestUnorderlyReplies(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		first, second := f.next(), f.next()
		f.send(`{"return": {}, "id": 4711}` + `{"error": {"class": "GenericError", "desc": "lost"}}`)
		for _, piece := range []string{`{"ret`, `urn": "`, second.Execute, `", "id"`, `: `, fmt.Sprint(second.ID), `}`, "\r", "\n"} {
			f.send(piece)
		}
		f.reply(first, `"`+first.Execute+`"`)
		f.reply(first, `"again"`)
		f.reply(first, `"and again"`)
		f.serve(func(r request) { f.reply(r, `"`+r.Execute+`"`) })
	})
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		wg.Go(func() {
			var got string
			if err := c.Execute(t.Context(), name, nil, &got); err != nil || got != name {
				t.Errorf("Execute(%s) = %q, %v", name, got, err)
			}
		})
	}
	wg.Wait()
	var got string
	if err := c.Execute(t.Context(), "three", nil, &got); err != nil || got != "three" {
		t.Errorf("Execute(three) = %q, %v", got, err)
	}
}

func TestConcurrentCalls(t *testing.T) {
	c := connect(t, qmp.Options{Transcript: io.Discard}, func(f *fake) {
		f.serve(func(r request) {
			f.event("MIGRATION_PASS", `{"pass": 1}`)
			f.reply(r, string(r.Arguments))
		})
	})
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			s := c.Subscribe()
			defer s.Close()
			for n := range 20 {
				want := map[string]int{"caller": caller, "n": n}
				var got map[string]int
				if err := c.Execute(t.Context(), "echo", want, &got); err != nil || got["caller"] != caller || got["n"] != n {
					t.Errorf("echo(%v) = %v, %v", want, got, err)
				}
			}
		})
	}
	wg.Wait()
}

// A call whose time is over leaves the connection usable, and its late reply goes
// to nobody.
func TestCancelledCall(t *testing.T) {
	received, late := make(chan struct{}), make(chan struct{})
	c := connect(t, qmp.Options{}, func(f *fake) {
		slow := f.next()
		close(received)
		<-late
		f.reply(slow, `"slow"`)
		f.serve(func(r request) { f.reply(r, `"`+r.Execute+`"`) })
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() { failed <- c.Execute(ctx, "slow", nil, nil) }()
	<-received
	cancel(errors.New("mig_timeout (5s) passed"))
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "mig_timeout (5s) passed") {
		t.Errorf("the cancelled call: got %v, want the cause", err)
	}
	close(late)
	var got string
	if err := c.Execute(t.Context(), "next", nil, &got); err != nil || got != "next" {
		t.Errorf("the next call = %q, %v", got, err)
	}
	if err := c.Execute(ctx, "never", nil, nil); err == nil || !strings.Contains(err.Error(), "not sent") {
		t.Errorf("a call with an ended ctx: got %v", err)
	}
}

// A frozen QEMU does not read: callers leave when their time is over, also those
// that wait behind a half-written line.
func TestFrozenQEMU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frozen := make(chan struct{})
		c := connect(t, qmp.Options{}, func(f *fake) {
			<-frozen
			f.serve(func(r request) { f.reply(r, `"`+r.Execute+`"`) })
		})
		var wg sync.WaitGroup
		for n := range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := c.Execute(ctx, fmt.Sprintf("frozen-%d", n), nil, nil); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("call %d: got %v", n, err)
				}
			})
		}
		wg.Wait()
		close(frozen)
		var got string
		if err := c.Execute(t.Context(), "thawed", nil, &got); err != nil || got != "thawed" {
			t.Errorf("after the thaw: %q, %v", got, err)
		}
	})
}

// Without any limit of the caller's, the exchange has its own, and the error says
// who is silent and in what.
func TestSilentQEMU(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads bool
		limit time.Duration
		want  string
	}{
		{"it reads", true, 0, "vm1@host1: QEMU does not answer its monitor: query-status: no reply within 10s"},
		{"it does not read", false, 0, "vm1@host1: QEMU does not answer its monitor: query-status: no reply within 10s"},
		{"another limit", true, 3 * time.Second, "vm1@host1: QEMU does not answer its monitor: query-status: no reply within 3s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				thaw := make(chan struct{})
				c := connect(t, qmp.Options{Name: "vm1@host1", Timeout: tt.limit}, func(f *fake) {
					if tt.reads {
						f.next()
					}
					<-thaw
					f.serve(func(r request) { f.reply(r, `"`+r.Execute+`"`) })
				})
				began := time.Now()
				limit := cmp.Or(tt.limit, qmp.DefaultTimeout)
				err := c.Execute(t.Context(), "query-status", nil, nil)
				if !errors.Is(err, qmp.ErrSilent) || err.Error() != tt.want {
					t.Errorf("Execute: got %v, want %s", err, tt.want)
				}
				if took := time.Since(began); took != limit {
					t.Errorf("it took %v, want %v", took, limit)
				}
				if _, err := c.Run([]byte(`{"execute": "stop"}`)); !errors.Is(err, qmp.ErrSilent) {
					t.Errorf("Run: got %v, want ErrSilent", err)
				}
				if _, err := c.Supports(t.Context(), "migrate"); !errors.Is(err, qmp.ErrSilent) {
					t.Errorf("Supports: got %v, want ErrSilent", err)
				}
				if _, err := c.Human(t.Context(), "info name"); !errors.Is(err, qmp.ErrSilent) {
					t.Errorf("Human: got %v, want ErrSilent", err)
				}
				// A limit of the caller's own that is over sooner speaks for itself.
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("mig_timeout (1s) is over"))
				defer cancel()
				if err := c.Execute(ctx, "query-status", nil, nil); errors.Is(err, qmp.ErrSilent) || !strings.Contains(err.Error(), "mig_timeout (1s) is over") {
					t.Errorf("with a limit: got %v, want its cause", err)
				}
				close(thaw)
				var got string
				if err := c.Execute(t.Context(), "thawed", nil, &got); err != nil || got != "thawed" {
					t.Errorf("after the thaw: %q, %v", got, err)
				}
			})
		})
	}
}

// QEMU takes an object for arguments, or none at all.
func TestArguments(t *testing.T) {
	var sent []string
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			sent = append(sent, r.Execute+" "+string(r.Arguments))
			f.reply(r, `{}`)
		})
	})
	for name, arguments := range map[string]any{
		"nothing": nil, "a nil map": map[string]any(nil), "a nil pointer": (*struct{ A int })(nil), "null": json.RawMessage("null"),
	} {
		sent = nil
		if err := c.Execute(t.Context(), "migrate_cancel", arguments, nil); err != nil || len(sent) != 1 || sent[0] != "migrate_cancel " {
			t.Errorf("%s: sent %q, %v; want no arguments", name, sent, err)
		}
	}
	for name, arguments := range map[string]any{"empty": map[string]any{}, "an object": json.RawMessage(` {"a": null} `)} {
		if err := c.Execute(t.Context(), "stop", arguments, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := sent[len(sent)-1]; !strings.HasPrefix(got, "stop {") {
		t.Errorf("sent %q, want the object", got)
	}
	for _, command := range []string{
		`{"execute": "migrate_cancel", "arguments": null}`, `{"execute": "migrate_cancel", "arguments": null, "id": 7}`,
	} {
		sent = nil
		if _, err := c.Run([]byte(command)); err != nil || len(sent) != 1 || sent[0] != "migrate_cancel " {
			t.Errorf("%s: sent %q, %v; want no arguments", command, sent, err)
		}
	}
	for _, bad := range []any{[]string{"a"}, "a", 7} {
		if err := c.Execute(t.Context(), "stop", bad, nil); err == nil || !strings.Contains(err.Error(), "want an object") {
			t.Errorf("%v: got %v, want a refusal", bad, err)
		}
	}
	if _, err := c.Run([]byte(`{"execute": "stop", "arguments": ["a"]}`)); err == nil || !strings.Contains(err.Error(), "want an object") {
		t.Errorf("a list: got %v, want a refusal", err)
	}
}

func TestGone(t *testing.T) {
	tests := []struct {
		name string
		end  func(*fake)
		want string
	}{
		{"killed", func(*fake) {}, "QEMU is gone: it closed its monitor"},
		{"mid-message", func(f *fake) { f.send(`{"return": {"status": "run`) }, "closed in the middle of a message"},
		{"garbled", func(f *fake) { f.send("}}} garbage\n"); f.next() }, "invalid message"},
		{"binary", func(f *fake) { f.send("\x00\xff\xfe\n"); f.next() }, "invalid message"},
		{"a reply of another shape", func(f *fake) { f.send(`{"return": {}, "id": "seven"}`); f.next() }, "invalid message"},
		{"shut down", func(f *fake) { f.event("SHUTDOWN", `{"guest": false, "reason": "host-signal"}`) }, "it shut down (host-signal)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, qmp.Options{Name: "vm1@host2"}, func(f *fake) {
				f.next()
				tt.end(f)
			})
			s := c.Subscribe("MIGRATION")
			defer s.Close()
			err := c.Execute(t.Context(), "query-migrate", nil, nil)
			if !errors.Is(err, qmp.ErrGone) || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "vm1@host2: query-migrate: ") {
				t.Errorf("the waiting call: got %v, want %q", err, tt.want)
			}
			<-c.Done()
			if _, open := <-s.C; open {
				t.Error("the subscription goes on")
			}
			if err := c.Execute(t.Context(), "cont", nil, nil); !errors.Is(err, qmp.ErrGone) {
				t.Errorf("a later call: got %v, want ErrGone", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if !errors.Is(c.Err(), qmp.ErrGone) {
				t.Errorf("Err after Close: %v, want ErrGone still", c.Err())
			}
		})
	}
}

// The reply to quit counts, though the connection ends with it.
func TestQuit(t *testing.T) {
	for range 50 {
		c := connect(t, qmp.Options{}, func(f *fake) { f.reply(f.next(), `{}`) })
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatalf("quit: %v", err)
		}
	}
}

func TestClose(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.next()
		f.next()
	})
	unread := c.Subscribe()
	failed := make(chan error)
	go func() { failed <- c.Execute(t.Context(), "query-status", nil, nil) }()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("the waiting call: got %v, want ErrClosed", err)
	}
	if _, open := <-unread.C; open {
		t.Error("the subscription goes on")
	}
	unread.Close()
	if err := c.Close(); err != nil || !errors.Is(c.Err(), qmp.ErrClosed) {
		t.Errorf("a second Close = %v, Err = %v", err, c.Err())
	}
}
