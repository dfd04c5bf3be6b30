// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// ScriptedQEMUs launches scripted QEMUs in the test's own process: a test of hundreds
// of migrations has no processes to start. Its Launch is that of a
// [testbed.Config]; its methods may be called from any goroutine.
type ScriptedQEMUs struct {
	network *qmptest.Memory // between all of them

	mu       sync.Mutex                   // guards what follows
	consoles map[string]string            // VM -> what its guest prints on its console
	dialed   map[string]func() error      // VM -> called when its console is dialed
	guests   map[string]*Guest            // by VM
	spares   bool                         // QEMUs have a second monitor
	scripts  map[string][2]qmptest.Script // VM -> of the instance that is started, of the one that is incoming
	launched map[string][]*scriptedQEMU   // VM -> its instances
}

// NewScriptedQEMUs returns scripted QEMUs without faults.
func NewScriptedQEMUs() *ScriptedQEMUs {
	return &ScriptedQEMUs{network: qmptest.NewMemory(), consoles: map[string]string{}, dialed: map[string]func() error{}, guests: map[string]*Guest{}, scripts: map[string][2]qmptest.Script{}, launched: map[string][]*scriptedQEMU{}}
}

// Script sets the scripts of a VM's instances. A script's StopAt calls its Stop or,
// if that is nil, freezes the QEMU.
func (s *ScriptedQEMUs) Script(name string, source, destination qmptest.Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[name] = [2]qmptest.Script{source, destination}
}

// ConsoleOutput gives a VM's guest a console, on which it prints text at each start.
func (s *ScriptedQEMUs) ConsoleOutput(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consoles[name] = text
}

// ConsoleDialed gives a VM a console, and calls f whenever it is dialed, which then fails
// with f's error.
func (s *ScriptedQEMUs) ConsoleDialed(name string, f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialed[name] = f
}

// Guest gives a VM a guest to log in to, in whichever of its instances it is.
func (s *ScriptedQEMUs) Guest(name string, g *Guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guests[name] = g
}

// SpareMonitors gives the QEMUs that are launched from now on a second monitor, like
// QEMU's: a client waits for its greeting until the one before has gone.
func (s *ScriptedQEMUs) SpareMonitors() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spares = true
}

// spareOf returns the QEMU that has this second monitor, nil if there is none.
func (s *ScriptedQEMUs) spareOf(socket string) *scriptedQEMU {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range s.launched {
		for _, i := range all {
			if i.spec.SpareQMP == socket {
				return i
			}
		}
	}
	return nil
}

// spareHost is a host on which the second monitors of scripted QEMUs are reached.
type spareHost struct {
	testbed.Remote
	qemus *ScriptedQEMUs
}

func (h spareHost) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	i := h.qemus.spareOf(address)
	if i == nil {
		return h.Remote.Dial(ctx, network, address)
	}
	return i.connect(func(conn net.Conn) {
		select {
		case i.spare <- struct{}{}:
			i.process.Serve(conn)
			<-i.spare
		case <-i.process.Done():
		}
	})
}

// Latest returns the scripted QEMU of a VM that was launched last, nil if there is none.
func (s *ScriptedQEMUs) Latest(name string) *qmptest.QEMU {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.launched[name]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1].process
}

// Of returns the scripted QEMU of an instance.
func Of(i *testbed.Instance) *qmptest.QEMU { return i.QEMU.(*scriptedQEMU).process }

// scriptedQEMU is a scripted QEMU of this process.
type scriptedQEMU struct {
	placement vm.Placement
	config    vm.Config
	spec      vm.Spec
	output    string       // of the console
	dialed    func() error // called when the console is dialed; nil: nothing is
	guest     *Guest       // nil: none
	process   *qmptest.QEMU
	monitor   *qmp.Conn
	spare     chan struct{} // full while the second monitor has a client
	serving   sync.WaitGroup
	log       io.Closer
	killed    atomic.Bool // by Kill

	mu    sync.Mutex // guards ended
	ended bool       // no connection is served any more
}

var (
	_ testbed.QEMU    = (*scriptedQEMU)(nil)
	_ testbed.Plugger = (*scriptedQEMU)(nil)
)

// Launch is a [testbed.Launcher].
func (s *ScriptedQEMUs) Launch(ctx context.Context, placement vm.Placement, c vm.Config, _ vm.Shape, launch vm.Launch) (testbed.QEMU, error) {
	s.mu.Lock()
	script, output, dialed, guest, spares := s.scripts[c.Name][0], s.consoles[c.Name], s.dialed[c.Name], s.guests[c.Name], s.spares
	if launch.Incoming {
		script = s.scripts[c.Name][1]
	}
	s.mu.Unlock()
	files := path.Join(placement.RunDir, vm.InstanceName(c.Name, placement.ID))
	i := &scriptedQEMU{placement: placement, config: c, spec: vm.Spec{Migration: files + ".mig", State: files + ".state", Exec: files + ".exec", Handover: files + ".cpr", Script: files + ".sh"}, output: output, dialed: dialed, guest: guest, spare: make(chan struct{}, 1)}
	if spares {
		i.spec.SpareQMP = files + ".spare"
	}
	if output != "" || dialed != nil {
		i.spec.Serials = []string{"console"}
	}
	if guest != nil {
		i.spec.Clock = "clock"
		if err := i.startGuest(ctx, launch); err != nil {
			return nil, err
		}
	}
	switch {
	case script.Stop != nil:
	case script.Die:
		script.Stop = func() { i.process.Die() }
	default:
		script.Stop = func() { i.process.Freeze() }
	}
	i.process = qmptest.NewOn(s.network, script, launch.Incoming)
	if launch.Handover != nil {
		wait, on := i.process.Await, i.spec.Handover
		if launch.Descriptors == vm.ExecMode {
			wait, on = i.process.AwaitExec, i.spec.Script
		}
		if err := wait(ctx, on, func() { launch.Handover(i.spec) }); err != nil {
			i.process.Close()
			if exit := i.Exit(ctx); exit.Status != vm.StillRuns {
				return nil, exit
			}
			return nil, err
		}
	}
	client, err := i.connect(i.process.Serve)
	if err != nil {
		return nil, err
	}
	transcript, err := placement.Artifacts("qmp.jsonl")
	if err != nil {
		i.end()
		return nil, err
	}
	i.log = transcript
	i.monitor, err = qmp.New(ctx, client, qmp.Options{
		Name: vm.InstanceName(c.Name, placement.ID) + "@" + placement.Host.Name(), Transcript: transcript, Logger: placement.Log, Timeout: c.MonitorTimeout,
	})
	if err != nil {
		i.end()
		return nil, errors.Join(err, transcript.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.launched[c.Name] = append(s.launched[c.Name], i)
	return i, nil
}

func (i *scriptedQEMU) Name() string       { return i.config.Name }
func (i *scriptedQEMU) ID() int            { return i.placement.ID }
func (i *scriptedQEMU) Config() vm.Config  { return i.config }
func (i *scriptedQEMU) Spec() vm.Spec      { return i.spec }
func (i *scriptedQEMU) Monitor() *qmp.Conn { return i.monitor }

func (i *scriptedQEMU) Status(ctx context.Context) (string, error) {
	var reply struct{ Status string }
	err := i.monitor.Execute(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

func (i *scriptedQEMU) Cont(ctx context.Context) error {
	return i.monitor.Execute(ctx, "cont", nil, nil)
}

func (i *scriptedQEMU) Stop(ctx context.Context) error {
	return i.monitor.Execute(ctx, "stop", nil, nil)
}

func (i *scriptedQEMU) Reset(ctx context.Context) error {
	if i.guest != nil {
		i.guest.Boot()
	}
	return i.monitor.Execute(ctx, "system_reset", nil, nil)
}

func (i *scriptedQEMU) Exited() <-chan struct{} { return i.monitor.Done() }

func (i *scriptedQEMU) Exit(context.Context) *vm.ExitError {
	e := &vm.ExitError{VM: i.config.Name, Host: i.placement.Host.Name(), Status: vm.StillRuns}
	select {
	case <-i.process.Done():
		e.Status = 0
		if line := i.process.ExitMessage(); line != "" {
			e.Status, e.Log = 1, []string{line}
		}
		if i.process.Killed() { // and says nothing more
			e.Status, e.Log, e.Killed = 128+9, nil, i.killed.Load()
		}
	default:
	}
	return e
}

func (i *scriptedQEMU) Fault() *vm.ExitError {
	if exit := i.Exit(context.Background()); exit.Abnormal() {
		return exit
	}
	return nil
}

func (i *scriptedQEMU) ProcessState(context.Context) (string, error) { return "scripted", nil }
func (i *scriptedQEMU) LogTail(context.Context) []string             { return nil }

var (
	errNoGuest = errors.New("a scripted QEMU has no guest")
	errEnded   = errors.New("the scripted QEMU has ended")
)

// DialConsole connects to a guest that prints its output, and nothing more.
func (i *scriptedQEMU) DialConsole(context.Context) (net.Conn, error) {
	if i.dialed != nil {
		if err := i.dialed(); err != nil {
			return nil, err
		}
	}
	return i.connect(func(conn net.Conn) {
		_, _ = conn.Write([]byte(i.output))
		_, _ = io.Copy(io.Discard, conn)
	})
}

// DialClock connects to the port of the guest's clock stamps.
func (i *scriptedQEMU) DialClock(context.Context) (net.Conn, error) {
	return i.dialGuest((*Guest).serveClock)
}

// DialShell connects to the guest's SSH server.
func (i *scriptedQEMU) DialShell(context.Context) (net.Conn, error) {
	return i.dialGuest(func(g *Guest, _ *qmptest.QEMU, conn net.Conn) { g.serveSSH(conn) })
}

func (i *scriptedQEMU) dialGuest(serve func(*Guest, *qmptest.QEMU, net.Conn)) (net.Conn, error) {
	if i.guest == nil {
		return nil, errNoGuest
	}
	return i.connect(func(conn net.Conn) { serve(i.guest, i.process, conn) })
}

// connect returns the client's end of a connection that serve serves until it returns or
// the QEMU has exited.
func (i *scriptedQEMU) connect(serve func(net.Conn)) (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return nil, errEnded
	}
	client, server := net.Pipe()
	i.serving.Go(func() {
		serve(server)
		_ = server.Close()
	})
	i.serving.Go(func() {
		<-i.process.Done()
		_ = server.Close()
	})
	return client, nil
}

func (i *scriptedQEMU) ShellAddress(context.Context) (string, error) { return "", errNoGuest }
func (i *scriptedQEMU) KnownAddress() string                         { return "" }

func (i *scriptedQEMU) Destroy(context.Context) error {
	_ = i.monitor.Close()
	i.end()
	return i.log.Close()
}

// Kill ends it as SIGKILL does.
func (i *scriptedQEMU) Kill(ctx context.Context) error {
	i.killed.Store(true)
	i.process.Die()
	return i.Destroy(ctx)
}

func (i *scriptedQEMU) end() {
	i.process.End()
	i.process.Stop()
	i.mu.Lock()
	i.ended = true
	i.mu.Unlock()
	i.serving.Wait()
	i.process.Close()
}

// ScriptedBed is a bed whose VMs, vm1 to vmN, have scripted QEMUs.
type ScriptedBed struct {
	*Bed
	QEMUs *ScriptedQEMUs
}

// NewScriptedBed returns a prepared bed of two hosts, whose VMs have scripted QEMUs.
func NewScriptedBed(t testing.TB, vms int, params cartesian.Params) *ScriptedBed {
	t.Helper()
	hosts, folders := LocalHosts(t, 2)
	return NewScriptedBedOn(t, hosts, folders, vms, params)
}

// NewScriptedBedOn is NewScriptedBed on these hosts, which are or use local ones with
// these params.
func NewScriptedBedOn(t testing.TB, hosts []testbed.Remote, folders cartesian.Params, vms int, params cartesian.Params) *ScriptedBed {
	t.Helper()
	all := NoQEMU(t)
	all["vms"] = ""
	for n := range vms {
		all["vms"] += fmt.Sprintf(" vm%d", n+1)
	}
	all["start_migration_timeout"], all["not_login_after_mig"] = "0.001", "yes"
	maps.Copy(all, params)
	b := &ScriptedBed{QEMUs: NewScriptedQEMUs()}
	for i, h := range hosts {
		hosts[i] = spareHost{h, b.QEMUs}
	}
	shipped := filepath.Join(tempDir(t), "shipped")
	if err := os.WriteFile(shipped, []byte("a kernel or an initrd"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Bed = newBed(t, hosts, folders, all, func(string) (string, error) { return shipped, nil }, b.QEMUs.Launch)
	if err := b.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}
