// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}` + "\n"

// fake is a scripted QEMU at the other end of a pipe.
type fake struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

// request is a command as the fake receives it.
type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// pipe returns a client's end and a fake on the other, which runs script until it
// returns. The fake's end is closed then; the test waits for it.
func pipe(t *testing.T, script func(*fake)) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	f := &fake{t: t, conn: server, in: bufio.NewScanner(server)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer server.Close()
		script(f)
	})
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
	})
	return client
}

// connect negotiates with a fake that then runs script.
func connect(t *testing.T, o qmp.Options, script func(*fake)) *qmp.Conn {
	t.Helper()
	c, err := qmp.New(t.Context(), pipe(t, func(f *fake) {
		f.greet()
		script(f)
	}), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (f *fake) greet() {
	f.send(greeting)
	f.reply(f.next(), `{}`)
}

// send writes text as it is. The client may be gone by then: the test's own
// assertions tell.
func (f *fake) send(text string) { _, _ = io.WriteString(f.conn, text) }

// next is the client's next request; the zero request when the client is gone.
func (f *fake) next() request {
	var r request
	if f.in.Scan() {
		if err := json.Unmarshal(f.in.Bytes(), &r); err != nil {
			f.t.Errorf("the client sent %q: %v", f.in.Text(), err)
		}
	}
	return r
}

func (f *fake) reply(r request, value string) {
	id, _ := json.Marshal(r.ID)
	f.send(`{"return": ` + value + `, "id": ` + string(id) + "}\r\n")
}

func (f *fake) event(name, data string) {
	f.send(`{"timestamp": {"seconds": 1700000000, "microseconds": 250000}, "event": "` + name + `", "data": ` + data + "}\r\n")
}

// serve answers every request by answer until the client is gone.
func (f *fake) serve(answer func(request)) {
	for {
		r := f.next()
		if r.Execute == "" {
			return
		}
		answer(r)
	}
}
