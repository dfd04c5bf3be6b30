// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// session is one SSH session: a login shell or a command, on a terminal or
// without. It belongs to the goroutine that calls serve, but for what wait
// does.
type session struct {
	channel ssh.Channel
	shells  *shells
	env     []string
	pty     *ptyRequest // nil without a terminal
	process *process    // nil until started
}

// The payloads of RFC 4254, section 6.
type (
	ptyRequest struct {
		Term   string
		Window window
		Modes  string
	}
	window        struct{ Columns, Rows, Width, Height uint32 }
	envRequest    struct{ Name, Value string }
	execRequest   struct{ Command string }
	statusRequest struct{ Status uint32 }
)

// serve answers requests until the channel is closed.
func (s *session) serve(requests <-chan *ssh.Request) {
	for r := range requests {
		idle := s.process == nil
		ok := s.accept(r)
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if idle && s.process != nil {
			go s.wait(s.process) // ends with the process
		}
	}
	if s.process != nil {
		s.process.hangUp()
	}
}

// accept carries out a request, and tells whether it could.
func (s *session) accept(r *ssh.Request) bool {
	switch r.Type {
	case "env":
		var env envRequest
		if s.process != nil || ssh.Unmarshal(r.Payload, &env) != nil {
			return false
		}
		s.env = append(s.env, env.Name+"="+env.Value)
		return true
	case "pty-req":
		pty, err := parsePTY(r.Payload)
		if s.process != nil || err != nil {
			return false
		}
		s.pty = pty
		return true
	case "window-change":
		var w window
		return s.pty != nil && s.process != nil && ssh.Unmarshal(r.Payload, &w) == nil && s.process.terminal.resize(w) == nil
	case "shell", "exec":
		var exec execRequest
		if s.process != nil || r.Type == "exec" && ssh.Unmarshal(r.Payload, &exec) != nil {
			return false
		}
		process, err := s.start(exec.Command)
		s.process = process
		return err == nil
	default:
		return false
	}
}

func parsePTY(payload []byte) (*ptyRequest, error) {
	var flat struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if err := ssh.Unmarshal(payload, &flat); err != nil {
		return nil, err
	}
	return &ptyRequest{flat.Term, window{flat.Columns, flat.Rows, flat.Width, flat.Height}, flat.Modes}, nil
}

// start starts the command, or the login shell for none.
func (s *session) start(command string) (*process, error) {
	if s.pty == nil {
		return startPiped(command, s.env, s.channel)
	}
	var p *process
	var err error
	if command == "" && len(s.env) == 0 && s.pty.Term == dumbTerminal {
		p = s.shells.take()
	}
	if p == nil {
		p, err = startOnTerminal(command, append(s.env, "TERM="+s.pty.Term))
	}
	if err == nil {
		err = errors.Join(p.terminal.resize(s.pty.Window), p.terminal.setModes(s.pty.Modes))
	}
	return p, err
}

// wait passes data between the channel and the process until that has ended,
// and then says how.
func (s *session) wait(p *process) {
	if p.terminal != nil {
		go func() { // ends with the channel, which closes below
			_, _ = io.Copy(p.terminal.master, s.channel)
			_, _ = p.terminal.master.Write([]byte{endOfTransmission})
		}()
		_, _ = io.Copy(s.channel, p.terminal.master) // ends with the shell, as all that has the terminal is hung up then
		p.hangUp()
	}
	<-p.exited
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(statusRequest{p.status}))
	_ = s.channel.Close()
}

// endOfTransmission is ^D, a terminal's end of input.
const endOfTransmission = 4

// process is a shell, or the shell that runs a command.
type process struct {
	terminal *terminal // nil without
	exited   chan struct{}
	status   uint32 // once it has exited; 128 and the signal's number, as shells say it
}

// hangUp takes the terminal away. Without one a process sees the end of its
// input instead.
func (p *process) hangUp() {
	if p.terminal != nil {
		_ = p.terminal.master.Close()
	}
}

func shellCommand(command string, env []string) *exec.Cmd {
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"-sh"}
	if command != "" {
		cmd.Args = []string{"sh", "-c", command}
	}
	cmd.Dir = "/root"
	cmd.Env = append([]string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/bin:/sbin"}, env...)
	return cmd
}

// startPiped runs a command without a terminal. It has ended when the shell
// has, even if a background child of it still holds the output open.
func startPiped(command string, env []string, channel ssh.Channel) (*process, error) {
	cmd := shellCommand(command, env)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := newOutput(channel)
	if err != nil {
		return nil, err
	}
	stderr, err := newOutput(channel.Stderr())
	if err != nil {
		stdout.abandon()
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = stdout.write, stderr.write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		stdout.abandon()
		stderr.abandon()
		return nil, err
	}
	stdout.pass()
	stderr.pass()
	go func() { // ends with the channel
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	return watch(cmd, nil, stdout.finish, stderr.finish), nil
}

// output passes what a command writes to one of its streams to the channel.
type output struct {
	read, write *os.File
	to          io.Writer
	passed      chan struct{} // closed when pass has ended
}

func newOutput(to io.Writer) (*output, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &output{read, write, to, make(chan struct{})}, nil
}

func (o *output) abandon() {
	_ = o.read.Close()
	_ = o.write.Close()
}

// pass begins to pass it, when the command has the other end.
func (o *output) pass() {
	_ = o.write.Close()
	go func() { // ends with the last process that has the other end, or by finish
		defer close(o.passed)
		_, _ = io.Copy(o.to, o.read)
	}()
}

// finish passes what was written until now, however late that is, and no more.
func (o *output) finish() {
	_ = o.read.SetReadDeadline(time.Now())
	<-o.passed
	_ = o.read.SetReadDeadline(time.Time{})
	if raw, err := o.read.SyscallConn(); err == nil {
		part := make([]byte, 32<<10)
		_ = raw.Read(func(fd uintptr) bool { // does not block: the pipe is not in blocking mode
			for {
				n, err := syscall.Read(int(fd), part)
				if err == syscall.EINTR {
					continue
				}
				if n <= 0 {
					return true
				}
				if _, err := o.to.Write(part[:n]); err != nil {
					return true
				}
			}
		})
	}
	_ = o.read.Close()
}

// startOnTerminal runs a command on a terminal of its own.
func startOnTerminal(command string, env []string) (*process, error) {
	t, slave, err := openTerminal()
	if err != nil {
		return nil, err
	}
	cmd := shellCommand(command, env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	_ = slave.Close()
	if err != nil {
		_ = t.master.Close()
		return nil, err
	}
	return watch(cmd, t), nil
}

// watch notes how a started command ends, and calls the functions then.
func watch(cmd *exec.Cmd, t *terminal, then ...func()) *process {
	p := &process{terminal: t, exited: make(chan struct{})}
	go func() { // ends with the command
		_ = cmd.Wait()
		for _, f := range then {
			f()
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.status = uint32(status.ExitStatus())
		if status.Signaled() {
			p.status = 128 + uint32(status.Signal())
		}
		close(p.exited)
	}()
	return p
}
