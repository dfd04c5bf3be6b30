// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// TestQEMU speaks with a real one.
func TestQEMU(t *testing.T) {
	if testing.Short() {
		t.Skip("needs QEMU")
	}
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("NOT TESTED: no qemu-system-x86_64 here; on Debian it is in package qemu-system-x86")
	}
	socket := filepath.Join(t.TempDir(), "qmp")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var said bytes.Buffer
	qemu := exec.CommandContext(ctx, binary, "-accel", "tcg", "-machine", "pc", "-nodefaults", "-no-user-config",
		"-display", "none", "-m", "32", "-S", "-qmp", "unix:"+socket)
	qemu.Stdout, qemu.Stderr = &said, &said
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = qemu.Wait()
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	c, err := qmp.New(ctx, conn, qmp.Options{Name: "real"})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	defer c.Close()

	for path, want := range map[string]bool{
		"migrate": true, "no-such-command": false, "migrate-incoming/uri": true, "STOP": true,
		qmp.Capability("return-path"): true, qmp.Capability("no-such"): false,
		qmp.Parameter("max-bandwidth"): true, qmp.Parameter("no-such"): false,
	} {
		if got, err := c.Supports(ctx, path); err != nil || got != want {
			t.Errorf("Supports(%q) = %v, %v; want %v", path, got, err, want)
		}
	}
	if err := c.Execute(ctx, "no-such-command", nil, nil); !isRefusal(err, "CommandNotFound") {
		t.Errorf("no-such-command: got %v, want CommandNotFound", err)
	}
	if text, err := c.Human(ctx, "info status"); err != nil || !strings.Contains(text, "paused") {
		t.Errorf("info status = %q, %v", text, err)
	}
	events := c.Subscribe("RESUME", "STOP")
	defer events.Close()
	for _, command := range []string{"cont", "stop"} {
		if err := c.Execute(ctx, command, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"RESUME", "STOP"} {
		if e := <-events.C; e.Name != want || time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("got %s at %v, want %s now", e.Name, e.Time, want)
		}
	}
	if err := c.Execute(ctx, "quit", nil, nil); err != nil {
		t.Errorf("quit: %v", err)
	}
	<-c.Done()
	if err := c.Execute(ctx, "query-status", nil, nil); !errors.Is(err, qmp.ErrGone) || !strings.Contains(err.Error(), "it shut down (host-qmp-quit)") {
		t.Errorf("after quit: got %v", err)
	}
}

func isRefusal(err error, class string) bool {
	refusal, ok := errors.AsType[*qmp.Error](err)
	return ok && refusal.Class == class
}
