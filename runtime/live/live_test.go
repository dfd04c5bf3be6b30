// SPDX-License-Identifier: Apache-2.0

package live

import (
	"io"
	"os"
	"testing"

	"github.com/creack/pty"
)

// openTerminal returns both ends of a terminal without a size.
func openTerminal(t *testing.T) (reader, terminal *os.File) {
	t.Helper()
	reader, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close(); _ = reader.Close() })
	return reader, terminal
}

// TestResumeAfterClose: who was suspended while the run ended does not draw again.
func TestResumeAfterClose(t *testing.T) {
	t.Parallel()
	reader, terminal := openTerminal(t)
	go func() { _, _ = io.Copy(io.Discard, reader) }() // ends with the terminal
	v := New(terminal, Options{})
	v.Suspend(nil)()
	if v.screen == nil {
		t.Error("resumed: got no screen")
	}
	resume := v.Suspend(nil)
	v.Close()
	resume()
	if v.screen != nil {
		t.Error("resumed after Close: got a screen")
		v.close()
	}
}
