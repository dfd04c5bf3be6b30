// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strings"
	"sync"

	"github.com/gliderlabs/ssh"
	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"
)

// The messages of RFC 4254, section 6.
type (
	envRequest struct{ Name, Value string }
	ptyRequest struct {
		Term          string
		Columns, Rows uint32
		Width, Height uint32 // in pixels
		Modes         string
	}
	windowChange struct {
		Columns, Rows uint32
		Width, Height uint32 // in pixels
	}
	execRequest      struct{ Command string }
	subsystemRequest struct{ Name string }
	signalRequest    struct{ Name string }
	exitStatus       struct{ Status uint32 }
	exitSignal       struct {
		Name     string
		Core     bool
		Message  string
		Language string
	}
)

// session is one session of a connection: a command, a shell, or file transfer.
type session struct {
	server   *server
	channel  gossh.Channel
	env      []string    // requested by the client
	terminal *ptyRequest // nil: none requested
	started  bool
	program  *program // nil: none was started
}

// openSession accepts a session and serves it until its channel is closed.
func (s *server) openSession(_ *ssh.Server, _ *gossh.ServerConn, c gossh.NewChannel, _ ssh.Context) {
	running := s.spawn(func() {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		e := &session{server: s, channel: channel}
		for r := range requests {
			ok, run := e.handle(r)
			r.Reply(ok, nil)
			if run != nil && !s.spawn(run) {
				channel.Close()
			}
		}
		if e.program != nil {
			e.program.hangUp()
		}
	})
	if !running {
		c.Reject(gossh.ConnectionFailed, "the host is shutting down")
	}
}

// handle executes request r, and returns whether that worked and what to run after
// the reply.
func (e *session) handle(r *gossh.Request) (ok bool, run func()) {
	switch r.Type {
	case "env":
		var m envRequest
		if gossh.Unmarshal(r.Payload, &m) != nil || !acceptsEnv(m.Name) {
			return false, nil
		}
		e.env = append(e.env, m.Name+"="+m.Value)
		return true, nil
	case "pty-req":
		var m ptyRequest
		if e.started || gossh.Unmarshal(r.Payload, &m) != nil {
			return false, nil
		}
		e.terminal = &m
		return true, nil
	case "window-change":
		var m windowChange
		return e.program != nil && gossh.Unmarshal(r.Payload, &m) == nil && e.program.resize(m.Columns, m.Rows), nil
	case "signal":
		var m signalRequest
		return e.program != nil && gossh.Unmarshal(r.Payload, &m) == nil && e.program.signal(m.Name), nil
	case "shell":
		return e.start("")
	case "exec":
		var m execRequest
		if gossh.Unmarshal(r.Payload, &m) != nil {
			return false, nil
		}
		return e.start(m.Command)
	case "subsystem":
		var m subsystemRequest
		if e.started || gossh.Unmarshal(r.Payload, &m) != nil || m.Name != "sftp" {
			return false, nil
		}
		e.started = true
		return true, e.serveFiles
	}
	return false, nil
}

// acceptsEnv reports whether a client may set the environment variable: what
// Debian's sshd allows.
func acceptsEnv(name string) bool { return name == "LANG" || strings.HasPrefix(name, "LC_") }

// start starts a command, or a shell if command is empty.
func (e *session) start(command string) (ok bool, run func()) {
	if e.started {
		return false, nil
	}
	p, err := newProgram(e.server.account, command, e.env, e.terminal)
	if err != nil {
		e.server.log.Warn("the lab's SSH server cannot start a command", "command", command, "error", err)
		return false, nil
	}
	e.started = true
	e.program = p
	return true, func() {
		var input sync.WaitGroup
		input.Go(func() { p.feed(e.channel) })
		p.collect(e.channel)
		e.exit(p)
		input.Wait()
	}
}

// exit tells the client how p ended, and closes the session.
func (e *session) exit(p *program) {
	if signal := p.killedBy(); signal != "" {
		e.channel.SendRequest("exit-signal", false, gossh.Marshal(exitSignal{Name: signal}))
	} else {
		e.channel.SendRequest("exit-status", false, gossh.Marshal(exitStatus{uint32(p.status())}))
	}
	e.channel.Close()
}

// serveFiles serves SFTP until the client ends it.
func (e *session) serveFiles() {
	defer e.channel.Close()
	files, err := sftp.NewServer(e.channel, sftp.WithServerWorkingDirectory(e.server.account.home))
	if err != nil {
		e.server.log.Warn("the lab's SSH server cannot serve files", "error", err)
		return
	}
	if err := files.Serve(); err != nil {
		e.server.log.Debug("file transfer ended", "error", err)
	}
	e.channel.SendRequest("exit-status", false, gossh.Marshal(exitStatus{}))
}
