// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Whoever types a part of a variant's name in bash, and Tab, gets it, also in quotes that are still open.
func TestBashCompletion(t *testing.T) {
	t.Parallel()
	const library = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(library); err != nil {
		t.Skip("COMPLETION IN BASH IS NOT TRIED: there is no bash-completion; make test installs it")
	}
	for _, tt := range []struct{ typed, want string }{
		{"mhmig list --filter 'only JeO\t", "mhmig list --filter 'only JeOS'"},
		{`mhmig list --filter "no JeO` + "\t", `mhmig list --filter "no JeOS"`},
		{`mhmig list --filter only\ JeO` + "\t", `mhmig list --filter only\ JeOS`},
		{"mhmig boots\t", "mhmig bootstrap"},
	} {
		dir := t.TempDir()
		bash := exec.CommandContext(t.Context(), "bash", "--norc", "--noprofile", "-i")
		bash.Dir = dir
		bash.Env = append(os.Environ(), "PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+dir, "MHMIG_CACHE="+dir, "TERM=dumb", "PS1=$ ")
		terminal, err := pty.StartWithSize(bash, &pty.Winsize{Rows: 24, Cols: 200})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(chan []byte)
		go func() { // ends with the terminal
			defer close(seen)
			for {
				part := make([]byte, 4096)
				n, err := terminal.Read(part)
				if err != nil {
					return
				}
				seen <- part[:n]
			}
		}()
		var screen []byte
		await := func(text string) {
			t.Helper()
			for timeout := time.After(time.Minute); !bytes.Contains(screen, []byte(text)); {
				select {
				case part, ok := <-seen:
					if !ok {
						t.Fatalf("bash has ended; the screen has %q", screen)
					}
					screen = append(screen, part...)
				case <-timeout:
					t.Fatalf("no %q on the screen, which has %q", text, screen)
				}
			}
		}
		if _, err := terminal.WriteString(". " + library + "; . <(mhmig completion bash); echo set''up\n"); err != nil {
			t.Fatal(err)
		}
		await("setup\r\n$ ")
		screen = nil
		if _, err := terminal.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		await(tt.want)
		_ = bash.Process.Kill()
		_ = bash.Wait()  // it was killed
		for range seen { // the reader ends, as nobody has the terminal any longer
		}
		terminal.Close()
		if strings.Contains(string(screen), "rror") {
			t.Errorf("%q: %s", tt.typed, screen)
		}
	}
}
