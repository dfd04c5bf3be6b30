// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// relayDir is the folder, in that of the results and for its owner only, where a
// running run has the socket by which others join the consoles that it holds.
const relayDir = "attach"

// instance names one QEMU of a run. A client of the relay sends it as a line of
// JSON, and gets an error's text or an empty line; then the console follows.
type instance struct{ Variant, VM, Host string }

func (i instance) String() string {
	return fmt.Sprintf("%s --host %s --variant %s", i.VM, i.Host, i.Variant)
}

// relay lets other processes join the consoles of a run.
type relay struct {
	folder   *os.File
	listener net.Listener
	serving  sync.WaitGroup
	stop     context.CancelFunc

	mu   sync.Mutex // guards beds
	beds map[*testbed.Bed]bool
}

// openRelay serves until Close.
func openRelay(ctx context.Context, results string) (*relay, error) {
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
	r := &relay{folder: folder, listener: listener, stop: stop, beds: map[*testbed.Bed]bool{}}
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

// socketIn is a path of the socket in an open folder that is short enough for a
// socket, however deep the folder lies.
func socketIn(folder *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/console", folder.Fd())
}

// opened lets a bed's consoles be joined until closed.
func (r *relay) opened(bed *testbed.Bed) (closed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.beds[bed] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.beds, bed)
	}
}

func (r *relay) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buffered := bufio.NewReader(conn)
	line, err := buffered.ReadBytes('\n')
	var wanted instance
	if err == nil {
		err = json.Unmarshal(line, &wanted)
	}
	if err != nil {
		_ = conn.Close()
		return
	}
	m := r.find(wanted)
	if m == nil || m.Console == nil {
		fmt.Fprintf(conn, "the run has no console of %s@%s any more\n", wanted.VM, wanted.Host)
		_ = conn.Close()
		return
	}
	fmt.Fprintln(conn)
	m.Log().Warn("a person has joined the console: the test may be disturbed")
	_ = m.Console.Share(ctx, &bufferedConn{conn, buffered}) // whatever ends it, the person sees
}

// bufferedConn reads what was read too far.
type bufferedConn struct {
	net.Conn
	r io.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (r *relay) find(wanted instance) *testbed.Machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	for bed := range r.beds {
		if bed.Variant() != wanted.Variant {
			continue
		}
		for _, m := range bed.Machines() {
			if m.Name() == wanted.VM && m.Host.Name() == wanted.Host {
				return m
			}
		}
	}
	return nil
}

// Close ends all that was joined.
func (r *relay) Close() error {
	r.stop()
	err := r.listener.Close()
	r.serving.Wait()
	return errors.Join(err, os.RemoveAll(r.folder.Name()), r.folder.Close())
}

// attachment is the flags of the commands that attach to a VM.
type attachment struct {
	run, results, host, variant, password string
}

func (a *attachment) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.run, "run", "", "results folder `DIR` of the run (default: the latest)")
	c.Flags().StringVar(&a.results, "results", "mhmig-results", "`DIR` of the folders of results")
	c.Flags().StringVar(&a.host, "host", "", "`NAME` of the host, where the VM is on several")
	c.Flags().StringVar(&a.variant, "variant", "", "`ID` of the variant, where several have such a VM")
	c.Flags().StringVar(&a.password, "ssh-password", "", "the hosts' `PASSWORD`, where the run had it from a param")
}

// door is a VM that was found, and how to get at it.
type door struct {
	instance
	folder  string
	entry   ledger.Entry
	running bool // the run goes on
	config  host.Config
}

// find looks for the VM in the run's ledger. Of several instances it is the one that
// runs; a person at the terminal is asked where that does not decide it.
func (a *attachment) find(ctx context.Context, name string, stderr io.Writer) (*door, error) {
	folder := a.run
	if folder == "" {
		folder = filepath.Join(a.results, result.LatestLink)
	}
	pending, running, err := ledger.Read(filepath.Join(folder, ledgerFile))
	if err != nil {
		return nil, exit.Usage.Wrap(fmt.Errorf("%s is no results folder of mhmig exec: %w", folder, err))
	}
	var all []string
	var found []*door
	for _, e := range pending {
		i := instance{e.Data[vm.DataVariant], e.Data[vm.DataVM], e.Host}
		if e.Kind != ledger.Process || i.VM == "" {
			continue
		}
		all = append(all, i.String())
		if i.VM == name && (a.host == "" || a.host == i.Host) && (a.variant == "" || a.variant == i.Variant) {
			found = append(found, &door{instance: i, entry: e, folder: folder, running: running})
		}
	}
	switch {
	case len(all) == 0:
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no VM is there now; exec --keep leaves those of failed variants", folder))
	case len(found) == 0:
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no such VM %s there, only:\n  %s", folder, name, strings.Join(all, "\n  ")))
	}
	if err := a.reach(folder, running, found); err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return choose(ctx, found, stderr)
}

// reach notes how the hosts of the doors are reached.
func (a *attachment) reach(folder string, running bool, doors []*door) error {
	how, err := loadReach(folder)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	if how.diesWithRun() && !running {
		return exit.Hosts.Wrap(fmt.Errorf("%s: its hosts were a lab of the run's own and went with it", folder))
	}
	for _, d := range doors {
		i := slices.IndexFunc(how.Hosts, func(c host.Config) bool { return c.Name == d.Host })
		if i < 0 {
			return exit.Usage.Wrap(fmt.Errorf("%s does not say how to reach %s", reachFile, d.Host))
		}
		d.config = how.Hosts[i]
		d.config.Password = host.Secret(a.password)
	}
	return nil
}

// choose returns the one of several instances that runs.
func choose(ctx context.Context, doors []*door, stderr io.Writer) (*door, error) {
	lines := make([]string, len(doors))
	runs := make([]bool, len(doors))
	var asking sync.WaitGroup
	for i, d := range doors {
		asking.Go(func() {
			var state string
			state, runs[i] = d.state(ctx)
			lines[i] = fmt.Sprintf("%s   # %s", d.instance, state)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	chosen := slices.Index(runs, true)
	if chosen >= 0 && !slices.Contains(runs[chosen+1:], true) {
		fmt.Fprintf(stderr, "mhmig: of %d instances of %s, that on %s runs (--host chooses another)\n", len(doors), doors[chosen].VM, doors[chosen].Host)
		return doors[chosen], nil
	}
	several := exit.Usage.Wrap(fmt.Errorf("%s is there %d times, want one of:\n  %s", doors[0].VM, len(doors), strings.Join(lines, "\n  ")))
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, several
	}
	for i, line := range lines {
		fmt.Fprintf(stderr, "%d: %s\n", i+1, line)
	}
	fmt.Fprintf(stderr, "Which one? [1-%d] ", len(lines))
	var answer int
	_, _ = fmt.Fscanln(os.Stdin, &answer) // no answer is none of them
	if answer < 1 || answer > len(doors) {
		return nil, several
	}
	return doors[answer-1], nil
}

// state is what the VM's QEMU says of itself, and whether its guest runs.
func (d *door) state(ctx context.Context) (state string, running bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errors.New("it does not answer"))
	defer cancel()
	monitor, closeMonitor, err := d.monitor(ctx, askTimeout)
	if err != nil {
		return printable.Line(err.Error()), false
	}
	defer func() { _ = closeMonitor() }() // it has said what it is for
	var status struct {
		Status  string
		Running bool
	}
	if err := monitor.Execute(ctx, "query-status", nil, &status); err != nil {
		return printable.Line(err.Error()), false
	}
	return printable.Line(status.Status), status.Running
}

// monitor connects to the VM's second monitor; timeout limits each command.
func (d *door) monitor(ctx context.Context, timeout time.Duration) (_ *qmp.Conn, closeAll func() error, err error) {
	conn, closeHost, err := d.dial(ctx, vm.DataQMP, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	greeting, cancel := context.WithTimeoutCause(ctx, 2*askTimeout, errors.New("it is taken: one at a time can use it"))
	defer cancel()
	monitor, err := qmp.New(greeting, conn, qmp.Options{Name: d.VM + "@" + d.Host, Timeout: timeout})
	if err != nil {
		return nil, nil, errors.Join(exit.Hosts.Wrap(err), closeHost())
	}
	return monitor, func() error {
		_ = monitor.Close() // nobody asks any more
		return closeHost()
	}, nil
}

// dial connects to a socket of the VM's on its host; close ends both.
func (d *door) dial(ctx context.Context, key string, log *slog.Logger) (conn net.Conn, closeHost func() error, err error) {
	h, err := host.Dial(ctx, d.config, log)
	if err != nil {
		return nil, nil, exit.Hosts.Wrap(err)
	}
	if conn, err = h.Dial(ctx, "unix", d.entry.Data[key]); err != nil {
		return nil, nil, exit.Hosts.Wrap(errors.Join(fmt.Errorf("%s@%s: has its QEMU ended? %w", d.VM, d.Host, err), h.Close()))
	}
	return conn, h.Close, nil
}

// join asks the run that goes on for the VM's console.
func (d *door) join() (net.Conn, error) {
	folder, err := os.Open(filepath.Join(d.folder, relayDir))
	if err != nil {
		return nil, fmt.Errorf("the run offers no consoles: %w", err)
	}
	defer folder.Close()
	conn, err := net.Dial("unix", socketIn(folder))
	if err != nil {
		return nil, fmt.Errorf("the run offers no consoles: %w", err)
	}
	request, err := json.Marshal(d.instance)
	if err == nil {
		_, err = conn.Write(append(request, '\n'))
	}
	buffered := bufio.NewReader(conn)
	var answer string
	if err == nil {
		answer, err = buffered.ReadString('\n')
	}
	if answer = strings.TrimSpace(answer); err == nil && answer != "" {
		err = errors.New(answer)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &bufferedConn{conn, buffered}, nil
}
