// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// tick is how often a worker with a rate writes its share.
const tick = 10 * time.Millisecond

// serve is the worker process. It ends on the word stop.
func serve(o options, stderr io.Writer) int {
	ready := os.NewFile(3, "ready")
	// Started by way of /proc/self/exe, it is called exe in ps and to killall.
	if err := os.WriteFile("/proc/self/comm", []byte(o.name), 0); err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	w, err := newWorker(o)
	if err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	defer w.sweep.medium.Close()
	listener, err := net.Listen("unix", o.socket())
	if err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	defer listener.Close()
	fmt.Fprintln(ready, "started:", w.sweep.progress())
	ready.Close()

	requests := make(chan request)
	var accepting sync.WaitGroup
	accepting.Go(func() { accept(listener, requests) })
	w.work(requests)
	accepting.Wait() // until the answer to stop is sent
	return statusOK
}

// worker sweeps and answers. All of it happens in the goroutine that calls
// work, so a check sees the pages as they are between two rewrites.
type worker struct {
	sweep *sweep
	rate  int64 // bytes per second, or 0
	err   error // of the medium; nothing is written any more
}

func newWorker(o options) (*worker, error) {
	m, err := kinds[o.name](o)
	if err != nil {
		return nil, err
	}
	s, err := newSweep(m, rand.Uint64())
	if err != nil {
		m.Close()
		return nil, err
	}
	return &worker{sweep: s, rate: o.rate}, nil
}

// request is one word from a client.
type request struct {
	verb  string
	reply chan<- string
}

// work rewrites pages at the rate until it is asked to stop.
func (w *worker) work(requests <-chan request) {
	var due <-chan time.Time
	share := int64(chunk * pageSize) // bytes
	if w.rate > 0 {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		due, share = ticker.C, w.rate*int64(tick)/int64(time.Second)
	} else {
		always := make(chan time.Time)
		close(always)
		due = always
	}
	owed := int64(0) // bytes
	for {
		if w.err != nil || w.sweep.fault != nil {
			due = nil // the damage is kept as it was found
		}
		select {
		case <-due:
			owed += share
			w.err = w.sweep.advance(int(owed / pageSize))
			owed %= pageSize
		case r := <-requests:
			r.reply <- w.answer(r.verb)
			if r.verb == "stop" {
				return
			}
		}
	}
}

// answer returns the exit status for the client and a line for people.
func (w *worker) answer(verb string) string {
	damaged := 0
	if verb == "check" && w.err == nil {
		damaged, w.err = w.sweep.check()
	}
	switch {
	case verb == "stop":
		return fmt.Sprintf("%d stopped: %s", statusOK, w.sweep.progress())
	case w.err != nil:
		return fmt.Sprintf("%d FAILED: %v; %s", statusFault, w.err, w.sweep.progress())
	case damaged > 0:
		return fmt.Sprintf("%d FAILED: %d damaged pages, first found %v; %s", statusFault, damaged, w.sweep.fault, w.sweep.progress())
	case w.sweep.fault != nil:
		return fmt.Sprintf("%d FAILED: %v; %s", statusFault, w.sweep.fault, w.sweep.progress())
	case verb == "check":
		return fmt.Sprintf("%d OK: every page verified; %s", statusOK, w.sweep.progress())
	default:
		return fmt.Sprintf("%d running: %s", statusOK, w.sweep.progress())
	}
}

// accept passes each client's word on and its answer back, up to stop.
func accept(l net.Listener, requests chan<- request) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		verb := strings.TrimSpace(line)
		if err == nil {
			reply := make(chan string)
			requests <- request{verb: verb, reply: reply}
			fmt.Fprintln(conn, <-reply)
		}
		conn.Close()
		if verb == "stop" {
			return
		}
	}
}
