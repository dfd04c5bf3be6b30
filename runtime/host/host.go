// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Host is a machine that we are connected to. See the package documentation for
// what its methods have in common.
type Host struct {
	config Config
	log    *slog.Logger
	main   *connection // forwards, file transfers, and commands as long as there is room

	mu          sync.Mutex // guards what follows, and the counts of sessions in connections
	connections []*connection
	opening     bool          // a further connection is being opened
	changed     chan struct{} // closed and replaced when a session or connection may be free
	processes   map[*Process]struct{}
	closed      bool
	ports       map[int]bool // returned by FreePort, or reserved

	filesLock chan struct{} // guards what follows; a channel, as holders wait for the host
	files     *sftp.Client  // nil until the first transfer
	filesConn *connection   // what files runs over
}

// Dial connects to the host of c and logs in. It blocks for up to
// c.ConnectTimeout. Its errors say what to do: [*UnreachableError],
// [*HostKeyError], [*AuthError]. The caller closes the Host.
func Dial(ctx context.Context, c Config, log *slog.Logger) (*Host, error) {
	log = log.With("host", c.Name)
	for _, notice := range c.Notices {
		log.Warn("SSH configuration", "notice", notice)
	}
	started := time.Now()
	main, err := connect(ctx, c, log)
	if err != nil {
		return nil, err
	}
	log.Debug("connected", "endpoint", c.endpoint(), "duration", time.Since(started))
	return &Host{
		config:      main.config,
		log:         log,
		main:        main,
		connections: []*connection{main},
		changed:     make(chan struct{}),
		processes:   map[*Process]struct{}{},
		filesLock:   make(chan struct{}, 1),
		ports:       map[int]bool{},
	}, nil
}

// Name returns what the user calls the host.
func (h *Host) Name() string { return h.config.Name }

// Address returns the host's DNS name or IP address, by which its peers reach
// it too.
func (h *Host) Address() string { return h.config.Address }

// Config returns the configuration that the Host was dialed with, its defaults
// filled in.
func (h *Host) Config() Config { return h.config }

// Login returns how mhmig has logged in.
func (h *Host) Login() Login { return h.main.login }

// RoundTrip measures how long a message to the host's sshd and its answer take.
func (h *Host) RoundTrip(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := h.main.roundTrip(ctx); err != nil {
		return 0, fmt.Errorf("%s: %w", h.Name(), err)
	}
	return time.Since(began), nil
}

// Lost returns a channel that is closed when the connection has ended, by
// itself or by Close. [Host.Err] says why.
func (h *Host) Lost() <-chan struct{} { return h.main.ended.Done() }

// Err returns why the connection has ended: a [*LostError], [ErrClosed], or nil
// while it is up.
func (h *Host) Err() error { return context.Cause(h.main.ended) }

// Close kills the commands that still run, ends all connections, and returns
// when all its goroutines have ended. Its error names commands that it could not
// kill. Calling it again does nothing.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	processes := make([]*Process, 0, len(h.processes))
	for p := range h.processes {
		processes = append(processes, p)
	}
	h.mu.Unlock()

	var errs []error
	for _, p := range processes {
		p.cancel(ErrClosed)
	}
	for _, p := range processes {
		<-p.done
		if killed, ok := errors.AsType[*KilledError](p.err); ok && killed.KillErr != nil {
			errs = append(errs, killed)
		}
	}

	h.mu.Lock()
	connections := slices.Clone(h.connections)
	h.mu.Unlock()
	for _, k := range connections {
		k.stop(ErrClosed)
	}
	for _, k := range connections {
		k.close(ErrClosed)
	}
	return errors.Join(errs...)
}

// urgency is whether a session may use the capacity reserved for killing.
type urgency bool

const (
	ordinary urgency = false
	urgent   urgency = true
)

// acquire reserves a session on a connection, opening another connection when all
// are full. The caller calls release.
func (h *Host) acquire(ctx context.Context, u urgency) (*connection, error) {
	for {
		h.mu.Lock()
		if h.closed && u == ordinary {
			h.mu.Unlock()
			return nil, ErrClosed
		}
		if h.main.ended.Err() != nil {
			h.mu.Unlock()
			return nil, context.Cause(h.main.ended)
		}
		h.connections = slices.DeleteFunc(h.connections, func(k *connection) bool {
			return k != h.main && k.sessions == 0 && k.ended.Err() != nil
		})
		for _, k := range h.connections {
			if k.sessions < k.room(u) && k.ended.Err() == nil {
				k.sessions++
				h.mu.Unlock()
				return k, nil
			}
		}
		mayOpen := !h.opening && (len(h.connections) < maxConnections || u == urgent)
		changed := h.changed
		if mayOpen {
			h.opening = true
		}
		h.mu.Unlock()

		if !mayOpen {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("%s: wait for a free session: %w", h.Name(), context.Cause(ctx))
			case <-h.main.ended.Done():
				return nil, context.Cause(h.main.ended)
			}
		}
		// Messages about keys were logged when the main connection was opened.
		k, err := connect(ctx, h.config, slog.New(slog.DiscardHandler))
		h.mu.Lock()
		h.opening = false
		if err == nil {
			k.limit = h.main.limit // as detected
			h.connections = append(h.connections, k)
		}
		h.notifyWaiters()
		h.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("open a further connection: %w", err)
		}
		h.log.Debug("opened a further connection for more sessions")
	}
}

// room returns how many sessions k may have for a session of urgency u.
func (k *connection) room(u urgency) int {
	if u == urgent {
		return k.limit
	}
	return max(1, k.limit-1)
}

// release undoes acquire.
func (h *Host) release(k *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k.sessions--
	h.notifyWaiters()
}

// notifyWaiters wakes goroutines that wait for a session. The caller holds h.mu.
func (h *Host) notifyWaiters() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// session opens an SSH session on a connection with capacity. The caller closes it
// and releases the connection.
func (h *Host) session(ctx context.Context, u urgency) (*connection, *ssh.Session, error) {
	for {
		k, err := h.acquire(ctx, u)
		if err != nil {
			return nil, nil, err
		}
		s, err := k.openSession(ctx)
		if isRefusal(err) {
			// sshd may not have processed the end of an earlier session yet. After
			// a round trip it has.
			if err = k.roundTrip(ctx); err == nil {
				s, err = k.openSession(ctx)
			}
		}
		if err == nil {
			return k, s, nil
		}
		h.release(k)
		if !isRefusal(err) || !h.lowerLimit(k) {
			return nil, nil, fmt.Errorf("%s: open a session: %w", h.Name(), err)
		}
	}
}

func (k *connection) openSession(ctx context.Context) (*ssh.Session, error) {
	return await(ctx, k, k.client.NewSession, func(s *ssh.Session) { s.Close() })
}

func (k *connection) roundTrip(ctx context.Context) error {
	_, err := await(ctx, k, func() (bool, error) {
		_, _, err := k.client.SendRequest("keepalive@openssh.com", true, nil)
		return true, err
	}, nil)
	return err
}

// isRefusal reports whether the server refused to open a channel.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*ssh.OpenChannelError](err)
	return ok
}

// lowerLimit is called when the server refused a session on k: its limit is the
// number of sessions in use there. It reports false when that is 0.
func (h *Host) lowerLimit(k *connection) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.sessions == 0 {
		return false
	}
	if k.sessions < k.limit {
		k.limit = k.sessions
		h.log.Debug("the server allows fewer sessions on a connection", "sessions", k.limit)
	}
	return true
}
