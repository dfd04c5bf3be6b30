// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/host"
)

// Files to and from a guest with OpenSSH; JeOS has its own server, see TestInside of the
// builtins.
func TestFiles(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	private, public := keyPair(t)
	s, err := guest.LogIn(t.Context(), dialOpenSSH(t, public), guest.Credentials{Username: me.Username, Key: host.Secret(private)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	for _, size := range []int{0, 1, 5<<20 + 3} {
		name := filepath.Join(dir, fmt.Sprintf("it's %d", size))
		data := bytes.Repeat([]byte("\x00\r\n\xff"), size/4+1)[:size]
		want := fmt.Sprintf("%x", sha256.Sum256(data))
		if sum, err := s.Upload(t.Context(), bytes.NewReader(data), name, 0o741); err != nil || sum != want {
			t.Errorf("upload of %d bytes: got %s, %v, want %s", size, sum, err, want)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("uploaded: got %d bytes, %v, want %d", len(got), err, size)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o741 {
			t.Errorf("uploaded: got %v, %v, want its permission bits", info, err)
		}
		var back bytes.Buffer
		if sum, err := s.Download(t.Context(), name, &back); err != nil || sum != want || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("download of %d bytes: got %d with %s, %v, want %s", size, back.Len(), sum, err, want)
		}
	}
}

// Errors of copies say what is wrong, and on which side.
func TestFileErrors(t *testing.T) {
	t.Parallel()
	g := &fakeGuest{argv: []string{"sh"}}
	s := open(t, g, "serial")
	if _, err := s.Upload(t.Context(), strings.NewReader("x"), "/tmp/x", 0o644); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("on a serial console: got %v, want ErrUnsupported", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	private, public := keyPair(t)
	s, err = guest.LogIn(t.Context(), dialOpenSSH(t, public), guest.Credentials{Username: me.Username, Key: host.Secret(private)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Upload(t.Context(), strings.NewReader("x"), dir+"/none/x", 0o644)
	if failed, ok := errors.AsType[*guest.CmdError](err); !ok || failed.Status == 0 || !strings.Contains(failed.Output, "none/x") {
		t.Errorf("no such folder: got %v, want a CmdError that names it", err)
	}
	_, err = s.Upload(t.Context(), strings.NewReader("x"), "/dev/null", 0o666)
	if err == nil || !strings.Contains(err.Error(), "the guest's file has 0 bytes, but 1 were sent") {
		t.Errorf("no regular file: got %v, want that its size is wrong", err)
	}
	broken := errors.New("broken disk")
	_, err = s.Upload(t.Context(), iotest.ErrReader(broken), dir+"/x", 0o644)
	if _, local := errors.AsType[*guest.LocalError](err); !local || !errors.Is(err, broken) {
		t.Errorf("a local file that cannot be read: got %v, want a LocalError", err)
	}
	_, err = s.Download(t.Context(), large, failingWriter{broken})
	if _, local := errors.AsType[*guest.LocalError](err); !local || !errors.Is(err, broken) {
		t.Errorf("a local file that cannot be written: got %v, want a LocalError", err)
	}
	// Not before the file exists: the guest's shell must not make it while the folder is removed.
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	endless := endless{func() {
		if _, err := os.Stat(dir + "/endless"); err == nil {
			cancel(broken)
		}
	}}
	if _, err = s.Upload(ctx, endless, dir+"/endless", 0o644); !errors.Is(err, broken) {
		t.Errorf("it is cancelled: got %v, want the cause", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// endless is a reader of zeros, which calls read each time.
type endless struct{ read func() }

func (e endless) Read(p []byte) (int, error) { e.read(); clear(p); return len(p), nil }
