// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"encoding/json"
	"fmt"

	gqmp "github.com/digitalocean/go-qemu/qmp"
)

// Connect is part of go-qemu's Monitor. New returns a connected Conn, so this only
// checks whether it still is.
func (c *Conn) Connect() error { return c.Err() }

// Disconnect is part of go-qemu's Monitor; it is [Conn.Close].
func (c *Conn) Disconnect() error { return c.Close() }

// Run is part of go-qemu's Monitor: it sends a whole command, a JSON object with
// "execute", and returns QEMU's whole reply, with the command's own id if it had
// one. As every exchange it ends by [Options.Timeout]; see [Conn.Execute] for its
// errors.
func (c *Conn) Run(command []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(command, &fields); err != nil {
		return nil, fmt.Errorf("%s: not a command: %w", c.name, err)
	}
	var name string
	if err := json.Unmarshal(fields["execute"], &name); err != nil {
		return nil, fmt.Errorf(`%s: not a command: "execute" must name it: %w`, c.name, err)
	}
	request := make(map[string]any, len(fields))
	for k, v := range fields {
		request[k] = v
	}
	m, err := c.exchange(context.Background(), name, request)
	if err != nil {
		return nil, err
	}
	reply := map[string]json.RawMessage{"return": m.Return}
	if id, ok := fields["id"]; ok {
		reply["id"] = id
	}
	return json.Marshal(reply)
}

// Events is part of go-qemu's Monitor: all events, until ctx ends or the
// connection does; then the channel is closed. [Conn.Subscribe] has more data.
func (c *Conn) Events(ctx context.Context) (<-chan gqmp.Event, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	s := c.Subscribe()
	out := make(chan gqmp.Event)
	c.workers.Go(func() {
		defer close(out)
		defer s.Close()
		for {
			select {
			case e, ok := <-s.C:
				if !ok {
					return
				}
				select {
				case out <- e.gqmp():
				case <-ctx.Done():
					return
				case <-c.done:
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return out, nil
}

func (e Event) gqmp() gqmp.Event {
	g := gqmp.Event{Event: e.Name, Data: e.Data}
	if !e.Time.IsZero() {
		g.Timestamp.Seconds = e.Time.Unix()
		g.Timestamp.Microseconds = int64(e.Time.Nanosecond() / 1000)
	}
	return g
}
