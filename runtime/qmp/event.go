// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"slices"
	"sync"
	"time"
)

// queueLength is the maximum number of queued events of a subscriber. QEMU sends a few
// per migration, except MIGRATION_PASS, which is merged in the queue.
const queueLength = 1024

// Event is an asynchronous event of QEMU.
type Event struct {
	Name     string         // such as MIGRATION or STOP
	Data     map[string]any // as encoding/json decodes it: numbers are float64
	Time     time.Time      // the host's clock; zero where QEMU could not read it
	Received time.Time      // this program's clock
	Folded   int            // how many earlier MIGRATION_PASS events were merged into this one
}

// timestamp is the time of an event in QEMU's form.
type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

func (t timestamp) time() time.Time {
	if t.Seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(t.Seconds, t.Microseconds*1000)
}

// Subscription is a stream of events. Its owner must Close it.
type Subscription struct {
	// C yields the events in order. It is closed when the subscription is closed
	// and, after the last event has been taken, when the connection ends.
	C <-chan Event

	conn  *Conn
	names []string
	wake  chan struct{} // capacity 1: something is in the queue
	quit  chan struct{} // closed by Close
	ended chan struct{} // closed when C is
	once  sync.Once

	mu      sync.Mutex // guards queue and dropped
	queue   []Event
	dropped int
}

// Subscribe begins a stream of the named events, or of all events when no name is
// given. It sees the events that come after the call. The queue is bounded: a
// MIGRATION_PASS that waits is replaced by the next one (see [Event.Folded]); of
// other events the oldest is dropped when 1024 wait (see [Subscription.Dropped]).
func (c *Conn) Subscribe(names ...string) *Subscription {
	out := make(chan Event)
	s := &Subscription{
		C:     out,
		conn:  c,
		names: slices.Clone(names),
		wake:  make(chan struct{}, 1),
		quit:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	c.mu.Lock()
	c.subscriptions[s] = struct{}{}
	c.mu.Unlock()
	go s.pump(out) // Close waits for it
	return s
}

// Dropped is how many events were dropped because the queue was full.
func (s *Subscription) Dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close ends the stream and discards queued events. It may be called more than once.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.conn.mu.Lock()
		delete(s.conn.subscriptions, s)
		s.conn.mu.Unlock()
		close(s.quit)
	})
	<-s.ended
}

// Handle calls f for each event after the call, before replies that QEMU sent later
// are delivered: when a call returns, f has been called for all earlier events. f runs
// on the connection's reader: it must return at once, and not use the Conn.
func (c *Conn) Handle(f func(Event)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers = append(c.handlers, f)
}

// publish passes an event to all subscribers; it never waits for them.
func (c *Conn) publish(m message, received time.Time) {
	e := Event{Name: m.Event, Data: m.Data, Time: m.Timestamp.time(), Received: received}
	c.mu.Lock()
	handlers := slices.Clone(c.handlers)
	c.mu.Unlock()
	for _, f := range handlers {
		f(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Name == "SHUTDOWN" {
		c.shutdown, _ = e.Data["reason"].(string)
		if c.shutdown == "" {
			c.shutdown = "no reason given"
		}
	}
	for s := range c.subscriptions {
		if len(s.names) == 0 || slices.Contains(s.names, e.Name) {
			s.push(e)
		}
	}
}

func (s *Subscription) push(e Event) {
	const flood = "MIGRATION_PASS"
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.queue) - 1
	switch {
	case e.Name == flood && last >= 0 && s.queue[last].Name == flood:
		e.Folded = s.queue[last].Folded + 1
		s.queue[last] = e
		return
	case len(s.queue) >= queueLength:
		oldest := max(0, slices.IndexFunc(s.queue, func(e Event) bool { return e.Name == flood }))
		s.queue = slices.Delete(s.queue, oldest, oldest+1)
		s.dropped++
	}
	s.queue = append(s.queue, e)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Subscription) pop() (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return Event{}, false
	}
	e := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	return e, true
}

// pump moves events from the queue to C until the subscription is closed, or the
// connection has ended and the queue is empty.
func (s *Subscription) pump(out chan<- Event) {
	defer close(s.ended)
	defer close(out)
	for {
		if e, ok := s.pop(); ok {
			select {
			case out <- e:
			case <-s.quit:
				return
			}
			continue
		}
		select {
		case <-s.wake:
		case <-s.quit:
			return
		case <-s.conn.done:
			// The reader has put its last event into the queue before it closed done.
			s.mu.Lock()
			empty := len(s.queue) == 0
			s.mu.Unlock()
			if empty {
				return
			}
		}
	}
}
