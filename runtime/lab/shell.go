// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Login is an interactive login to a host of a lab, as with ssh. Package host is
// for programs: it has no terminals, and its commands get an environment that does
// not depend on the user.
type Login struct {
	// Command is run by the host's shell. Empty: an interactive shell.
	Command string
	// Stdin is read by a goroutine that ends when a Read returns after the
	// session's end.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal is the user's. Nil: none.
	Terminal *Terminal
}

// Terminal describes the user's terminal.
type Terminal struct {
	Type    string // such as xterm
	Size    Size
	Resized <-chan Size // nil: never
}

// Size is the size of a terminal in characters.
type Size struct{ Columns, Rows int }

// Login logs in to a host of the lab, and returns the exit status of the command or
// shell: 128 plus the signal's number if a signal ended it. When ctx ends it hangs
// up, which kills the command.
func (s *State) Login(ctx context.Context, hostName string, l Login) (status int, err error) {
	e, err := s.endpoint(hostName)
	if err != nil {
		return 0, err
	}
	status, err = s.login(ctx, e, l)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // which has closed the connection, at whatever step
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", hostName, err)
	}
	return status, nil
}

func (s *State) login(ctx context.Context, e Endpoint, l Login) (status int, err error) {
	client, err := s.connect(ctx, e)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	return runLogin(client, l)
}

func runLogin(client *ssh.Client, l Login) (status int, err error) {
	session, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	defer session.Close()
	session.Stdin, session.Stdout, session.Stderr = l.Stdin, l.Stdout, l.Stderr
	if t := l.Terminal; t != nil {
		if err := session.RequestPty(t.Type, t.Size.Rows, t.Size.Columns, ssh.TerminalModes{}); err != nil {
			return 0, err
		}
		ended := make(chan struct{})
		defer close(ended)
		go func() { // ends with the session
			for {
				select {
				case size := <-t.Resized:
					session.WindowChange(size.Rows, size.Columns) //nolint:errcheck // Wait reports a lost connection
				case <-ended:
					return
				}
			}
		}()
	}
	if l.Command != "" {
		err = session.Start(l.Command)
	} else {
		err = session.Shell()
	}
	if err != nil {
		return 0, err
	}
	err = session.Wait()
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// connect opens an SSH connection to a host, whose key must be known.
func (s *State) connect(ctx context.Context, e Endpoint) (*ssh.Client, error) {
	key, err := os.ReadFile(s.keyFile())
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.keyFile(), err)
	}
	known, err := knownhosts.New(s.knownHostsFile())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.knownHostsFile(), err)
	}
	address := net.JoinHostPort(e.Address, strconv.Itoa(e.Port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sshConn, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User:              s.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   known,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(sshConn, channels, requests), nil
}

// endpoint returns the host of the given name.
func (s *State) endpoint(name string) (Endpoint, error) {
	for _, e := range s.Hosts {
		if e.Name == name {
			return e, nil
		}
	}
	return Endpoint{}, fmt.Errorf("%s: no such host; the lab has %s to %s", name, s.Hosts[0].Name, s.Hosts[len(s.Hosts)-1].Name)
}
