// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/vm"
)

// The lifecycle of a VM: it waits for the console, runs, pauses, and leaves nothing.
func TestInstance(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	p := b.params(cartesian.Params{"nics": "nic1", "tcg_dirty_guard": "on"})
	s.prepare("vm1", p)
	i := s.start("vm1", p, false)
	ctx := t.Context()

	if i.Name() != "vm1" || i.Host() != s.Host || i.Config().MemoryBytes != 32<<20 {
		t.Errorf("got %s on %v with %v", i.Name(), i.Host(), i.Config())
	}
	if shape := i.Shape(); shape.MemoryKiB != 32<<10-8 || len(shape.Notices) != 1 {
		t.Errorf("got %d KiB, notices %q; want 8 KiB less than 32 MiB, and why", shape.MemoryKiB, shape.Notices)
	}
	wantStatus(t, i, "prelaunch")
	conn := console(t, i)
	if err := i.Cont(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(t, conn, 4); string(got) != "A\x01\x02\x03" {
		t.Errorf("the console begins with %q: something was lost", got)
	}
	wantStatus(t, i, "running")
	if err := i.Stop(ctx); err != nil {
		t.Error(err)
	}
	wantStatus(t, i, "paused")
	if err := errors.Join(i.Reset(ctx), i.Cont(ctx)); err != nil {
		t.Error(err)
	}
	// The guest does not listen, but QEMU's forwarding does.
	shell, err := i.DialShell(ctx)
	if err != nil {
		t.Error(err)
	} else {
		shell.Close()
	}
	if reason := i.Exit(ctx).Error(); !strings.Contains(reason, "still runs") {
		t.Errorf("Exit = %q while it runs", reason)
	}

	for range 2 {
		if err := i.Destroy(ctx); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-i.Exited():
	default:
		t.Error("Exited is open after Destroy")
	}
	if exit := i.Exit(ctx); exit.Status != 0 { // who asks just then must not take it for a crash
		t.Errorf("Exit = %v after Destroy, want status 0", exit)
	}
	for file, want := range map[string]string{
		"qemu.cmdline": "-m 32760K", "qmp.jsonl": `"execute":"cont"`, "qemu.log": "",
	} {
		if got := s.artifact(file); !strings.Contains(got, want) {
			t.Errorf("artifact %s holds %q, want %q in it", file, got, want)
		}
	}
}

// A QEMU that is killed is not told to quit, has no fault, and leaves nothing.
func TestKill(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	s.prepare("vm1", b.params(nil))
	i := s.start("vm1", b.params(nil), false)
	for range 2 {
		if err := i.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if fault := i.Fault(); fault != nil {
		t.Errorf("Fault = %v, want none", fault)
	}
	if exit := i.Exit(t.Context()); exit.Status != 128+9 || exit.Abnormal() {
		t.Errorf("Exit = %v, want signal 9, as requested", exit)
	}
	if got := s.artifact("qmp.jsonl"); strings.Contains(got, `"quit"`) {
		t.Errorf("it was told to quit:\n%s", got)
	}
	if processes := processesOf(b.dir); len(processes) > 0 {
		t.Errorf("still there: %v", processes)
	}
}

func wantStatus(t *testing.T, i *vm.Instance, want string) {
	t.Helper()
	if got, err := i.Status(t.Context()); err != nil || got != want {
		t.Errorf("Status = %q, %v; want %q", got, err, want)
	}
}

// A guest migrates between two hosts with its disk and memory, the source refuses to
// run it again, and the base image is unchanged.
func TestMigration(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	src, dst := b.host("host1"), b.host("host2")
	p := b.params(nil)
	images := src.prepare("vm1", p)
	if want := filepath.Join(b.dir, "shared/v1/vm1-image1.qcow2"); len(images.Paths()) != 1 || images.Paths()[0] != want {
		t.Errorf("Paths = %q, want %q", images.Paths(), want)
	}
	base, err := os.ReadFile(filepath.Join(b.dir, "shared/images/counter.raw"))
	if err != nil {
		t.Fatal(err)
	}

	source := src.start("vm1", p, false)
	before := console(t, source)
	ctx := t.Context()
	if err := source.Cont(ctx); err != nil {
		t.Fatal(err)
	}
	read(t, before, 20)
	destination := dst.start("vm1", p, true)
	wantStatus(t, destination, "inmigrate")
	after := console(t, destination)

	arrived := destination.Monitor().Subscribe("RESUME")
	defer arrived.Close()
	left := source.Monitor().Subscribe("MIGRATION")
	defer left.Close()
	returnPath := map[string]any{"capabilities": []any{
		map[string]any{"capability": "return-path", "state": true}, map[string]any{"capability": "events", "state": true},
	}}
	var query struct {
		Addresses []struct{ Port string } `json:"socket-address"`
	}
	for _, step := range []error{
		source.Monitor().Execute(ctx, "migrate-set-capabilities", returnPath, nil),
		destination.Monitor().Execute(ctx, "migrate-set-capabilities", returnPath, nil),
		destination.Monitor().Execute(ctx, "migrate-incoming", map[string]any{"uri": "tcp:127.0.0.1:0"}, nil),
		destination.Monitor().Execute(ctx, "query-migrate", nil, &query),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if err := source.Monitor().Execute(ctx, "migrate", map[string]any{"uri": "tcp:127.0.0.1:" + query.Addresses[0].Port}, nil); err != nil {
		t.Fatal(err)
	}
	<-arrived.C
	for e := range left.C {
		if e.Data["status"] == "completed" {
			break
		}
		if e.Data["status"] == "failed" {
			t.Fatalf("the migration failed: %s", destination.Exit(ctx))
		}
	}
	wantStatus(t, destination, "running")
	wantStatus(t, source, "postmigrate")
	if err := source.Cont(ctx); err == nil || !strings.Contains(err.Error(), "vm1 on host1: cont refused: its guest has migrated") {
		t.Errorf("Cont on the source: got %v, want a refusal", err)
	}
	got := read(t, after, 3)
	if got[1] != got[0]+1 || got[2] != got[1]+1 { // a restarted guest would print A, 1, 2
		t.Errorf("the guest does not count on: %v", got)
	}
	if err := errors.Join(source.Destroy(ctx), destination.Destroy(ctx)); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(filepath.Join(b.dir, "shared/images/counter.raw"))
	if err != nil || string(now) != string(base) {
		t.Errorf("the base image has changed (%v)", err)
	}
}

// Failed starts: each reports its error and leaves nothing on the host.
func TestStartFails(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	s.prepare("vm1", b.params(nil))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	mute := b.write("mute-qemu", []byte("#!/bin/sh\n[ \"$1\" != --version ] || exec qemu-system-x86_64 --version\n"+
		"[ \"$1\" != -machine ] || exec qemu-system-x86_64 -machine help\necho no message >&2\nexit 3\n"), 0o755)

	tests := []struct {
		name   string
		params cartesian.Params
		want   []string
		status int // of the *vm.ExitError; 0: another error
	}{
		{"an unknown option", cartesian.Params{"extra_params": "-device no-such-device"}, []string{
			"start vm1 on host1: QEMU of vm1 on host1 ended with status 1", "'no-such-device' is not a valid device model name", "command line: " + b.dir + "/host1/run/vm1.sh",
		}, 1},
		{"a port that is taken", cartesian.Params{"nics": "nic1", "redirs": "web", "guest_port_web": "80", "host_port_web": takenPort}, []string{
			"port " + takenPort + " of host1, forwarded to the guest's port 80, is in use",
		}, 1},
		{"a QEMU that ends at once", cartesian.Params{"qemu_binary": mute}, []string{"ended with status 3", "no message"}, 3},
		{"no kernel", cartesian.Params{"kernel": "boot/vmlinuz"}, []string{"host1: no file " + b.dir + "/shared/boot/vmlinuz (param kernel)"}, 0},
		{"no initrd", cartesian.Params{"kernel": "images/counter.raw", "initrd": "/nowhere/initrd"}, []string{"host1: no file /nowhere/initrd (param initrd)"}, 0},
		{"no image", cartesian.Params{"images": "image2"}, []string{"host1: no file " + b.dir + "/shared/v1/vm1-image2.qcow2 (param image_name of image2)"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := b.params(tt.params)
			shape, err := s.placement.Cache.Agree(t.Context(), "vm1", s.sites("vm1", p))
			if err != nil {
				t.Fatal(err)
			}
			_, err = vm.Start(t.Context(), s.placement, s.config("vm1", p), shape, vm.Launch{})
			if err == nil {
				t.Fatal("Start: no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Start: got %v, want %q in it", err, want)
				}
			}
			status := 0
			if exit, ok := errors.AsType[*vm.ExitError](err); ok {
				status = exit.Status
			}
			if status != tt.status {
				t.Errorf("status of the ExitError: got %d, want %d", status, tt.status)
			}
			if left, _ := filepath.Glob(s.placement.RunDir + "/*"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	if log := s.artifact("qemu.log"); !strings.Contains(log, "no-such-device") {
		t.Errorf("the saved log holds %q", log)
	}
}

// Of the log of a QEMU that prints endlessly the beginning and the end are saved, and
// the error has its end, even if it is one line.
func TestChattyQEMU(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	chatty := b.write("chatty-qemu", []byte("#!/bin/sh\necho first; yes | tr -d '\\n' | head -c 20000000; echo last output; exit 4\n"), 0o755)
	shape := vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 32 << 10}
	_, err := vm.Start(t.Context(), s.placement, s.config("vm1", cartesian.Params{"qemu_binary": chatty}), shape, vm.Launch{})
	exit, ok := errors.AsType[*vm.ExitError](err)
	if !ok || exit.Status != 4 || len(exit.Log) != 1 || !strings.HasSuffix(exit.Log[0], "last output") || len(exit.Log[0]) > 64<<10 {
		t.Fatalf("Start: got %.200v, want its status and last output", err)
	}
	log := s.artifact("qemu.log")
	if len(log) > 9<<20 || !strings.HasPrefix(log, "first\n") || !strings.HasSuffix(log, "last output\n") || !strings.Contains(log, "\n[11611410 bytes omitted]\n") {
		t.Errorf("the saved log has %d bytes, want the begin and the end", len(log))
	}
}

// A log of one endless line does not hide how QEMU has ended.
func TestChattyEnd(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	chatty := b.write("chatty-qemu", []byte("#!/bin/sh\ncase \"$*\" in *'-name vm1'*) ;; *) exec qemu-system-x86_64 \"$@\" ;; esac\nyes | tr -d '\\n' | head -c 70000000\nqemu-system-x86_64 \"$@\"\nexit 23\n"), 0o755)
	i := s.start("vm1", b.params(cartesian.Params{"images": "", "qemu_binary": chatty}), false)
	if err := i.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit := i.Fault(); exit == nil || exit.Status != 23 {
		t.Errorf("got %v, want its status", exit)
	}
}

// An interrupted start ends the process that it has started.
func TestStartInterrupted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	stuck := b.write("stuck-qemu", []byte("#!/bin/sh\ntrap '' TERM\nwhile :; do read x; sleep 0.1; done\n"), 0o755)
	shape := vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 32 << 10}
	ctx, cancel := context.WithCancelCause(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		begun := func() bool {
			_, err := os.Stat(s.placement.RunDir + "/vm1.pid")
			return err == nil
		}
		for !begun() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel(errors.New("interrupted"))
	}()
	_, err := vm.Start(ctx, s.placement, s.config("vm1", cartesian.Params{"qemu_binary": stuck}), shape, vm.Launch{})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("Start: got %v, want the cause", err)
	}
	cancel(nil)
	<-watched
}

// QEMUs that end, hang or lose their monitor.
func TestBadEnds(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	s := b.host("host1")
	p := b.params(cartesian.Params{"images": ""})
	t.Run("killed", func(t *testing.T) {
		i := s.start("vm1", p, false)
		signal(t, s, syscall.SIGKILL)
		<-i.Exited()
		if got, want := i.Exit(t.Context()).Error(), "QEMU of vm1 on host1 ended by signal 9 (killed)"; !strings.HasPrefix(got, want) {
			t.Errorf("Exit = %q, want %q", got, want)
		}
		if err := i.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("terminated", func(t *testing.T) {
		i := s.start("vm1", p, false)
		signal(t, s, syscall.SIGTERM)
		<-i.Exited()
		if got := i.Exit(t.Context()).Error(); !strings.Contains(got, "ended with status 0") || !strings.Contains(got, "terminating on signal 15") {
			t.Errorf("Exit = %q, want the status and QEMU's words", got)
		}
		if err := i.Quit(t.Context()); err != nil {
			t.Errorf("Quit after the end: %v", err)
		}
		if err := i.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("frozen", func(t *testing.T) {
		i := s.start("vm1", p, false)
		signal(t, s, syscall.SIGSTOP)
		if err := i.Destroy(t.Context()); err != nil { // also if it takes too long
			t.Error(err)
		}
	})
	t.Run("without monitor", func(t *testing.T) {
		i := s.start("vm1", p, false)
		i.Monitor().Close()
		if got := i.Exit(t.Context()).Error(); !strings.Contains(got, "still runs, but its monitor is closed") {
			t.Errorf("Exit = %q", got)
		}
		if err := i.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	// A process whose pid was reused must not be killed.
	t.Run("foreign pid", func(t *testing.T) {
		i := s.start("vm1", p, false)
		signal(t, s, syscall.SIGKILL)
		<-i.Exited()
		if err := os.WriteFile(s.placement.RunDir+"/vm1.pid", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := i.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// signal sends a signal to vm1's process on a host.
func signal(t *testing.T, s *site, sig syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(s.placement.RunDir + "/vm1.pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

func TestTap(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: a network of its own needs root")
	}
	b := newBed(t)
	s := b.host("host1", "unshare", "-n")
	run := func(script string) string {
		t.Helper()
		out, err := s.Run(t.Context(), host.Command{Script: script})
		if err != nil {
			t.Fatal(err)
		}
		return string(out.Stdout)
	}
	run("ip link set lo up; ip link add br0 type bridge; ip addr add 10.9.8.7/24 dev br0; ip link set br0 up")
	p := b.params(cartesian.Params{"images": "", "nics": "nic1", "nic_mode": "tap", "netdst": "br0", "mac": "52:54:00:00:00:07"})
	i := s.start("vm1", p, false)
	name := i.Spec().Taps[0].Name
	if got := run("ip -o link show master br0"); !strings.Contains(got, name+":") {
		t.Errorf("on the bridge is %q, want %s", got, name)
	}
	if got := i.KnownAddress(); got != "" {
		t.Errorf("address: got %s, want none yet", got)
	}
	if _, err := i.DialShell(t.Context()); err == nil || !strings.Contains(err.Error(), "has no neighbour entry of the guest (MAC 52:54:00:00:00:07 on br0): set param nic_ip") {
		t.Errorf("DialShell: got %v", err)
	}
	run("ip neighbour replace 10.9.8.7 lladdr 52:54:00:00:00:07 dev br0 nud permanent")
	if _, err := i.DialShell(t.Context()); err == nil || !strings.Contains(err.Error(), "10.9.8.7:22") {
		t.Errorf("DialShell: got %v, want a try at 10.9.8.7:22", err)
	}
	if got := i.KnownAddress(); got != "10.9.8.7" {
		t.Errorf("address: got %q, want what was found", got)
	}
	if err := i.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	p["nic_ip"] = "10.9.8.6"
	i = s.start("vm1", p, false)
	if got := i.KnownAddress(); got != "10.9.8.6" {
		t.Errorf("address: got %q, want the param nic_ip", got)
	}
	if err := i.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	if got := run("ip -o link show"); strings.Contains(got, name) {
		t.Errorf("the tap is left: %s", got)
	}

	p["netdst"] = "br7"
	shape := vm.Shape{Accel: "tcg", Machine: "pc-i440fx-7.2", CPU: "qemu64", MemoryKiB: 32 << 10}
	_, err := vm.Start(t.Context(), s.placement, s.config("vm1", p), shape, vm.Launch{})
	if err == nil || !strings.Contains(err.Error(), "tap on bridge br7 (param netdst)") || !strings.Contains(err.Error(), "on host1") {
		t.Errorf("Start without the bridge: got %v", err)
	}
	if got := run("ip -o link show"); strings.Contains(got, name) {
		t.Errorf("the tap is left: %s", got)
	}
}
