// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	dir := t.TempDir()
	ctx := t.Context()

	deep := filepath.Join(dir, "a b", "c'd")
	if err := h.MkdirAll(ctx, deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.MkdirAll(ctx, deep, 0o755); err != nil {
		t.Errorf("MkdirAll of a folder that is there: %v", err)
	}
	if info, err := os.Stat(deep); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: got %v, %v; want mode 0700", info.Mode(), err)
	}

	name := filepath.Join(deep, "file")
	for _, content := range []string{"a longer text", "short", ""} {
		if err := h.WriteFile(ctx, name, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := h.ReadFile(ctx, name); err != nil || string(got) != content {
			t.Errorf("ReadFile: got %q, %v; want %q", got, err, content)
		}
	}
	if info, err := h.Stat(ctx, name); err != nil || info.Mode().Perm() != 0o640 || info.Size() != 0 {
		t.Errorf("Stat: got %v, %v", info, err)
	}
	if there, err := h.Exists(ctx, name); err != nil || !there {
		t.Errorf("Exists: got %v, %v; want true", there, err)
	}

	if err := h.RemoveAll(ctx, deep); err != nil {
		t.Error(err)
	}
	if err := h.RemoveAll(ctx, deep); err != nil {
		t.Errorf("RemoveAll of what is gone: %v", err)
	}
	if there, err := h.Exists(ctx, name); err != nil || there {
		t.Errorf("Exists after RemoveAll: got %v, %v; want false", there, err)
	}
	for _, danger := range []string{"", "/", ".", "..", "//", "/../"} {
		if err := h.RemoveAll(ctx, danger); err == nil {
			t.Errorf("RemoveAll(%q): got no error", danger)
		}
	}

	_, err := h.ReadFile(ctx, name)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile of a missing file: got %v", err)
	}
	wantText(t, err, "host1: read "+name)
	if err := h.WriteFile(ctx, name, nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile in a missing folder: got %v", err)
	}
}

func TestUploadDownload(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	ctx := t.Context()
	data := make([]byte, 20<<20+17)
	rand.Read(data)
	local := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(local, data, 0o755); err != nil {
		t.Fatal(err)
	}
	remote := t.TempDir()
	if err := h.Upload(ctx, local, remote+"/"); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(remote, "program")
	got, err := os.ReadFile(there)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("uploaded: got %d bytes, %v; want %d, the same", len(got), err, len(data))
	}
	back := filepath.Join(t.TempDir(), "back")
	if err := h.Download(ctx, there, back); err != nil {
		t.Fatal(err)
	}
	got, err = os.ReadFile(back)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("downloaded: got %d bytes, %v; want %d, the same", len(got), err, len(data))
	}
	var copied bytes.Buffer
	if err := h.CopyTo(ctx, there, &copied); err != nil || !bytes.Equal(copied.Bytes(), data) {
		t.Errorf("copied: got %d bytes, %v; want %d, the same", copied.Len(), err, len(data))
	}
	copied.Reset()
	if err := h.CopyTo(ctx, "/proc/self/status", &copied); err != nil || copied.Len() == 0 {
		t.Errorf("a file without a size: got %d bytes, %v", copied.Len(), err)
	}
	if err := h.CopyTo(ctx, there+"-none", &copied); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CopyTo of a missing file: got %v", err)
	}
	full := errors.New("full")
	if err := h.CopyTo(ctx, there, failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("CopyTo what cannot be written: got %v", err)
	}
	for _, file := range []string{there, back} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: got mode %v, %v; want 0755", file, info.Mode(), err)
		}
	}

	if err := h.Upload(ctx, local+"-none", remote); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Upload of a missing file: got %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if err := h.Download(ctx, there+"-none", missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Download of a missing file: got %v", err)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a failed Download left a local file")
	}
	cancelled, cancel := context.WithCancelCause(ctx)
	cause := errors.New("interrupted")
	cancel(cause)
	if err := h.Upload(cancelled, local, there); !errors.Is(err, cause) {
		t.Errorf("Upload under an ended context: got %v, want its cause", err)
	}
}

// A download that fails leaves the local file as it was, and one that succeeds leaves a
// symbolic link to it.
func TestReplaceLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("from before"), 0o600), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		got, err := os.ReadFile(file)
		entries, listErr := os.ReadDir(dir)
		if target, linkErr := os.Readlink(link); errors.Join(err, listErr, linkErr) != nil || string(got) != text || target != "file" || len(entries) != 2 {
			t.Errorf("got %q, a link to %q and %v, want %q", got, target, entries, text)
		}
	}
	lost := errors.New("lost")
	err := host.ReplaceLocal(link, 0o644, func(w io.Writer) error { _, err := io.WriteString(w, "half of it"); return errors.Join(err, lost) })
	if !errors.Is(err, lost) {
		t.Errorf("got %v, want what it fails with", err)
	}
	want("from before")
	h := startServer(t).dial(t)
	if err := h.Download(t.Context(), filepath.Join(dir, "none"), link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: got %v", err)
	}
	want("from before")
	if err := host.ReplaceLocal(link, 0o644, func(w io.Writer) error { _, err := io.WriteString(w, "all of it"); return err }); err != nil {
		t.Error(err)
	}
	want("all of it")
	if err := host.ReplaceLocal(dir, 0o644, func(io.Writer) error { return nil }); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a folder: got %v", err)
	}
}

// failingWriter writes nothing.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestNoFileTransfer(t *testing.T) {
	t.Parallel()
	s := startServer(t, "ForceCommand exit 1")
	h := s.dial(t)
	if _, err := h.ReadFile(t.Context(), "x"); err == nil {
		t.Error("ReadFile without a file server: got no error")
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	facts, err := s.dial(t).Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if facts.Hostname != name || facts.User != s.config.User || facts.CPUs < 1 || facts.MemoryBytes < 64<<20 ||
		facts.Kernel == "" || facts.Arch == "" || facts.OS == "" {
		t.Errorf("facts: got %+v", facts)
	}
}

func TestFreePort(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	seen := map[int]bool{}
	for range 5 {
		port, err := h.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < 20000 || port >= 32000 {
			t.Errorf("port %d: want a new one from 20000 to 31999", port)
		}
		seen[port] = true
	}
}

// A port that a socket has is not reserved, nor twice the same; one of a connection that has
// ended is.
func TestReservePort(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	h := server.dial(t)
	only, err := server.dial(t).FreePort(t.Context()) // one that no outgoing connection takes
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", only))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	want := fmt.Sprintf("find a free port: all of %d to %[1]d are taken", only)
	reserve := func(when string, free bool) func() {
		t.Helper()
		port, release, err := h.ReservePort(t.Context(), only, only)
		if free && (err != nil || port != only) || !free && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %d, %v; want it: %t", when, port, err, free)
		}
		return release
	}
	reserve("something listens", false)
	connected, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	reserve("a connection has it", false)
	for _, end := range []net.Conn{accepted, connected} {
		if err := end.Close(); err != nil {
			t.Fatal(err)
		}
	}
	release := reserve("the connection has ended", true)
	reserve("it is reserved", false)
	if release != nil {
		release()
	}
	reserve("it is released", true)
}

func TestLocalPorts(t *testing.T) {
	t.Parallel()
	const tables = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 00000000000000000000000001000000:0016 0:0 06`
	for _, tt := range []struct {
		without string
		want    map[int]bool
	}{{"", map[int]bool{8080: true, 22: true}}, {host.TimeWait, map[int]bool{8080: true}}} {
		if got, err := host.LocalPorts([]byte(tables), tt.without); err != nil || !maps.Equal(got, tt.want) {
			t.Errorf("without state %q: got %v, %v; want %v", tt.without, got, err, tt.want)
		}
	}
}

// TestSpecialFiles reads and writes what may never end or never begin. It ends
// by its context, what ran on the host for it is gone, and other transfers go on.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	local := filepath.Join(dir, "local")
	if err := os.WriteFile(local, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	blocking := []struct {
		name string
		call func(context.Context) error
	}{
		{"ReadFile", func(ctx context.Context) error { _, err := h.ReadFile(ctx, pipe); return err }},
		{"WriteFile", func(ctx context.Context) error { return h.WriteFile(ctx, pipe, []byte("x"), 0o600) }},
		{"Upload", func(ctx context.Context) error { return h.Upload(ctx, local, pipe) }},
		{"Download", func(ctx context.Context) error { return h.Download(ctx, pipe, filepath.Join(dir, "copy")) }},
	}
	for _, b := range blocking {
		reason := errors.New("its time is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, reason)
		err := b.call(ctx)
		cancel()
		if !errors.Is(err, reason) {
			t.Errorf("%s of a pipe without another end: got %v, want that its time is over", b.name, err)
		}
		wantText(t, err, "host1: ", pipe)
		again, cancel := context.WithTimeout(t.Context(), time.Minute)
		if data, err := h.ReadFile(again, local); err != nil || string(data) != "content" {
			t.Errorf("ReadFile of another file after %s: got %q, %v", b.name, data, err)
		}
		cancel()
	}
	if _, err := os.Stat(filepath.Join(dir, "copy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a download that failed leaves its file: %v", err)
	}
	if out, err := h.Run(t.Context(), host.Command{Script: "grep -lsF -e " + pipe + " /proc/[0-9]*/cmdline || true"}); err != nil || strings.Count(string(out.Stdout), "\n") > 1 {
		t.Errorf("processes for the pipe are left (one is the question's own shell): %q, %v", out.Stdout, err)
	}

	for _, name := range []string{pipe, "/dev/zero"} {
		if err := h.Upload(t.Context(), name, filepath.Join(dir, "to")); err == nil {
			t.Errorf("Upload of %s: got no error", name)
		}
	}
	if err := h.Download(t.Context(), local, pipe); err == nil {
		t.Error("Download into a pipe: got no error")
	}
	if _, err := h.ReadFile(t.Context(), dir); err == nil {
		t.Error("ReadFile of a folder: got no error")
	}
	if data, err := h.ReadFile(t.Context(), "/proc/version"); err != nil || !bytes.Contains(data, []byte("Linux")) {
		t.Errorf("ReadFile of a file of the kernel's, which says that it is empty: got %q, %v", data, err)
	}
}

func TestReadFileHasALimit(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	sparse := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, host.MaxOutput+1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{sparse, "/dev/zero"} {
		_, err := h.ReadFile(t.Context(), name)
		wantError[*host.TooLargeError](t, "ReadFile "+name, err)
		wantText(t, err, "host1: read "+name, "larger than 64 MiB")
	}
}
