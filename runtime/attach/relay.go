// SPDX-License-Identifier: Apache-2.0

// Package attach connects users and programs to the VMs of a run, from another process:
// to the serial consoles, which a running run shares ([Relay]), and to the second
// monitors. The VMs of a run that has ended and kept them are reached through SSH.
//
//	vm, err := attach.Finder{Folder: "mhmig-results/latest"}.Find(ctx, "vm1")
//	console, err := vm.Console(ctx)
//	err = console.Talk(ctx, terminal.NewKeyboard(os.Stdin, os.Stdout), os.Stdout, true)
package attach

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/mhmig/mhmig/runtime/testbed"
)

// relayDir is the folder in the results, readable by its owner only, with the socket by
// which other processes attach to the consoles of a running run.
const relayDir = "attach"

// Instance identifies one QEMU of a run. A client of the relay sends it as a line of
// JSON, and receives an error message or an empty line, then the console's output.
type Instance struct{ Variant, VM, Host string }

// String is the instance as arguments of mhmig console.
func (i Instance) String() string {
	return fmt.Sprintf("%s --host %s --variant %s", i.VM, i.Host, i.Variant)
}

// Relay lets other processes attach to the consoles of a run.
type Relay struct {
	folder   *os.File
	listener net.Listener
	serving  sync.WaitGroup
	stop     context.CancelFunc

	mu   sync.Mutex // guards beds
	beds map[*testbed.Bed]bool
}

// Serve shares the consoles of the opened beds, until Close. results is the run's folder.
func Serve(ctx context.Context, results string) (*Relay, error) {
	dir := filepath.Join(results, relayDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", socketIn(folder))
	if err != nil {
		return nil, errors.Join(err, folder.Close(), os.Remove(dir))
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Relay{folder: folder, listener: listener, stop: stop, beds: map[*testbed.Bed]bool{}}
	r.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.serving.Go(func() { r.serve(ctx, conn) })
		}
	})
	return r, nil
}

// socketIn is a path of the socket in an open folder that is short enough for a unix
// socket, however long the folder's path is.
func socketIn(folder *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/console", folder.Fd())
}

// Opened shares a bed's consoles until closed is called.
func (r *Relay) Opened(bed *testbed.Bed) (closed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beds[bed] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.beds, bed)
	}
}

func (r *Relay) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buffered := bufio.NewReader(conn)
	line, err := buffered.ReadBytes('\n')
	var wanted Instance
	if err == nil {
		err = json.Unmarshal(line, &wanted)
	}
	if err != nil {
		_ = conn.Close()
		return
	}
	instance := r.find(wanted)
	if instance == nil || instance.Console == nil {
		fmt.Fprintf(conn, "the run has no console of %s@%s any more\n", wanted.VM, wanted.Host)
		_ = conn.Close()
		return
	}
	fmt.Fprintln(conn)
	instance.Log().Warn("a user has attached to the console: this may disturb the test")
	_ = instance.Console.Share(ctx, &bufferedConn{conn, buffered}) // the user sees why it ends
}

// bufferedConn is a connection that reads buffered data first.
type bufferedConn struct {
	net.Conn
	r io.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (r *Relay) find(wanted Instance) *testbed.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	for bed := range r.beds {
		if bed.Variant() != wanted.Variant {
			continue
		}
		for _, instance := range bed.Instances() {
			if instance.Name() == wanted.VM && instance.Host.Name() == wanted.Host {
				return instance
			}
		}
	}
	return nil
}

// Close closes all connections.
func (r *Relay) Close() error {
	r.stop()
	err := r.listener.Close()
	r.serving.Wait()
	return errors.Join(err, os.RemoveAll(r.folder.Name()), r.folder.Close())
}
