// SPDX-License-Identifier: Apache-2.0

package capability

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	// endGrace is how long QEMU may take to end after quit, before it is killed.
	endGrace = 2 * time.Second
	// keptOutput is how much of QEMU's output an error may have, in bytes.
	keptOutput = 2 << 10
)

// process is a QEMU without a guest.
type process struct {
	*qmp.Conn
	program qemu.Program
	stderr  tail
	exited  chan struct{}
	kill    context.CancelFunc
}

// start starts a QEMU, which is killed when ctx ends, and connects to its monitor. That is
// its standard input and output, a socket pair.
func start(ctx context.Context, program qemu.Program, arguments ...string) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p := &process{program: program, exited: make(chan struct{})}
	var running context.Context
	running, p.kill = context.WithCancel(ctx)
	words := append(program.Words(), arguments...)
	cmd := exec.CommandContext(running, words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, &p.stderr
	// A binary may be a script that runs QEMU: all of its group are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = endGrace
	started := make(chan error)
	go func() { // the process gets Pdeathsig when the thread ends that has started it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // what it has written says more
		}
	}()
	if err := <-started; err != nil {
		p.kill()
		ours.Close()
		return nil, err
	}
	theirs.Close() // that its end is seen
	if p.Conn, err = qmp.New(running, ours, qmp.Options{Name: program.String()}); err != nil {
		p.kill()
		<-p.exited
		return nil, p.explain(ctx, err)
	}
	return p, nil
}

// explain adds to an error of the monitor, when the process has ended, what it has written.
func (p *process) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, refused := errors.AsType[*qmp.Error](err); refused {
		return fmt.Errorf("%s: %w", p.program, err)
	}
	if said := p.stderr.String(); said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err // with the name of the monitor, which is the program's
}

// end ends QEMU, and waits until it has ended.
func (p *process) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endGrace)
	defer cancel()
	_ = p.Execute(ctx, "quit", nil, nil) // else it is killed
	select {
	case <-p.exited:
	case <-ctx.Done():
	}
	p.kill()
	<-p.exited
	_ = p.Close()
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	here := os.NewFile(uintptr(fds[0]), "monitor")
	defer here.Close()
	theirs = os.NewFile(uintptr(fds[1]), "monitor")
	if ours, err = net.FileConn(here); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// tail keeps the end of what is written. It is read when the process has ended.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - keptOutput; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	return strings.Join(strings.Fields(string(bytes.ToValidUTF8(t.text, []byte("?")))), " ")
}
