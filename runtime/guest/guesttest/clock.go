// SPDX-License-Identifier: Apache-2.0

package guesttest

import (
	"bufio"
	"net"
	"sync"
	"time"

	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
)

// ServeClock serves one client of a guest's clock until it has gone or done is closed, and
// closes the connection. Each period it sends the stamp of next, if there is one, and
// calls restored with the life that a client gives a guest that it has restored.
func ServeClock(conn net.Conn, done <-chan struct{}, restored func(life uint64), next func() (stamp clockwork.Stamp, ok bool)) {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer conn.Close()
	closed := make(chan struct{})
	serving.Go(func() {
		defer close(closed)
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			if r, ok := clockwork.ParseRestored(lines.Bytes()); ok {
				restored(r.Life())
			}
		}
	})
	tick := time.NewTicker(clockwork.Period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-closed:
			return
		case <-done:
			return
		}
		stamp, ok := next()
		if !ok {
			continue
		}
		if _, err := conn.Write(stamp.Append(nil)); err != nil {
			return
		}
	}
}
