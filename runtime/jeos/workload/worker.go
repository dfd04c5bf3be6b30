// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// serve is the worker process. It ends on the word stop.
func serve(o options, stderr io.Writer) int {
	ready := os.NewFile(3, "ready")
	// Started by way of /proc/self/exe, it is called exe in ps and to killall.
	if err := os.WriteFile("/proc/self/comm", []byte(o.name), 0); err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	w, err := kinds[o.name].work(o)
	if err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	defer w.Close()
	listener, err := net.Listen("unix", o.socket())
	if err != nil {
		return say(stderr, statusFault, o.name, err.Error())
	}
	defer listener.Close()
	fmt.Fprintln(ready, "started:", w.progress())
	ready.Close()

	requests := make(chan request)
	var accepting sync.WaitGroup
	accepting.Go(func() { accept(listener, requests) })
	w.serve(requests)
	accepting.Wait() // until the answer to stop is sent
	return statusOK
}

// work is what a worker does. It has begun when it is made.
type work interface {
	// progress says how far it is.
	progress() string
	// serve goes on with the work and answers requests, each with the exit
	// status for the client and a line for people. It ends on the word stop.
	serve(requests <-chan request)
	io.Closer
}

// request is one word from a client.
type request struct {
	verb  string
	reply chan<- string
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
