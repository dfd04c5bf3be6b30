// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/reach"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Finder says which VM of which run is meant.
type Finder struct {
	Folder        string // of the run's results
	Host, Variant string // where several have such a VM; "": any
	Password      host.Secret

	Notice func(text string)        // tells the user which one was taken; may be nil
	Choose func(lines []string) int // asks the user for one of these, -1 if none; nil: there is nobody
}

// Endpoint is a VM that was found, and how to get at it.
type Endpoint struct {
	Instance
	Running bool // the run goes on

	folder string
	entry  ledger.Entry
	config host.Config
}

// Find looks for the VM in the run's ledger. Of several instances it is the one that
// runs; the user is asked where that does not decide it.
func (f Finder) Find(ctx context.Context, name string) (*Endpoint, error) {
	pending, running, err := ledger.Read(filepath.Join(f.Folder, reach.LedgerFile))
	if err != nil {
		return nil, exit.Usage.Wrap(fmt.Errorf("%s is no results folder of mhmig exec: %w", f.Folder, err))
	}
	var all []string
	var found []*Endpoint
	for _, e := range pending {
		i := Instance{e.Data[vm.DataVariant], e.Data[vm.DataVM], e.Host}
		if e.Kind != ledger.Process || i.VM == "" {
			continue
		}
		all = append(all, i.String())
		if i.VM == name && (f.Host == "" || f.Host == i.Host) && (f.Variant == "" || f.Variant == i.Variant) {
			found = append(found, &Endpoint{Instance: i, entry: e, folder: f.Folder, Running: running})
		}
	}
	switch {
	case len(all) == 0:
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no VM is there now; exec --keep leaves those of failed variants", f.Folder))
	case len(found) == 0:
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no such VM %s there, only:\n  %s", f.Folder, name, strings.Join(all, "\n  ")))
	}
	if err := f.locate(running, found); err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return f.choose(ctx, found)
}

// locate finds out how the hosts of the VMs are reached.
func (f Finder) locate(running bool, found []*Endpoint) error {
	how, err := reach.Load(f.Folder)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	if how.EndsWithRun() && !running {
		return exit.Hosts.Wrap(fmt.Errorf("%s: its hosts were a lab of the run's own and went with it", f.Folder))
	}
	for _, e := range found {
		if e.config, err = how.Config(e.Host); err != nil {
			return exit.Usage.Wrap(err)
		}
		e.config.Password = f.Password
	}
	return nil
}

// choose returns the one of several instances that runs.
func (f Finder) choose(ctx context.Context, found []*Endpoint) (*Endpoint, error) {
	lines := make([]string, len(found))
	runs := make([]bool, len(found))
	var asking sync.WaitGroup
	for i, e := range found {
		asking.Go(func() {
			var state string
			state, runs[i] = e.state(ctx)
			lines[i] = fmt.Sprintf("%s   # %s", e.Instance, state)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	chosen := slices.Index(runs, true)
	if chosen >= 0 && !slices.Contains(runs[chosen+1:], true) {
		if f.Notice != nil {
			f.Notice(fmt.Sprintf("of %d instances of %s, that on %s runs (--host chooses another)", len(found), found[chosen].VM, found[chosen].Host))
		}
		return found[chosen], nil
	}
	if f.Choose != nil {
		if chosen = f.Choose(lines); chosen >= 0 && chosen < len(found) {
			return found[chosen], nil
		}
	}
	return nil, exit.Usage.Wrap(fmt.Errorf("%s is there %d times, want one of:\n  %s", found[0].VM, len(found), strings.Join(lines, "\n  ")))
}

// askTimeout is for asking a VM what it does.
const askTimeout = 5 * time.Second

// state is what the VM's QEMU says of itself, and whether its guest runs.
func (e *Endpoint) state(ctx context.Context) (state string, running bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, errors.New("it does not answer"))
	defer cancel()
	monitor, closeMonitor, err := e.monitor(ctx, askTimeout)
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
func (e *Endpoint) monitor(ctx context.Context, timeout time.Duration) (_ *qmp.Conn, closeAll func() error, err error) {
	conn, closeHost, err := e.dial(ctx, vm.DataQMP, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	greeting, cancel := context.WithTimeoutCause(ctx, 2*askTimeout, errors.New("it is taken: one at a time can use it"))
	defer cancel()
	monitor, err := qmp.New(greeting, conn, qmp.Options{Name: e.VM + "@" + e.Host, Timeout: timeout})
	if err != nil {
		return nil, nil, errors.Join(exit.Hosts.Wrap(err), closeHost())
	}
	return monitor, func() error {
		_ = monitor.Close() // nobody asks any more
		return closeHost()
	}, nil
}

// dial connects to a socket of the VM's on its host; close ends both.
func (e *Endpoint) dial(ctx context.Context, key string, log *slog.Logger) (conn net.Conn, closeHost func() error, err error) {
	h, err := host.Dial(ctx, e.config, log)
	if err != nil {
		return nil, nil, exit.Hosts.Wrap(err)
	}
	if conn, err = h.Dial(ctx, "unix", e.entry.Data[key]); err != nil {
		return nil, nil, exit.Hosts.Wrap(errors.Join(fmt.Errorf("%s@%s: has its QEMU ended? %w", e.VM, e.Host, err), h.Close()))
	}
	return conn, h.Close, nil
}

// join asks the run that goes on for the VM's console.
func (e *Endpoint) join() (net.Conn, error) {
	folder, err := os.Open(filepath.Join(e.folder, relayDir))
	if err != nil {
		return nil, fmt.Errorf("the run offers no consoles: %w", err)
	}
	defer folder.Close()
	conn, err := net.Dial("unix", socketIn(folder))
	if err != nil {
		return nil, fmt.Errorf("the run offers no consoles: %w", err)
	}
	request, err := json.Marshal(e.Instance)
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
