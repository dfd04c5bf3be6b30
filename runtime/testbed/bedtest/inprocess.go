// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path"
	"sync"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Stage has scripted QEMUs that live in the test's own process: a test of hundreds
// of migrations has no processes to start. Its Launch is that of a
// [testbed.Config]; its methods may be called from any goroutine.
type Stage struct {
	mu       sync.Mutex                   // guards what follows
	consoles map[string]string            // VM -> what its guest says on its console
	scripts  map[string][2]qmptest.Script // VM -> the one that starts there, the one that waits for it
	played   map[string][]*scripted       // VM -> its instances
}

// NewStage returns a stage on which every VM is well.
func NewStage() *Stage {
	return &Stage{consoles: map[string]string{}, scripts: map[string][2]qmptest.Script{}, played: map[string][]*scripted{}}
}

// Play gives a VM's instances scripts. A script's StopAt ends in its Stop or, if
// that is nil, in a machine that is frozen.
func (s *Stage) Play(name string, source, destination qmptest.Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[name] = [2]qmptest.Script{source, destination}
}

// Say gives a VM's guest a console, on which it says text each time that it starts.
func (s *Stage) Say(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consoles[name] = text
}

// Machine is the scripted QEMU of a VM that was launched last, nil if there is none.
func (s *Stage) Machine(name string) *qmptest.Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.played[name]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1].machine
}

// scripted is an instance whose QEMU is a scripted one of this process.
type scripted struct {
	placement vm.Placement
	config    vm.Config
	spec      vm.Spec
	said      string // on the console
	machine   *qmptest.Machine
	monitor   *qmp.Conn
	serving   sync.WaitGroup
	log       io.Closer
}

var _ testbed.QEMU = (*scripted)(nil)

// Launch is a [testbed.Launcher].
func (s *Stage) Launch(ctx context.Context, placement vm.Placement, c vm.Config, _ vm.Shape, launch vm.Launch) (testbed.QEMU, error) {
	s.mu.Lock()
	script, said := s.scripts[c.Name][0], s.consoles[c.Name]
	if launch.Incoming {
		script = s.scripts[c.Name][1]
	}
	s.mu.Unlock()
	i := &scripted{placement: placement, config: c, spec: vm.Spec{Migration: path.Join(placement.RunDir, vm.InstanceName(c.Name, placement.ID)+".mig")}, said: said}
	if said != "" {
		i.spec.Serials = []string{"console"}
	}
	switch {
	case script.Stop != nil:
	case script.Die:
		script.Stop = func() { i.machine.Die() }
	default:
		script.Stop = func() { i.machine.Freeze() }
	}
	i.machine = qmptest.New(script, launch.Incoming)
	client, server := net.Pipe()
	i.serving.Go(func() {
		i.machine.Serve(server)
		_ = server.Close()
	})
	i.serving.Go(func() { // one that has failed ends
		<-i.machine.Done()
		_ = server.Close()
	})
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
	s.played[c.Name] = append(s.played[c.Name], i)
	return i, nil
}

func (i *scripted) Name() string       { return i.config.Name }
func (i *scripted) ID() int            { return i.placement.ID }
func (i *scripted) Config() vm.Config  { return i.config }
func (i *scripted) Spec() vm.Spec      { return i.spec }
func (i *scripted) Monitor() *qmp.Conn { return i.monitor }

func (i *scripted) Status(ctx context.Context) (string, error) {
	var reply struct{ Status string }
	err := i.monitor.Execute(ctx, "query-status", nil, &reply)
	return reply.Status, err
}

func (i *scripted) Cont(ctx context.Context) error { return i.monitor.Execute(ctx, "cont", nil, nil) }

func (i *scripted) Stop(ctx context.Context) error { return i.monitor.Execute(ctx, "stop", nil, nil) }

func (i *scripted) Reset(ctx context.Context) error {
	return i.monitor.Execute(ctx, "system_reset", nil, nil)
}

func (i *scripted) Exited() <-chan struct{} { return i.monitor.Done() }

func (i *scripted) Exit(context.Context) *vm.ExitError {
	e := &vm.ExitError{VM: i.config.Name, Host: i.placement.Host.Name(), Status: vm.StillRuns}
	select {
	case <-i.machine.Done():
		e.Status = 0
		if said := i.machine.LastWords(); said != "" {
			e.Status, e.Log = 1, []string{said}
		}
		if i.machine.Killed() {
			e.Status = 128 + 9
		}
	default:
	}
	return e
}

func (i *scripted) Fault() *vm.ExitError {
	if exit := i.Exit(context.Background()); exit.Abnormal() {
		return exit
	}
	return nil
}

func (i *scripted) ProcessState(context.Context) (string, error) { return "it is a scripted one", nil }
func (i *scripted) LogTail(context.Context) []string             { return nil }

var errNoGuest = errors.New("a scripted QEMU has no guest")

// DialConsole connects to a guest that says what it has to, and nothing more.
func (i *scripted) DialConsole(context.Context) (net.Conn, error) {
	client, guest := net.Pipe()
	i.serving.Go(func() {
		_, _ = guest.Write([]byte(i.said))
		_, _ = io.Copy(io.Discard, guest)
	})
	i.serving.Go(func() {
		<-i.machine.Done()
		_ = guest.Close()
	})
	return client, nil
}

func (i *scripted) DialClock(context.Context) (net.Conn, error) { return nil, errNoGuest }
func (i *scripted) DialShell(context.Context) (net.Conn, error) { return nil, errNoGuest }

func (i *scripted) ShellAddress(context.Context) (string, error) { return "", errNoGuest }

func (i *scripted) Destroy(context.Context) error {
	_ = i.monitor.Close()
	i.end()
	return i.log.Close()
}

func (i *scripted) end() {
	i.machine.End()
	i.machine.Close()
	i.serving.Wait()
	i.machine.Close() // what it was about to do
}

// Performance is a bed whose VMs, vm1 to vmN, are on a stage.
type Performance struct {
	*Bed
	Stage *Stage
}

// Perform returns a bed of two hosts and VMs, which is prepared, and the stage on
// which the VMs' QEMUs are scripted.
func Perform(t testing.TB, vms int, params cartesian.Params) *Performance {
	t.Helper()
	all := NoQEMU(t)
	all["vms"] = ""
	for n := range vms {
		all["vms"] += fmt.Sprintf(" vm%d", n+1)
	}
	all["start_migration_timeout"], all["not_login_after_mig"] = "0.001", "yes"
	maps.Copy(all, params)
	l := NewLab(t, 2)
	p := &Performance{Stage: NewStage()}
	p.Bed = newBed(t, l.Connected, l.Params(), all, nil, p.Stage.Launch)
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}
