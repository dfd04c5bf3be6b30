// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	gqmp "github.com/digitalocean/go-qemu/qmp"
)

var (
	// ErrGone is matched by the error of every call that QEMU can no longer
	// answer: its process ended, or the connection was lost.
	ErrGone = errors.New("QEMU is gone")
	// ErrClosed is matched by the error of every call on a Conn that this side
	// has closed.
	ErrClosed = errors.New("monitor is closed")
	// ErrSilent is matched by the error of every call that QEMU did not answer
	// within the timeout of one exchange, though the connection is open: QEMU
	// hangs, is stopped, or is unreachable. Later calls may succeed.
	ErrSilent = errors.New("QEMU does not answer its monitor")
)

// DefaultTimeout is the default timeout of one exchange. QEMU answers from its main
// loop, and what blocks that for longer blocks the guest's devices too.
const DefaultTimeout = 10 * time.Second

// Error is an error reply of QEMU to a command.
type Error struct {
	Command string // the command that was refused
	Class   string // QEMU's error class: GenericError, CommandNotFound, DeviceNotFound …
	Desc    string // QEMU's message
}

// Error returns the command and QEMU's message.
func (e *Error) Error() string {
	if e.Class == "" || e.Class == "GenericError" {
		return e.Command + ": " + e.Desc
	}
	return e.Command + ": " + e.Desc + " (" + e.Class + ")"
}

// Options are the options of a Conn; the zero value is valid.
type Options struct {
	// Name is the prefix of errors and in log records, such as "vm1@host1".
	Name string
	// Transcript gets one JSON line for each message in either direction, with
	// secrets masked. It is written by one goroutine at a time and must not block.
	Transcript io.Writer
	// Logger gets unexpected input at level Warn and every message at level Debug.
	Logger *slog.Logger
	// Timeout is how long one exchange may take, from the command to QEMU's reply;
	// 0 means [DefaultTimeout].
	Timeout time.Duration
	// OutOfBand enables [Conn.ExecuteOutOfBand], if QEMU has it on this monitor.
	OutOfBand bool
}

// Conn is a negotiated connection to one QEMU's monitor. A QMP socket serves one
// client at a time, so a Conn blocks others until it is closed.
type Conn struct {
	conn       net.Conn
	name       string
	timeout    time.Duration // of one exchange
	log        *slog.Logger
	transcript *transcript

	greeted  chan greeting // from the reader to New; capacity 1
	version  gqmp.Version
	oob      bool          // commands can be executed out of band
	requests chan []byte   // lines for the writer
	done     chan struct{} // closed by the reader when it ends
	workers  sync.WaitGroup

	schema schemaCache

	mu            sync.Mutex // guards all below
	lastID        uint64
	pending       map[uint64]chan message
	subscriptions map[*Subscription]struct{}
	handlers      []func(Event)
	shutdown      string // the reason in QEMU's SHUTDOWN event
	cause         error  // why the connection ends, if this side ends it
	err           error  // why it ended; set before done is closed
}

// Conn is one of go-qemu's monitors.
var _ gqmp.Monitor = (*Conn)(nil)

// greeting is the first message of QEMU.
type greeting struct {
	Version      gqmp.Version `json:"version"`
	Capabilities []string     `json:"capabilities"`
}

// message is whatever QEMU sends: the greeting, a reply or an event.
type message struct {
	QMP    *greeting       `json:"QMP"`
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event     string         `json:"event"`
	Data      map[string]any `json:"data"`
	Timestamp timestamp      `json:"timestamp"`
}

// New waits for QEMU's greeting on conn and negotiates. It owns conn from now on
// and closes it when it fails. ctx limits the greeting and the negotiation only.
// A socket that serves another client accepts and sends nothing, so ctx should have a
// deadline.
func New(ctx context.Context, conn net.Conn, o Options) (*Conn, error) {
	if o.Name == "" {
		o.Name = "qmp"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	c := &Conn{
		conn:          conn,
		name:          o.Name,
		timeout:       o.Timeout,
		log:           o.Logger,
		transcript:    &transcript{w: o.Transcript, log: o.Logger},
		greeted:       make(chan greeting, 1),
		requests:      make(chan []byte),
		done:          make(chan struct{}),
		pending:       make(map[uint64]chan message),
		subscriptions: make(map[*Subscription]struct{}),
	}
	c.workers.Go(c.read)
	c.workers.Go(c.write)

	var hello greeting
	select {
	case hello = <-c.greeted:
	case <-c.done:
		_ = c.Close()
		return nil, c.endError("greeting")
	case <-ctx.Done():
		_ = c.Close()
		return nil, fmt.Errorf("%s: no greeting from QEMU (is another client on this monitor?): %w",
			c.name, context.Cause(ctx))
	}
	c.version, c.oob = hello.Version, o.OutOfBand && slices.Contains(hello.Capabilities, "oob")
	var negotiated any
	if c.oob {
		negotiated = map[string]any{"enable": []string{"oob"}}
	}
	if err := c.Execute(ctx, "qmp_capabilities", negotiated, nil); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Version is QEMU's version from its greeting. Prefer [Conn.Supports]
// to comparing versions.
func (c *Conn) Version() gqmp.Version { return c.version }

// Done is closed when the connection has ended, for any reason.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection ended; nil while it is open. It matches [ErrGone] or
// [ErrClosed].
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Execute sends a command and waits for its reply. arguments is anything that
// encoding/json makes an object of, or null for none; reply is nil or what the
// reply's "return" is decoded into. The error is an [*Error] when QEMU refused
// the command, matches [ErrGone] or [ErrClosed] when the connection has ended and
// [ErrSilent] on the timeout of one exchange, and wraps ctx's cause when ctx ended
// first. In the last two cases QEMU may still execute the command.
func (c *Conn) Execute(ctx context.Context, command string, arguments, reply any) error {
	return c.execute(ctx, "execute", command, arguments, reply)
}

// ExecuteOutOfBand is Execute for a command that QEMU executes also while its main thread
// is blocked (allow-oob in its schema), as that of a destination is whose guest waits for
// memory of a migration that is paused. Without [Options.OutOfBand] it is Execute.
func (c *Conn) ExecuteOutOfBand(ctx context.Context, command string, arguments, reply any) error {
	if !c.oob {
		return c.Execute(ctx, command, arguments, reply)
	}
	return c.execute(ctx, "exec-oob", command, arguments, reply)
}

func (c *Conn) execute(ctx context.Context, how, command string, arguments, reply any) error {
	request := map[string]any{how: command, "arguments": arguments}
	m, err := c.exchange(ctx, command, request)
	if err != nil {
		return err
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, reply); err != nil {
		return fmt.Errorf("%s: %s: unexpected reply: %w", c.name, command, err)
	}
	return nil
}

// Human runs a command line of QEMU's human monitor (HMP) and returns its output, for
// the few facts that QMP does not have.
func (c *Conn) Human(ctx context.Context, line string) (string, error) {
	var text string
	err := c.Execute(ctx, "human-monitor-command", map[string]any{"command-line": line}, &text)
	return text, err
}

// Close ends the connection and all subscriptions and waits for their goroutines. QEMU
// goes on. It may be called more than once; it returns nil.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	c.mu.Lock()
	open := make([]*Subscription, 0, len(c.subscriptions))
	for s := range c.subscriptions {
		open = append(open, s)
	}
	c.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	c.workers.Wait()
	return nil
}

// exchange sends a request under a new id and waits for the reply to it.
func (c *Conn) exchange(ctx context.Context, command string, request map[string]any) (message, error) {
	if err := ctx.Err(); err != nil {
		return message{}, fmt.Errorf("%s: %s: not sent: %w", c.name, command, context.Cause(ctx))
	}
	if err := normalizeArguments(request); err != nil {
		return message{}, fmt.Errorf("%s: %s: arguments: %w", c.name, command, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, ErrSilent)
	defer cancel()
	reply := make(chan message, 1)
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.pending[id] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()

	request["id"] = id
	line, err := json.Marshal(request)
	if err != nil {
		return message{}, fmt.Errorf("%s: %s: %w", c.name, command, err)
	}
	select {
	case c.requests <- append(line, '\n'):
	case <-c.done:
		return message{}, c.endError(command)
	case <-ctx.Done():
		return message{}, c.unanswered(ctx, command, "not sent, QEMU does not read")
	}

	var m message
	select {
	case m = <-reply:
	case <-c.done:
		select { // the reply to quit comes just before the end
		case m = <-reply:
		default:
			return message{}, c.endError(command)
		}
	case <-ctx.Done():
		return message{}, c.unanswered(ctx, command, "no reply")
	}
	if m.Error != nil {
		return message{}, fmt.Errorf("%s: %w", c.name, &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc})
	}
	return m, nil
}

// normalizeArguments encodes a request's arguments as QEMU accepts them: an object, or
// no member at all. QEMU rejects null, which Go makes of a nil map.
func normalizeArguments(request map[string]any) error {
	text, err := json.Marshal(request["arguments"])
	switch {
	case err != nil:
		return err
	case string(text) == "null":
		delete(request, "arguments")
	case text[0] != '{':
		return fmt.Errorf("got %s, want an object", text)
	default:
		request["arguments"] = json.RawMessage(text)
	}
	return nil
}

// unanswered is the error of an exchange that ctx has ended.
func (c *Conn) unanswered(ctx context.Context, command, seen string) error {
	cause := context.Cause(ctx)
	if cause == ErrSilent { //nolint:errorlint // the timeout of this exchange only
		return fmt.Errorf("%s: %w: %s: %s within %v", c.name, ErrSilent, command, seen, c.timeout)
	}
	return fmt.Errorf("%s: %s: %s: %w", c.name, command, seen, cause)
}

// read owns the read side: only it reads from the connection, and declares it ended.
func (c *Conn) read() {
	err := c.readAll(&limited{reader: c.conn, left: maxMessage})
	_ = c.conn.Close()

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(c.cause, ErrClosed):
		c.err = c.cause
	case c.shutdown != "":
		c.err = fmt.Errorf("%w: it shut down (%s)", ErrGone, c.shutdown)
	case c.cause != nil:
		c.err = c.cause
	case errors.Is(err, io.EOF):
		c.err = fmt.Errorf("%w: it closed its monitor", ErrGone)
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.err = fmt.Errorf("%w: its monitor closed in the middle of a message", ErrGone)
	default:
		c.err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	close(c.done)
}

// maxMessage is the maximum size of a message, in bytes: an endless one must not fill
// the memory. The largest known one, query-qmp-schema's reply, has a few hundred KiB.
const maxMessage = 64 << 20

// limited is a reader that fails after left bytes.
type limited struct {
	reader io.Reader
	left   int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("message too long: more than %d MiB", maxMessage>>20)
	}
	n, err := l.reader.Read(p)
	l.left -= n
	return n, err
}

func (c *Conn) readAll(from *limited) error {
	d := json.NewDecoder(from)
	greeted := false
	for {
		from.left = maxMessage
		var line json.RawMessage
		if err := d.Decode(&line); err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				return fmt.Errorf("invalid message: %w", err)
			}
			return err
		}
		received := time.Now()
		c.transcript.record(received, "recv", line)

		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("invalid message: %w", err)
		}
		switch {
		case !greeted:
			if m.QMP == nil {
				return errors.New("not a QMP monitor: the first message is not the greeting")
			}
			greeted = true
			c.greeted <- *m.QMP
		case m.Event != "":
			c.publish(m, received)
		default:
			c.deliver(m)
		}
	}
}

func (c *Conn) deliver(m message) {
	if m.ID == nil {
		c.log.Warn("qmp reply without id", "vm", c.name)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply, ok := c.pending[*m.ID]; ok {
		delete(c.pending, *m.ID) // so that a second reply cannot fill the channel
		reply <- m
	}
}

// write owns the write side, so that a caller can return while a write to a frozen
// QEMU blocks, and the line is still sent completely.
func (c *Conn) write() {
	for {
		select {
		case line := <-c.requests:
			c.transcript.record(time.Now(), "send", line)
			if _, err := c.conn.Write(line); err != nil {
				c.end(fmt.Errorf("%w: %w", ErrGone, err))
				return
			}
		case <-c.done:
			return
		}
	}
}

// end makes the reader stop, with cause as the reason if there is none yet.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	if c.cause == nil && c.err == nil {
		c.cause = cause
	}
	c.mu.Unlock()
	_ = c.conn.Close()
}

func (c *Conn) endError(command string) error {
	return fmt.Errorf("%s: %s: %w", c.name, command, c.Err())
}
