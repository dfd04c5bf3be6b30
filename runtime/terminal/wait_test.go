// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWaits says what a command does when that takes longer than 2 s, and nothing before.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		short := NewWait(&stderr, false, "making tea")
		time.Sleep(waitDelay - time.Millisecond)
		short.Done()
		time.Sleep(time.Minute)
		if stderr.Len() > 0 {
			t.Errorf("a short wait has said %q", stderr.String())
		}

		long := NewWait(&stderr, false, "making tea")
		time.Sleep(waitDelay + time.Millisecond)
		synctest.Wait()
		if got, want := stderr.String(), "mhmig: making tea: takes longer than 2s\n"; got != want {
			t.Errorf("a long wait has said %q, want %q", got, want)
		}
		time.Sleep(time.Minute)
		long.Done()
		if got := strings.Count(stderr.String(), "\n"); got != 1 {
			t.Errorf("a long wait has said %d lines", got)
		}

		stderr.Reset()
		busy := NewWait(&stderr, false, "making tea")
		out := busy.Writer(&stdout)
		for range 10 {
			time.Sleep(waitDelay / 2)
			if _, err := out.Write([]byte("cup\n")); err != nil {
				t.Fatal(err)
			}
		}
		busy.Done()
		if stderr.Len() > 0 || stdout.String() != strings.Repeat("cup\n", 10) {
			t.Errorf("work that shows has said %q and written %q", stderr.String(), stdout.String())
		}
	})
}

// TestWaitOnTerminal shows a line that counts the seconds, and takes it away.
func TestWaitOnTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		w := NewWait(&stderr, true, "making tea")
		time.Sleep(4*time.Second + time.Millisecond)
		synctest.Wait()
		const line = "\r\x1b[Kmhmig: making tea, "
		if want := line + "2 s" + line + "3 s" + line + "4 s"; stderr.String() != want {
			t.Errorf("the terminal got %q, want %q", stderr.String(), want)
		}
		stderr.Reset()
		if _, err := w.Writer(&stdout).Write([]byte("cup\n")); err != nil {
			t.Fatal(err)
		}
		w.Done()
		if want := "\r\x1b[K"; stderr.String() != want {
			t.Errorf("the terminal got %q at the end, want %q", stderr.String(), want)
		}
	})
}
