// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// migrate lets the fake run its script up to the reply of a command, so that all
// events it has sent before have been handed out.
func migrate(t *testing.T, c *qmp.Conn) {
	t.Helper()
	if err := c.Execute(t.Context(), "migrate", nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestSubscribe(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		r := f.next()
		f.event("STOP", `{}`)
		f.event("MIGRATION", `{"status": "active"}`)
		f.event("MIGRATION_PASS", `{"pass": 2}`)
		f.event("RESUME", `{}`)
		f.reply(r, `{}`)
		f.next()
	})
	all, some := c.Subscribe(), c.Subscribe("MIGRATION", "RESUME")
	defer all.Close()
	defer some.Close()
	begin := time.Now()
	migrate(t, c)

	names := func(s *qmp.Subscription, n int) []string {
		var names []string
		for range n {
			names = append(names, (<-s.C).Name)
		}
		return names
	}
	if diff := cmp.Diff([]string{"STOP"}, names(all, 1)); diff != "" {
		t.Error(diff)
	}
	e := <-all.C
	if e.Data["status"] != "active" || !e.Time.Equal(time.Unix(1700000000, 250e6)) || e.Received.Before(begin) {
		t.Errorf("got %+v, want the status, QEMU's time and ours", e)
	}
	if diff := cmp.Diff([]string{"MIGRATION_PASS", "RESUME"}, names(all, 2)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"MIGRATION", "RESUME"}, names(some, 2)); diff != "" {
		t.Error(diff)
	}
}

// Events that follow the negotiation at once are not lost.
func TestEventBehindHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, qmp.Options{}, func(f *fake) {
			time.Sleep(time.Millisecond) // virtual: the client has subscribed
			f.event("RESUME", `{}`)
			f.next()
		})
		s := c.Subscribe()
		defer s.Close()
		if e := <-s.C; e.Name != "RESUME" {
			t.Errorf("got %q", e.Name)
		}
	})
}

// A flood of passes folds in a subscription that nobody reads, and neither blocks
// the reader nor pushes other events out.
func TestEventFlood(t *testing.T) {
	const passes = 5000
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			f.event("MIGRATION", `{"status": "active"}`)
			for n := range passes {
				f.event("MIGRATION_PASS", fmt.Sprintf(`{"pass": %d}`, n+1))
			}
			f.event("STOP", `{}`)
			f.event("MIGRATION_PASS", fmt.Sprintf(`{"pass": %d}`, passes+1))
			f.event("MIGRATION", `{"status": "completed"}`)
			f.reply(r, `{}`)
		})
	})
	unread := c.Subscribe()
	defer unread.Close()
	migrate(t, c)

	folded := 0
	var got []string
	for len(got) == 0 || got[len(got)-1] != "MIGRATION completed" {
		e := <-unread.C
		folded += e.Folded
		switch {
		case e.Name == "MIGRATION":
			got = append(got, fmt.Sprint(e.Name, " ", e.Data["status"]))
		case e.Name == "MIGRATION_PASS" && e.Data["pass"] == float64(passes):
			got = append(got, "last pass")
		case e.Name == "MIGRATION_PASS" && e.Data["pass"] == float64(passes+1):
			got = append(got, "pass after the stop")
		case e.Name == "STOP":
			got = append(got, e.Name)
		default:
			folded++ // a pass that was on its way out of the queue
		}
	}
	want := []string{"MIGRATION active", "last pass", "STOP", "pass after the stop", "MIGRATION completed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if folded != passes-1 {
		t.Errorf("%d passes folded, want %d", folded, passes-1)
	}
	if unread.Dropped() != 0 {
		t.Errorf("%d events dropped", unread.Dropped())
	}
}

// When too much waits, the oldest goes, and is counted.
func TestEventOverflow(t *testing.T) {
	const sent = 3000
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			f.event("MIGRATION_PASS", `{"pass": 1}`)
			for n := range sent {
				f.event("RTC_CHANGE", fmt.Sprintf(`{"offset": %d}`, n))
			}
			f.reply(r, `{}`)
		})
	})
	s := c.Subscribe()
	defer s.Close()
	migrate(t, c)
	received, last := 0, -1.0
	for last != sent-1 {
		e := <-s.C
		received++
		if offset, ok := e.Data["offset"].(float64); ok {
			if offset <= last {
				t.Fatalf("offset %v after %v", offset, last)
			}
			last = offset
		}
	}
	if received+s.Dropped() != sent+1 || s.Dropped() == 0 {
		t.Errorf("received %d, dropped %d: want %d together", received, s.Dropped(), sent+1)
	}
}

// What QEMU said before its end can still be read.
func TestLastEvents(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.next()
		f.event("STOP", `{}`)
		f.event("SHUTDOWN", `{"guest": true, "reason": "guest-shutdown"}`)
	})
	s := c.Subscribe()
	defer s.Close()
	if err := c.Execute(t.Context(), "system_powerdown", nil, nil); err == nil {
		t.Fatal("the fake did not end")
	}
	<-c.Done()
	var got []string
	for e := range s.C {
		got = append(got, e.Name)
	}
	if diff := cmp.Diff([]string{"STOP", "SHUTDOWN"}, got); diff != "" {
		t.Error(diff)
	}
}

// Who has an answer of QEMU has what QEMU told before it, also when nobody else
// has had time to take it.
func TestHandle(t *testing.T) {
	c := connect(t, qmp.Options{}, func(f *fake) {
		f.serve(func(r request) {
			f.event("RESET", `{"guest": true}`)
			f.event("STOP", `{}`)
			f.reply(r, `{}`)
		})
	})
	var told []string // with no lock of its own: the reply comes after it
	c.Handle(func(e qmp.Event) { told = append(told, e.Name) })
	for range 100 {
		told = nil
		migrate(t, c)
		if diff := cmp.Diff([]string{"RESET", "STOP"}, told); diff != "" {
			t.Fatal(diff)
		}
	}
}
