// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/builtins"
)

// person is who sits at the terminal: one talk with them at a time.
type person struct {
	in, out *os.File
	turn    chan struct{} // capacity 1: who has put something in has the terminal
	// suspend clears the screen of what is drawn there until resume; other lines go
	// through a writer meanwhile. Nil: nothing is drawn.
	suspend func(through io.Writer) (resume func())

	mu      sync.Mutex // guards what follows
	reading bool       // a goroutine reads, or has read what nobody has taken
	got     chan keys
}

// keys is what was typed.
type keys struct {
	text []byte
	err  error
}

func newPerson(in, out *os.File) *person {
	return &person{in: in, out: out, turn: make(chan struct{}, 1), got: make(chan keys, 1)}
}

// there says whether somebody can be talked to.
func (p *person) there() bool {
	return term.IsTerminal(int(p.in.Fd())) && term.IsTerminal(int(p.out.Fd()))
}

// take takes the terminal until release. Lines of others go through a writer meanwhile.
func (p *person) take(ctx context.Context, through io.Writer) (release func(), err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	resume := func() {}
	if p.suspend != nil {
		resume = p.suspend(through)
	}
	return func() { resume(); <-p.turn }, nil
}

// read waits for keys. A read from a terminal knows no context: what comes after
// ctx has ended is kept for the next who reads.
func (p *person) read(ctx context.Context) ([]byte, error) {
	p.mu.Lock()
	if !p.reading {
		p.reading = true
		go func() { // ends with the next key, or the program
			buf := make([]byte, 4<<10)
			n, err := p.in.Read(buf)
			p.got <- keys{buf[:n], err}
		}()
	}
	p.mu.Unlock()
	select {
	case k := <-p.got:
		p.mu.Lock()
		p.reading = false
		p.mu.Unlock()
		return k.text, k.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// enter waits until the Enter key is pressed.
func (p *person) enter(ctx context.Context) error {
	for {
		text, err := p.read(ctx)
		if err != nil || bytes.ContainsAny(text, "\r\n") {
			return err
		}
	}
}

// prompt is a talk at a breakpoint.
type prompt struct {
	person   *person
	terminal *term.Terminal
	release  func()
	mask     func(string) string // hides passwords
	ctx      context.Context     // of the ReadLine that goes on
	rest     []byte
}

var _ builtins.Prompt = (*prompt)(nil)

func (p *person) prompt(ctx context.Context, mask func(string) string) (builtins.Prompt, error) {
	t := &prompt{person: p, mask: mask}
	t.terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t, p.out}, "")
	release, err := p.take(ctx, t.terminal)
	if err != nil {
		return nil, err
	}
	t.release = release
	return t, nil
}

func (t *prompt) Write(text []byte) (int, error) {
	_, err := t.terminal.Write([]byte(t.mask(string(text))))
	return len(text), err
}

// Read gives the keys to the line editor. Ctrl-C is for the run.
func (t *prompt) Read(buf []byte) (int, error) {
	if len(t.rest) == 0 {
		text, err := t.person.read(t.ctx)
		if err != nil {
			return 0, err
		}
		if bytes.IndexByte(text, 3) >= 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
			<-t.ctx.Done()
			return 0, context.Cause(t.ctx)
		}
		t.rest = text
	}
	n := copy(buf, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *prompt) ReadLine(ctx context.Context, text string) (string, error) {
	restore, err := rawTerminal(t.person.in)
	if err != nil {
		return "", err
	}
	defer restore()
	t.ctx = ctx
	t.terminal.SetPrompt(text)
	return t.terminal.ReadLine()
}

func (t *prompt) Close() error {
	t.release()
	return nil
}

// rawTerminal lets keys through as they are typed, until restore. What others
// write meanwhile keeps its lines.
func rawTerminal(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	if now, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		now.Oflag |= unix.OPOST
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, now)
	}
	return func() { _ = term.Restore(fd, before) }, nil
}
