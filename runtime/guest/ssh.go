// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// SSH logs in over conn, which it owns from now on, and returns a session in
// the login shell, which has answered. ctx limits the login, not the session.
// ErrRefused is permanent; after any other error, a retry with a new connection
// may help.
//
// The guest's host key is not checked: each image has a new one, and conn leads
// to the guest's QEMU through a host whose key was checked.
func SSH(ctx context.Context, conn net.Conn, c Credentials) (*Session, error) {
	s, err := LogIn(ctx, conn, c)
	if err != nil {
		return nil, err
	}
	if err := s.acquire(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("ssh login as %s: %w", c.username(), err)
	}
	s.release()
	return s, nil
}

// LogIn is SSH without waiting for the shell: it returns when the guest has
// accepted the login and started a shell. The first use of the session waits for it.
func LogIn(ctx context.Context, conn net.Conn, c Credentials) (*Session, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	s, err := logIn(conn, c)
	if err != nil || !stop() {
		_ = conn.Close()
		if s != nil {
			_ = s.Close()
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = cause // err comes from closing the connection
		}
		return nil, fmt.Errorf("ssh login as %s: %w", c.username(), err)
	}
	return s, nil
}

func logIn(conn net.Conn, c Credentials) (*Session, error) {
	client, err := handshake(conn, c)
	if err != nil {
		return nil, err
	}
	w, in, err := openShell(client)
	if err != nil {
		_ = client.Close()
		_ = client.Wait()
		return nil, fmt.Errorf("open a shell: %w", err)
	}
	s := newSession(w, in)
	s.fresh = true
	return s, nil
}

func handshake(conn net.Conn, c Credentials) (*ssh.Client, error) {
	auth, err := c.authMethods()
	if err != nil {
		return nil, err
	}
	safe, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms() // old guests have nothing else
	var keysExchanged atomic.Bool
	config := &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: offer(c.KeyExchanges, fastKeyExchanges, safe.KeyExchanges, old.KeyExchanges),
			Ciphers:      offer(c.Ciphers, fastCiphers, safe.Ciphers, old.Ciphers),
			MACs:         slices.Concat(safe.MACs, old.MACs),
		},
		User: c.username(),
		Auth: auth,
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error {
			keysExchanged.Store(true)
			return nil
		},
		HostKeyAlgorithms: offer(nil, fastHostKeys, safe.HostKeys, old.HostKeys),
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, "guest", config)
	if err != nil {
		_, noCommonAlgorithm := errors.AsType[*ssh.AlgorithmNegotiationError](err)
		if noCommonAlgorithm || keysExchanged.Load() && !isConnectionFault(err) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, err
	}
	return ssh.NewClient(sc, channels, requests), nil
}

func (c Credentials) authMethods() ([]ssh.AuthMethod, error) {
	var methods []ssh.AuthMethod
	if c.Key != "" {
		signer, err := ssh.ParsePrivateKey([]byte(c.Key.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("%w: private key: %w", ErrRefused, err)
		}
		methods = append(methods, ssh.PublicKeys(signer))
	}
	answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = c.Password.Reveal()
		}
		return answers, nil
	}
	return append(methods, ssh.Password(c.Password.Reveal()), ssh.KeyboardInteractive(answer)), nil
}

// The algorithms that an emulated CPU computes fastest: elliptic curves instead of
// big integers and lattices, and ciphers that need no AES instructions.
var (
	fastKeyExchanges = []string{ssh.KeyExchangeCurve25519}
	fastCiphers      = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128CTR}
	fastHostKeys     = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256}
)

// offer returns the requested algorithms, or else all, the fast ones first.
func offer(asked, fast []string, more ...[]string) []string {
	if len(asked) > 0 {
		return asked
	}
	list := slices.Clone(fast)
	for _, name := range slices.Concat(more...) {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// isConnectionFault reports whether the connection broke, rather than the peer refusing.
func isConnectionFault(err error) bool {
	if _, isNet := errors.AsType[net.Error](err); isNet {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

// sshWire is a login shell on a channel of its own connection.
type sshWire struct {
	client  *ssh.Client
	pty     bool
	out     *outbox
	waiting sync.WaitGroup
	closing sync.Once

	mu     sync.Mutex // guards closed
	closed bool       // no further goroutine starts
}

// openShell starts the login shell, with a pty if the guest allows it.
func openShell(client *ssh.Client) (*sshWire, *inbox, error) {
	shell, err := client.NewSession()
	if err != nil {
		return nil, nil, err
	}
	in := newInbox()
	shell.Stdout, shell.Stderr = in, in
	stdin, err := shell.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	w := &sshWire{client: client}
	quiet := ssh.TerminalModes{ssh.ECHO: 0, ssh.OPOST: 0}
	w.pty = shell.RequestPty("dumb", 50, 1000, quiet) == nil // wide: some programs cut at the edge
	if err := shell.Shell(); err != nil {
		return nil, nil, err
	}
	w.out = newOutbox(stdin, func(err error) { in.end(fmt.Errorf("%w: %w", ErrEnded, err)) })
	w.waiting.Go(func() { // ends with the connection, at the latest by close
		in.end(shellExitError(shell.Wait()))
	})
	return w, in, nil
}

// shellExitError describes how the channel ended.
func shellExitError(err error) error {
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return fmt.Errorf("%w: the shell exited with status %d", ErrEnded, exit.ExitStatus())
	}
	if err == nil {
		return fmt.Errorf("%w: the shell exited", ErrEnded)
	}
	return fmt.Errorf("%w: the connection to the guest was lost: %w", ErrEnded, err)
}

func (w *sshWire) send(ctx context.Context, p []byte) error { return w.out.send(ctx, p) }

// interrupt sends Ctrl-C. Without a pty that does nothing, and SSH's signal request
// would end the shell itself: the command then runs to its end.
func (w *sshWire) interrupt(ctx context.Context) error {
	if !w.pty {
		return errors.ErrUnsupported
	}
	return w.out.send(ctx, []byte{ctrlC})
}

const ctrlC = 3

// maxExecOutput is how many bytes ExecChannel reads.
const maxExecOutput = 64 << 10

// ExecChannel runs a command on a new channel of the session's SSH connection, not in
// its shell, which may be busy, and returns its stdout: at most 64 KiB. On a serial
// session it returns errors.ErrUnsupported. A command that fails is an error, with what it
// has printed.
func (s *Session) ExecChannel(ctx context.Context, command string) (string, error) {
	w, ok := s.wire.(*sshWire)
	if !ok {
		return "", errors.ErrUnsupported
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return "", ErrClosed
	}
	var out []byte
	ended := make(chan error, 1)
	w.waiting.Go(func() { ended <- w.exec(ctx, command, &out) }) // at the latest with the connection
	w.mu.Unlock()
	select {
	case err := <-ended:
		return string(out), err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (w *sshWire) exec(ctx context.Context, command string, out *[]byte) error {
	session, err := w.client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	stdout, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	if err := session.Start(command); err != nil {
		return err
	}
	if *out, err = io.ReadAll(io.LimitReader(stdout, maxExecOutput)); err != nil || len(*out) == maxExecOutput {
		return err
	}
	return session.Wait()
}

func (w *sshWire) close(*Session) error {
	w.closing.Do(func() {
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		_ = w.client.Close()
		w.out.close()
		w.waiting.Wait()
		_ = w.client.Wait()
	})
	return nil
}
