// SPDX-License-Identifier: Apache-2.0

// Package guesttest has a scripted guest for tests: an SSH server that answers the
// commands of its clients by a function of the test. It has no processes and no network,
// so that a test with it can run in virtual time (testing/synctest).
//
//	guest := &guesttest.Guest{Run: func(c guesttest.Command) (output string, status int) { … }}
//	client, server := net.Pipe()
//	go guest.ServeSSH(server)
//
// It is only for tests: mhmig's own, and those of scenarios (package fake).
package guesttest

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hugelgupf/go-shlex"
	"golang.org/x/crypto/ssh"
)

// Guest is a scripted guest. Its fields must not change while it serves.
type Guest struct {
	// Password is the password of all users; "" accepts every login.
	Password string
	// Run answers a command, of a channel of its own or of a session's shell. It may be
	// called from several goroutines at once.
	Run func(Command) (output string, status int)
	// Shell serves a session's shell until the client has gone. Nil: its commands are
	// answered by Run, and other lines are read.
	Shell func(io.ReadWriter)
}

// Command is a command that a client runs.
type Command struct {
	Text  string
	Shell bool      // of a session's shell, which has no input of its own
	Stdin io.Reader // of a channel
}

// ServeSSH serves one connection until it ends, and closes it.
func (g *Guest) ServeSSH(conn net.Conn) {
	queued := newQueuedConn(conn)
	defer queued.Close()
	config, err := g.serverConfig()
	if err != nil {
		panic(err) // a bug of this package
	}
	server, channels, requests, err := ssh.NewServerConn(queued, config)
	if err != nil {
		return // the client has gone, or was refused
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() { ssh.DiscardRequests(requests) })
	for request := range channels {
		channel, requests, err := request.Accept()
		if err != nil {
			continue
		}
		serving.Go(func() { g.serveChannel(channel, requests) })
	}
	_ = server.Close()
}

func (g *Guest) serverConfig() (*ssh.ServerConfig, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if g.Password != "" && string(password) != g.Password {
			return nil, errors.New("wrong password")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	return config, nil
}

// serveChannel serves a channel that runs a command or a shell.
func (g *Guest) serveChannel(channel ssh.Channel, requests <-chan *ssh.Request) {
	var running sync.WaitGroup
	defer running.Wait()
	defer channel.Close()
	for request := range requests {
		var exec struct{ Command string }
		switch {
		case request.Type == "exec" && ssh.Unmarshal(request.Payload, &exec) == nil:
			running.Go(func() {
				output, status := g.Run(Command{Text: exec.Command, Stdin: channel})
				_, _ = io.WriteString(channel, output) // a client that has gone reads nothing
				_, _ = io.Copy(io.Discard, channel)    // one that has not got all of it closes the input later
				exit(channel, status)
			})
		case request.Type == "shell":
			running.Go(func() {
				if g.Shell != nil {
					g.Shell(channel)
				} else {
					g.serveShell(channel)
				}
				exit(channel, 0)
			})
		}
		_ = request.Reply(slices.Contains([]string{"exec", "shell", "pty-req"}, request.Type), nil)
	}
}

func exit(channel ssh.Channel, status int) {
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
	_ = channel.Close()
}

// The lines of package guest that a shell must answer: one that asks whether the shell
// reads, and one that runs a command between two markers.
var (
	probeLine   = regexp.MustCompile(`^printf '<%s%s>\\n' mhs: (\w+) mhs: \w+$`)
	commandLine = regexp.MustCompile(`^printf '<%s%s>\\n' mhb: (\w+) mhb: \w+; command eval (.*); printf '<%s%s%s>\\n' mhe: \w+: \$\?`)
)

// serveShell reads lines until the client has gone. Those that set the shell up have no
// output.
func (g *Guest) serveShell(channel io.ReadWriter) {
	lines := bufio.NewScanner(channel)
	for lines.Scan() {
		if probe := probeLine.FindStringSubmatch(lines.Text()); probe != nil {
			_, _ = io.WriteString(channel, "<mhs:"+probe[1]+">\n")
			continue
		}
		command := commandLine.FindStringSubmatch(lines.Text())
		if command == nil {
			continue
		}
		output, status := g.Run(Command{Text: strings.Join(shlex.Split(command[2]), " "), Shell: true})
		_, _ = io.WriteString(channel, "<mhb:"+command[1]+">\n"+output+"<mhe:"+command[1]+":"+strconv.Itoa(status)+">\n")
	}
}

// queuedConn is a connection whose writes do not wait for the reader: both ends of an SSH
// connection begin with a write, for which the ends of a net.Pipe would wait forever.
type queuedConn struct {
	net.Conn
	sending sync.WaitGroup

	mu     sync.Mutex // guards what follows
	queue  []byte
	more   sync.Cond
	closed bool
}

func newQueuedConn(conn net.Conn) *queuedConn {
	c := &queuedConn{Conn: conn}
	c.more.L = &c.mu
	c.sending.Go(c.send)
	return c
}

// send writes what is queued, until the connection is closed.
func (c *queuedConn) send() {
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.more.Wait()
		}
		data := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(data) == 0 {
			return
		}
		_, _ = c.Conn.Write(data) // a reader that has gone needs nothing
	}
}

// Write queues a copy of p.
func (c *queuedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.queue = append(c.queue, p...)
	c.more.Signal()
	return len(p), nil
}

// Close drops what the reader has not taken.
func (c *queuedConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.more.Signal()
	c.mu.Unlock()
	err := c.Conn.Close()
	c.sending.Wait()
	return err
}
