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
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Finder finds a VM of a run.
type Finder struct {
	Folder        string // of the run's results
	Host, Variant string // if several have such a VM; "": any
	Password      host.Secret

	Notice func(text string)        // prints which one was selected; may be nil
	Choose func(lines []string) int // lets the user select one of these, -1 if none; may be nil
}

// Endpoint is a VM that was found, and how to connect to it.
type Endpoint struct {
	Instance
	Running bool // the run is running

	folder string
	entry  ledger.Entry
	config host.Config
}

// Find looks for the VM in the run's ledger. Of several instances it selects the running
// one; if that is ambiguous, the user selects.
func (f Finder) Find(ctx context.Context, name string) (*Endpoint, error) {
	pending, running, err := ledger.Read(filepath.Join(f.Folder, hostsfile.LedgerFile))
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
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no VM exists now; exec --keep keeps those of failed variants", f.Folder))
	case len(found) == 0:
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: no VM %s, only:\n  %s", f.Folder, name, strings.Join(all, "\n  ")))
	}
	if err := f.locate(running, found); err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return f.choose(ctx, found)
}

// locate reads how the hosts of the VMs are reached.
func (f Finder) locate(running bool, found []*Endpoint) error {
	how, err := hostsfile.Load(f.Folder)
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	if how.EndsWithRun() && !running {
		return exit.Hosts.Wrap(fmt.Errorf("%s: its hosts were a lab that ended with the run", f.Folder))
	}
	for _, e := range found {
		if e.config, err = how.Config(e.Host); err != nil {
			return exit.Usage.Wrap(err)
		}
		e.config.Password = f.Password
	}
	return nil
}

// choose returns the running one of several instances.
func (f Finder) choose(ctx context.Context, found []*Endpoint) (*Endpoint, error) {
	lines := make([]string, len(found))
	runs := make([]bool, len(found))
	var querying sync.WaitGroup
	for i, e := range found {
		querying.Go(func() {
			var state string
			state, runs[i] = e.state(ctx)
			lines[i] = fmt.Sprintf("%s   # %s", e.Instance, state)
		})
	}
	querying.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	chosen := slices.Index(runs, true)
	if chosen >= 0 && !slices.Contains(runs[chosen+1:], true) {
		if f.Notice != nil {
			f.Notice(fmt.Sprintf("of %d instances of %s, the one on %s is running (--host selects another)", len(found), found[chosen].VM, found[chosen].Host))
		}
		return found[chosen], nil
	}
	if f.Choose != nil {
		if chosen = f.Choose(lines); chosen >= 0 && chosen < len(found) {
			return found[chosen], nil
		}
	}
	return nil, exit.Usage.Wrap(fmt.Errorf("%s has %d instances, want one of:\n  %s", found[0].VM, len(found), strings.Join(lines, "\n  ")))
}

// queryTimeout is for querying the state of a VM.
const queryTimeout = 5 * time.Second

// state is the VM's run state, and whether its guest runs.
func (e *Endpoint) state(ctx context.Context) (state string, running bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, queryTimeout, errors.New("no answer"))
	defer cancel()
	monitor, closeMonitor, err := e.monitor(ctx, queryTimeout)
	if err != nil {
		return printable.Line(err.Error()), false
	}
	defer func() { _ = closeMonitor() }() // it is not used any more
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
	greeting, cancel := context.WithTimeoutCause(ctx, 2*queryTimeout, errors.New("in use: the monitor serves one client at a time"))
	defer cancel()
	monitor, err := qmp.New(greeting, conn, qmp.Options{Name: e.VM + "@" + e.Host, Timeout: timeout})
	if err != nil {
		return nil, nil, errors.Join(exit.Hosts.Wrap(err), closeHost())
	}
	return monitor, func() error {
		_ = monitor.Close() // it is not used any more
		return closeHost()
	}, nil
}

// dial connects to a socket of the VM on its host; closeHost closes both.
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

// join requests the VM's console from the running run.
func (e *Endpoint) join() (net.Conn, error) {
	folder, err := os.Open(filepath.Join(e.folder, relayDir))
	if err != nil {
		return nil, fmt.Errorf("the run does not share its consoles: %w", err)
	}
	defer folder.Close()
	conn, err := net.Dial("unix", socketIn(folder))
	if err != nil {
		return nil, fmt.Errorf("the run does not share its consoles: %w", err)
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
