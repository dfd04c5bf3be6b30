// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	// hangUpGrace is how long a shell may go on after its terminal was closed.
	hangUpGrace = time.Second
	// drainTime is how long to read from the terminal of a shell that has exited
	// while its background jobs still have the terminal open.
	drainTime = 50 * time.Millisecond
)

// program is a command or shell of a session. It is the leader of a process session
// and group.
type program struct {
	cmd    *exec.Cmd
	exited <-chan struct{} // closed when cmd.ProcessState is set

	terminal *os.File // the master side; nil: the pipes below are used
	stdin    *os.File
	stdout   *os.File
	stderr   *os.File
}

// newProgram starts a command for the account's user, or a shell if command is
// empty.
func newProgram(a account, command string, env []string, terminal *ptyRequest) (*program, error) {
	shell := "/bin/sh"
	if _, err := os.Stat("/bin/bash"); err == nil {
		shell = "/bin/bash"
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	if command == "" {
		cmd = exec.Command(shell)
	}
	cmd.Dir = a.home
	cmd.Env = slices.Concat([]string{
		"HOME=" + a.home,
		"USER=" + a.name,
		"LOGNAME=" + a.name,
		"SHELL=" + shell,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}, env, a.env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}

	p := &program{cmd: cmd}
	var ends []*os.File // the command's ends of the pipes or terminal
	var err error
	if terminal != nil {
		ends, err = p.openTerminal(terminal)
	} else {
		ends, err = p.openPipes()
	}
	if err == nil {
		p.exited, err = launch(cmd)
	}
	for _, f := range ends {
		f.Close()
	}
	if err != nil {
		p.closeFiles()
		return nil, err
	}
	return p, nil
}

func (p *program) openTerminal(r *ptyRequest) (ends []*os.File, err error) {
	// Not blocking, so that reads have deadlines.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	p.terminal = os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0) // unlock the slave
	}
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	p.resize(r.Columns, r.Rows)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr.Setctty = true
	p.cmd.Env = append(p.cmd.Env, "TERM="+r.Term, "SSH_TTY="+slave.Name())
	return []*os.File{slave}, nil
}

func (p *program) openPipes() (ends []*os.File, err error) {
	var stdin, stdout, stderr *os.File
	if stdin, p.stdin, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.stdout, stdout, err = os.Pipe(); err != nil {
		return []*os.File{stdin}, err
	}
	if p.stderr, stderr, err = os.Pipe(); err != nil {
		return []*os.File{stdin, stdout}, err
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, stderr
	return []*os.File{stdin, stdout, stderr}, nil
}

// launch starts cmd and returns a channel that is closed when it has ended. The
// kernel sends Pdeathsig when the thread ends that started the process, so this
// thread is kept until then.
func launch(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, exited := make(chan error), make(chan struct{})
	go func() { // ends with the process
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState has its status
			close(exited)
		}
	}()
	return exited, <-started
}

// feed copies the channel to the program's stdin, until the channel's end.
func (p *program) feed(channel gossh.Channel) {
	if p.terminal != nil {
		copyStream(p.terminal, channel)
		return
	}
	copyStream(p.stdin, channel)
	p.stdin.Close()
}

// collect copies the program's outputs to the channel. It returns when the program
// has ended and its outputs are closed (with a terminal: soon after its end, as
// sshd does), or after hangUp.
func (p *program) collect(channel gossh.Channel) {
	var outputs sync.WaitGroup
	if p.terminal != nil {
		outputs.Go(func() { copyStream(channel, p.terminal) })
	} else {
		outputs.Go(func() { copyStream(channel, p.stdout) })
		outputs.Go(func() { copyStream(channel.Stderr(), p.stderr) })
	}
	<-p.exited
	if p.terminal != nil {
		_ = p.terminal.SetReadDeadline(time.Now().Add(drainTime))
	}
	outputs.Wait()
	p.closeFiles()
}

// hangUp ends the program of a closed channel, and the reading of its outputs.
func (p *program) hangUp() {
	select {
	case <-p.exited: // its background processes go on, as on any host
	default:
		if p.terminal != nil {
			p.kill(syscall.SIGHUP) // a shell passes it to its jobs
			select {
			case <-p.exited:
			case <-time.After(hangUpGrace):
			}
		}
		p.kill(syscall.SIGKILL)
		<-p.exited
	}
	p.closeFiles()
}

// signal sends the signal of the given name, without "SIG", to the group.
func (p *program) signal(name string) bool {
	number := unix.SignalNum("SIG" + name)
	return number != 0 && p.kill(number)
}

// kill sends a signal to the group. It does nothing once the program has been waited
// for, as its PID may then be reused.
func (p *program) kill(signal syscall.Signal) bool {
	select {
	case <-p.exited:
		return false
	default:
		return syscall.Kill(-p.cmd.Process.Pid, signal) == nil
	}
}

// resize sets the terminal's size. It reports whether that could be done.
func (p *program) resize(columns, rows uint32) bool {
	if p.terminal == nil {
		return false
	}
	raw, err := p.terminal.SyscallConn()
	if err != nil {
		return false
	}
	size := &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}
	controlErr := raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	return controlErr == nil && err == nil
}

// killedBy returns the name of the signal that ended the program, without
// "SIG", or nothing if it exited. It must have ended.
func (p *program) killedBy() string {
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return ""
	}
	return strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
}

// status returns the program's exit status. It must have ended.
func (p *program) status() int { return p.cmd.ProcessState.ExitCode() }

func (p *program) closeFiles() {
	for _, f := range []*os.File{p.terminal, p.stdin, p.stdout, p.stderr} {
		if f != nil {
			f.Close()
		}
	}
}
