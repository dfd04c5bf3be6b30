// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// qemu is a QEMU of a VM, on a host.
type qemu struct {
	w         *World
	g         *guest
	placement vm.Placement
	config    vm.Config
	shape     vm.Shape
	spec      vm.Spec
	launch    vm.Launch
	process   *qmptest.QEMU
	monitor   *qmp.Conn
	log       io.Closer
	serving   sync.WaitGroup
	ending    sync.Once
	killed    atomic.Bool // by Kill

	mu     sync.Mutex // guards what follows
	drives []*drive
	lost   bool // a page of the guest's memory, by the migration that it is the destination of
	closed bool // no connection is served any more
}

var (
	_ testbed.QEMU    = (*qemu)(nil)
	_ testbed.Plugger = (*qemu)(nil)
)

// Launch starts a QEMU; it is a [testbed.Launcher].
func (w *World) Launch(ctx context.Context, placement vm.Placement, c vm.Config, shape vm.Shape, launch vm.Launch) (testbed.QEMU, error) {
	if h := w.host(placement.Host.Name()); h == nil || h.Err() != nil {
		return nil, lostError(placement.Host.Name())
	}
	spec, err := vm.CommandLine(c, placement, shape, launch)
	if err != nil {
		return nil, err
	}
	for _, file := range spec.Files {
		if err := vm.CheckFile(ctx, placement.Host, file); err != nil {
			return nil, err
		}
	}
	q := &qemu{w: w, g: w.guest(c.Name), placement: placement, config: c, shape: shape, spec: spec, launch: launch}
	q.drives = q.drivesOf(spec.Options)
	script := qmptest.Script{
		Load: func() qmptest.Load { return q.g.load(c.MemoryBytes) }, Link: q.g.settings.Link,
		Progress: func(percent int) { w.progress(c.Name, percent) }, Execute: q.execute, Mirrored: q.mirrored,
		Recorded: func() []qmptest.Moment { return w.nextRecorded(c.Name) }, Command: q.command,
		RAM: q.ram, WriteFile: w.host(placement.Host.Name()).machine.Files.WriteFile,
	}
	q.process = qmptest.NewOn(w.network, script, launch.Incoming)
	if launch.Handover != nil {
		wait, on := q.process.Await, spec.Handover
		if launch.Descriptors == vm.ExecMode {
			wait, on = q.process.AwaitExec, spec.Script
		}
		if err := wait(ctx, on, func() { launch.Handover(spec) }); err != nil {
			q.process.Close()
			return nil, err
		}
	}
	client, server := net.Pipe()
	q.serving.Go(func() {
		q.process.Serve(server)
		_ = server.Close()
	})
	q.serving.Go(func() { // the connections of one that has exited are closed, and it does not listen
		<-q.process.Done()
		_ = server.Close()
		q.process.Stop()
	})
	transcript, err := placement.Artifacts("qmp.jsonl")
	if err != nil {
		q.end()
		return nil, err
	}
	q.log = transcript
	q.monitor, err = qmp.New(ctx, client, qmp.Options{
		Name: vm.InstanceName(c.Name, placement.ID) + "@" + placement.Host.Name(), Transcript: transcript, Logger: placement.Log, Timeout: c.MonitorTimeout,
	})
	if err != nil {
		q.end()
		return nil, errors.Join(err, transcript.Close())
	}
	events := q.monitor.Subscribe("STOP", "RESUME")
	q.serving.Go(func() {
		defer events.Close()
		for {
			select {
			case e, more := <-events.C:
				switch {
				case !more:
					return
				case e.Name == "STOP":
					q.g.standsStill()
				default:
					q.g.runs()
				}
			case <-q.process.Done():
				return
			}
		}
	})
	w.mu.Lock()
	w.qemus[c.Name] = append(w.qemus[c.Name], q)
	w.mu.Unlock()
	if launch.Incoming {
		w.launched(c.Name)
	} else {
		q.g.boot()
	}
	return q, nil
}

// nextRecorded is how the next migration of a VM is to go, nil if it is not replayed.
func (w *World) nextRecorded(vm string) []qmptest.Moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.moved[vm]
	w.moved[vm]++
	if n < len(w.Options.Recorded[vm]) {
		return w.Options.Recorded[vm][n]
	}
	return nil
}

// current is the QEMU that runs a VM's guest, nil if none does.
func (w *World) current(vm string) *qemu {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last *qemu
	for _, q := range w.qemus[vm] {
		if q.hasEnded() || q.process.RunState() == "inmigrate" || q.process.RunState() == "postmigrate" {
			continue
		}
		last = q
		if q.process.RunState() == "running" {
			return q
		}
	}
	return last
}

// params are those of a VM, wherever it is.
func (w *World) params(vm string) cartesian.Params { return w.Options.Params.Object(vm) }

func (w *World) password(vm string) string { return w.params(vm)["password"] }

// cpus is how many processors a VM has.
func (w *World) cpus(vm string) int {
	n, err := w.params(vm).Int("smp", 1)
	if err != nil {
		return 1
	}
	return n
}

func (q *qemu) hasEnded() bool {
	select {
	case <-q.process.Done():
		return true
	default:
		return false
	}
}

// The guest's RAM, as pmemsave saves it: only one page is not empty, and those after it
// that have the guest's files in memory.
const (
	ramBytes  = 1 << 20
	usedPage  = 17 << 12
	pageBytes = 1 << 12
)

// ram is the guest's RAM. What a migration has lost is lost for all later ones.
func (q *qemu) ram() []byte {
	q.w.mu.Lock()
	launched := slices.Clone(q.w.qemus[q.config.Name])
	q.w.mu.Unlock()
	content := make([]byte, ramBytes)
	copy(content[usedPage:], "what the guest has written")
	next := usedPage + pageBytes
	for _, file := range q.g.filesInMemory() {
		copy(content[min(next, ramBytes):], file)
		next += (len(file) + pageBytes - 1) / pageBytes * pageBytes
	}
	if !q.launch.Incoming { // though its destination may have been launched before it
		return content
	}
	for _, other := range launched {
		other.mu.Lock()
		if other.lost {
			clear(content[usedPage : usedPage+4096])
		}
		other.mu.Unlock()
		if other == q {
			break
		}
	}
	return content
}

// side is the role of the QEMU in a migration.
func (q *qemu) side() string {
	if q.launch.Incoming && q.process.RunState() == "inmigrate" {
		return destinationSide
	}
	return sourceSide
}

// execute answers what the test says, and what concerns devices.
func (q *qemu) execute(command string, arguments json.RawMessage) (value any, err error, answered bool) { //nolint:revive // as Script.Execute has it
	side := q.side()
	q.w.mu.Lock()
	q.w.commands = append(q.w.commands, Command{VM: q.config.Name, Host: q.placement.Host.Name(), Side: side, Name: command})
	var said *Reply
	for _, r := range q.w.Replies[q.config.Name] {
		if r.Command == command && (r.Side == "" || r.Side == side) && (r.Times == 0 || q.w.replied[r] < r.Times) {
			said = r
			q.w.replied[r]++
			break
		}
	}
	q.w.mu.Unlock()
	if said != nil {
		return said.Result, said.Err, true
	}
	if i := slices.Index(q.spec.Argv, "-uuid"); i >= 0 && command == "query-uuid" {
		return map[string]any{"UUID": q.spec.Argv[i+1]}, nil, true
	}
	return q.deviceCommand(command, arguments)
}

// Name, ID, Config, Spec and Monitor are as those of [vm.Instance].
func (q *qemu) Name() string       { return q.config.Name }
func (q *qemu) ID() int            { return q.placement.ID }
func (q *qemu) Config() vm.Config  { return q.config }
func (q *qemu) Spec() vm.Spec      { return q.spec }
func (q *qemu) Monitor() *qmp.Conn { return q.monitor }

func (q *qemu) Status(ctx context.Context) (string, error) {
	var reply struct{ Status string }
	err := q.monitor.Execute(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

func (q *qemu) Cont(ctx context.Context) error { return q.monitor.Execute(ctx, "cont", nil, nil) }
func (q *qemu) Stop(ctx context.Context) error { return q.monitor.Execute(ctx, "stop", nil, nil) }

func (q *qemu) Reset(ctx context.Context) error {
	return q.monitor.Execute(ctx, "system_reset", nil, nil)
}

func (q *qemu) Exited() <-chan struct{} { return q.monitor.Done() }

func (q *qemu) Exit(context.Context) *vm.ExitError {
	e := &vm.ExitError{VM: q.config.Name, Host: q.placement.Host.Name(), Status: vm.StillRuns}
	if !q.hasEnded() {
		return e
	}
	e.Status = 0
	if line := q.process.ExitMessage(); line != "" {
		e.Status, e.Log = 1, []string{line}
	}
	if q.process.Killed() { // before it could say anything
		e.Status, e.Log, e.Killed = 128+9, nil, q.killed.Load()
	}
	return e
}

func (q *qemu) Fault() *vm.ExitError {
	select {
	case <-q.w.host(q.placement.Host.Name()).Lost():
		return nil // nobody can tell
	default:
	}
	if exit := q.Exit(context.Background()); exit.Abnormal() {
		return exit
	}
	return nil
}

func (q *qemu) ProcessState(context.Context) (string, error) { return "a fake QEMU", nil }
func (q *qemu) LogTail(context.Context) []string             { return nil }

func (q *qemu) DialConsole(context.Context) (net.Conn, error) {
	return q.dial(func(conn net.Conn) { q.g.serveConsole(q, conn) }) //nolint:contextcheck // the guest's life is another one than the call's
}

func (q *qemu) DialClock(context.Context) (net.Conn, error) {
	return q.dial(func(conn net.Conn) { q.g.serveClock(q, conn) })
}

func (q *qemu) DialShell(context.Context) (net.Conn, error) {
	return q.dial(func(conn net.Conn) { q.g.serveSSH(q, conn) }) //nolint:contextcheck // as above
}

// dial connects to what serve serves, until the QEMU ends.
func (q *qemu) dial(serve func(net.Conn)) (net.Conn, error) {
	if err := q.w.host(q.placement.Host.Name()).Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.hasEnded() {
		return nil, errors.New("QEMU has ended")
	}
	client, server := net.Pipe()
	served := make(chan struct{})
	q.serving.Go(func() {
		defer close(served)
		serve(server)
	})
	q.serving.Go(func() {
		select {
		case <-q.process.Done():
		case <-served:
		}
		_ = server.Close()
	})
	return client, nil
}

func (q *qemu) ShellAddress(context.Context) (string, error) {
	return "", errors.New("a fake guest has no address")
}

func (q *qemu) KnownAddress() string { return "" }

func (q *qemu) Destroy(context.Context) error {
	_ = q.monitor.Close()
	q.end()
	if err := q.w.host(q.placement.Host.Name()).Err(); err != nil {
		return err
	}
	return q.log.Close()
}

// Kill ends it as SIGKILL does.
func (q *qemu) Kill(ctx context.Context) error {
	q.killed.Store(true)
	q.process.Die()
	return q.Destroy(ctx)
}

func (q *qemu) end() {
	q.ending.Do(func() {
		q.process.End()
		q.process.Stop()
		if q.monitor != nil {
			_ = q.monitor.Close()
		}
		q.mu.Lock()
		q.closed = true
		q.mu.Unlock()
		q.serving.Wait()
		q.process.Close()
	})
}

// Plug adds a disk or network card.
func (q *qemu) Plug(ctx context.Context, _, next vm.Config, _ []string, name string) error {
	spec, err := vm.CommandLine(next.Only(name), q.placement, q.shape, vm.Launch{})
	if err != nil {
		return err
	}
	for _, o := range spec.Options {
		command, arguments := o.QMP()
		if command != "device_add" || strings.HasPrefix(fmt.Sprint(arguments["id"]), "serial") || arguments["drive"] == nil && arguments["netdev"] == nil {
			continue
		}
		if err := q.monitor.Execute(ctx, command, arguments, nil); err != nil {
			return err
		}
	}
	q.plugDrives(q.drivesOf(spec.Options))
	return nil
}

// Unplug removes a disk or network card, and waits until the guest has released it.
func (q *qemu) Unplug(ctx context.Context, _ vm.Config, name string) error {
	events := q.monitor.Subscribe("DEVICE_DELETED")
	defer events.Close()
	if err := q.monitor.Execute(ctx, "device_del", map[string]any{"id": name}, nil); err != nil {
		return err
	}
	select {
	case <-events.C:
	case <-ctx.Done():
		return errors.Join(vm.ErrNotReleased, context.Cause(ctx))
	}
	q.mu.Lock()
	var id string
	q.drives = slices.DeleteFunc(q.drives, func(d *drive) bool {
		if d.is(name) {
			id = d.id
			return true
		}
		return false
	})
	q.mu.Unlock()
	if id != "" {
		q.g.kit.removeDrive(id)
	}
	return nil
}
