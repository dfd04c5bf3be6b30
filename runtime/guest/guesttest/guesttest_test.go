// SPDX-License-Identifier: Apache-2.0

package guesttest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/guest/guesttest"
	"github.com/mhmig/mhmig/runtime/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login logs in to a scripted guest, until the test's end.
func login(t *testing.T, g *guesttest.Guest, password host.Secret) (*guest.Session, error) {
	t.Helper()
	client, server := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() { g.ServeSSH(server) })
	t.Cleanup(func() {
		_ = client.Close()
		serving.Wait()
	})
	return guest.SSH(t.Context(), client, guest.Credentials{Password: password})
}

// Sessions of a scripted guest run commands in the shell and beside it, in virtual time.
func TestSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &guesttest.Guest{Password: "secret", Run: func(c guesttest.Command) (string, int) {
			switch {
			case strings.HasPrefix(c.Text, "cat >"):
				got, _ := io.ReadAll(c.Stdin)
				return string('0'+byte(len(got))) + "\n", 0
			case c.Text == "sleep 60":
				time.Sleep(time.Minute)
				return "", 0
			case c.Text == "fails":
				return "some\n", 3
			case c.Text == "it's" && c.Shell:
				return "said\n", 3
			}
			return "beside\n", 0
		}}
		if _, err := login(t, g, "wrong"); !errors.Is(err, guest.ErrRefused) {
			t.Errorf("a wrong password: got %v, want that it is refused", err)
		}
		s, err := login(t, g, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if status, out, err := s.CmdStatusOutput(t.Context(), "it's", time.Minute); status != 3 || out != "said\n" || err != nil {
			t.Errorf("in the shell: got %d, %q, %v", status, out, err)
		}
		if out, err := s.ExecChannel(t.Context(), "uname"); out != "beside\n" || err != nil {
			t.Errorf("on a channel: got %q, %v", out, err)
		}
		if out, err := s.ExecChannel(t.Context(), "fails"); out != "some\n" || err == nil {
			t.Errorf("on a channel, a command that fails: got %q, %v, want an error", out, err)
		}
		if _, err := s.Upload(t.Context(), strings.NewReader("1234"), "/tmp/x", 0o644); err != nil {
			t.Errorf("upload: %v", err)
		}
		if _, err := s.Cmd(t.Context(), "sleep 60", time.Second); err == nil {
			t.Error("a command that takes too long has succeeded")
		}
	})
}

// A guest that prints something else than a file's size, as much as it likes, is told in few
// words, and fills no memory.
func TestNoSize(t *testing.T) {
	t.Parallel()
	for _, printed := range []string{strings.Repeat("0", 1<<20), strings.Repeat("no size ", 1<<17) + "\n", "-5\n", "\n"} {
		synctest.Test(t, func(t *testing.T) {
			s, err := login(t, &guesttest.Guest{Run: func(guesttest.Command) (string, int) { return printed, 0 }}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, up := s.Upload(ctx, strings.NewReader(""), "/tmp/x", 0o644)
			_, down := s.Download(ctx, "/tmp/x", io.Discard)
			for _, err := range []error{up, down} {
				if err == nil || !strings.Contains(err.Error(), "wc -c has printed no size, but a line that begins with") || len(err.Error()) > 200 {
					t.Errorf("%.20q: got %.100v, want a short error that it is no size", printed, err)
				}
			}
		})
	}
}
