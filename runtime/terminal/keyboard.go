// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Keyboard is the user's terminal, for one dialog at a time.
type Keyboard struct {
	in, out *os.File
	lock    chan struct{} // capacity 1: full while the terminal is taken
	// Suspend clears what is drawn on the screen until resume; other output goes
	// to a writer in the meantime. Nil: nothing is drawn.
	Suspend func(through io.Writer) (resume func())

	mu      sync.Mutex // guards what follows
	reading bool       // a goroutine reads, or its result was not taken yet
	got     chan keys
}

// keys is keyboard input.
type keys struct {
	text []byte
	err  error
}

// NewKeyboard returns a Keyboard whose keys come from in, and whose screen is out.
func NewKeyboard(in, out *os.File) *Keyboard {
	return &Keyboard{in: in, out: out, lock: make(chan struct{}, 1), got: make(chan keys, 1)}
}

// IsInteractive reports whether a dialog is possible: both are terminals.
func (k *Keyboard) IsInteractive() bool {
	return term.IsTerminal(int(k.in.Fd())) && term.IsTerminal(int(k.out.Fd()))
}

// Take waits for the terminal, and takes it until release. Other output goes to a
// writer in the meantime.
func (k *Keyboard) Take(ctx context.Context, through io.Writer) (release func(), err error) {
	select {
	case k.lock <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	resume := func() {}
	if k.Suspend != nil {
		resume = k.Suspend(through)
	}
	return func() { resume(); <-k.lock }, nil
}

// Read waits for input. A read from a terminal cannot be cancelled: input after ctx
// has ended is kept for the next Read.
func (k *Keyboard) Read(ctx context.Context) ([]byte, error) {
	k.mu.Lock()
	if !k.reading {
		k.reading = true
		go func() { // ends with the next key, or the program
			buf := make([]byte, 4<<10)
			n, err := k.in.Read(buf)
			k.got <- keys{buf[:n], err}
		}()
	}
	k.mu.Unlock()
	select {
	case pressed := <-k.got:
		k.mu.Lock()
		k.reading = false
		k.mu.Unlock()
		return pressed.text, pressed.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Enter waits until the Enter key is pressed.
func (k *Keyboard) Enter(ctx context.Context) error {
	for {
		text, err := k.Read(ctx)
		if err != nil || bytes.ContainsAny(text, "\r\n") {
			return err
		}
	}
}

// Prompt is a dialog with a line editor.
type Prompt struct {
	keyboard *Keyboard
	terminal *term.Terminal
	release  func()
	mask     func(string) string // hides passwords
	ctx      context.Context     // of the current ReadLine
	rest     []byte

	keepsCtrlC bool // Ctrl-C is a key of the dialog
	dropped    bool // the user has pressed it while the line was edited
}

// Prompt takes the terminal until the prompt is closed. Output to it is filtered by
// mask.
func (k *Keyboard) Prompt(ctx context.Context, mask func(string) string) (*Prompt, error) {
	t := &Prompt{keyboard: k, mask: mask}
	t.terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{t, k.out}, "")
	release, err := k.Take(ctx, t.terminal)
	if err != nil {
		return nil, err
	}
	t.release = release
	return t, nil
}

// Write writes above the edited line.
func (t *Prompt) Write(text []byte) (int, error) {
	masked := []byte(t.mask(string(text)))
	var err error
	if t.keyboard.IsInteractive() {
		_, err = t.terminal.Write(masked)
	} else {
		_, err = t.keyboard.out.Write(masked)
	}
	return len(text), err
}

// Read passes input to the line editor. Ctrl-C interrupts the run, unless [Prompt.KeepCtrlC] has been called.
func (t *Prompt) Read(buf []byte) (int, error) {
	if len(t.rest) == 0 {
		text, err := t.keyboard.Read(t.ctx)
		if err != nil {
			return 0, err
		}
		after, interrupted := afterCtrlC(text)
		switch t.rest = text; {
		case interrupted && t.keepsCtrlC:
			t.dropLine(after)
		case interrupted:
			_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
			<-t.ctx.Done()
			return 0, context.Cause(t.ctx)
		}
	}
	n := copy(buf, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// ReadLine prompts with text, and returns the line, or [ErrDropped]. What is no terminal is read without a prompt.
func (t *Prompt) ReadLine(ctx context.Context, text string) (string, error) {
	if !t.keyboard.IsInteractive() {
		return t.readPlain(ctx)
	}
	if !t.keepsCtrlC { // else the terminal is raw all the time, so that the key never interrupts the run
		restore, err := Raw(t.keyboard.in)
		if err != nil {
			return "", err
		}
		defer restore()
	}
	t.ctx = ctx
	t.terminal.SetPrompt(text)
	line, err := t.terminal.ReadLine()
	if t.dropped {
		t.dropped = false
		return "", ErrDropped
	}
	return line, err
}

// Close releases the terminal.
func (t *Prompt) Close() error {
	t.release()
	return nil
}

// Raw puts the terminal into raw mode until restore, but keeps output processing, so
// that "\n" of other output starts a line.
func Raw(f *os.File) (restore func(), err error) {
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
