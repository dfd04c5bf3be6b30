// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrDropped is the error of ReadLine when the user has dropped the line, or all lines that belong together, by Ctrl-C.
var ErrDropped = errors.New("the line was dropped")

// errStopped is the cause of a context that the user has ended by Ctrl-C.
var errStopped = errors.New("stopped by Ctrl-C")

// Keys of the line editor.
const (
	ctrlC = 3
	ctrlE = 5  // to the end of the line
	ctrlU = 21 // erases what is before the cursor
)

// KeepCtrlC makes Ctrl-C a key of the dialog, that does not interrupt the run: at the prompt it drops the line, and else it
// ends what [Prompt.Stoppable] is for. The terminal is in raw mode until Close.
func (t *Prompt) KeepCtrlC() error {
	if !t.keyboard.IsInteractive() {
		return nil
	}
	restore, err := Raw(t.keyboard.in)
	if err != nil {
		return err
	}
	t.keepsCtrlC = true
	release := t.release
	t.release = func() { restore(); release() }
	return nil
}

// Stoppable returns a context for something that runs while no line is read. It ends with ctx, when the user presses
// Ctrl-C, if that is kept, and with release, which must be called. What is typed meanwhile is read by the next ReadLine.
func (t *Prompt) Stoppable(ctx context.Context) (running context.Context, release func()) {
	if !t.keepsCtrlC {
		return ctx, func() {}
	}
	running, end := context.WithCancelCause(ctx)
	var typed []byte
	done := make(chan struct{})
	go func() { // ends with running
		defer close(done)
		for {
			text, err := t.keyboard.Read(running)
			if err != nil {
				return
			}
			if after, pressed := afterCtrlC(text); pressed {
				typed = after
				end(errStopped)
			} else {
				typed = append(typed, text...)
			}
		}
	}()
	return running, func() {
		end(nil)
		<-done
		t.rest = append(t.rest, typed...)
	}
}

// dropLine makes the line editor end its line without what was typed, and read next what was typed after Ctrl-C.
func (t *Prompt) dropLine(after []byte) {
	t.dropped = true
	t.rest = append([]byte{ctrlE, ctrlU, '\r'}, after...)
}

// afterCtrlC returns what was typed after the last Ctrl-C, if that was pressed: fast keys, and a paste, are read together.
func afterCtrlC(text []byte) (after []byte, pressed bool) {
	i := bytes.LastIndexByte(text, ctrlC)
	return text[i+1:], i >= 0
}

// Complete offers completions at the Tab key: candidates returns what may stand in a line from a byte on. Where nothing
// but blanks stands before the cursor, Tab indents.
func (t *Prompt) Complete(candidates func(line string) (from int, names []string)) {
	t.terminal.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		before, after := line[:pos], line[pos:]
		if strings.TrimSpace(before) == "" {
			return before + indent + after, pos + len(indent), true
		}
		from, names := candidates(before)
		if len(names) == 0 {
			return line, pos, true
		}
		common := commonPrefix(names)
		if common == before[from:] && len(names) > 1 {
			fmt.Fprintln(t, strings.Join(names, "  "))
		}
		before = before[:from] + common
		return before + after, len(before), true
	}
}

const indent = "    "

// commonPrefix returns what all names begin with.
func commonPrefix(names []string) string {
	first, last := slices.Min(names), slices.Max(names)
	for i := range len(first) {
		if i == len(last) || first[i] != last[i] {
			return first[:i]
		}
	}
	return first
}

// readPlain reads a line that is not typed at a terminal.
func (t *Prompt) readPlain(ctx context.Context) (string, error) {
	for {
		if line, rest, found := bytes.Cut(t.rest, []byte("\n")); found {
			t.rest = rest
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		text, err := t.keyboard.Read(ctx)
		t.rest = append(t.rest, text...)
		if err == nil {
			continue
		}
		if last := string(t.rest); errors.Is(err, io.EOF) && last != "" {
			t.rest = nil
			return last, nil
		}
		return "", err
	}
}
