// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// echo serves connections on l: it sends back what it gets, until that ends.
func echo(t *testing.T, l net.Listener) {
	t.Helper()
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
}

// localListener listens on this machine, which is also the server's.
func localListener(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// wantEcho sends data and reads it back, the end included.
func wantEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	data := make([]byte, 3<<20)
	rand.Read(data)
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := conn.Write(data); err != nil {
			t.Errorf("write: %v", err)
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Errorf("close the write side: %v", err)
		}
	})
	got, err := io.ReadAll(conn)
	sending.Wait()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("echo: got %d bytes of %d, equal %v, error %v", len(got), len(data), bytes.Equal(got, data), err)
	}
}

func TestDialForwarded(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	for _, address := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"},
		{"unix", filepath.Join(t.TempDir(), "sock")},
	} {
		t.Run(address.network, func(t *testing.T) {
			l := localListener(t, address.network, address.address)
			echo(t, l)
			conn, err := h.Dial(t.Context(), address.network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			wantEcho(t, conn)
			if err := conn.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func TestDialForwardedRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.dial(t)
	gone := localListener(t, "tcp", "127.0.0.1:0")
	gone.Close()
	for _, address := range [][2]string{{"unix", filepath.Join(s.dir, "none")}, {"tcp", gone.Addr().String()}} {
		_, err := h.Dial(t.Context(), address[0], address[1])
		if e := wantError[*host.ForwardError](t, "Dial", err); !e.Refused {
			t.Errorf("Dial(%v): got %v, want Refused", address, err)
		}
		wantText(t, err, "host1: connect to "+address[0]+" "+address[1])
	}
	if _, err := h.Dial(t.Context(), "udp", "127.0.0.1:1"); err == nil {
		t.Error("Dial(udp): got no error")
	}

	forbidding := startServer(t, "AllowTcpForwarding no", "AllowStreamLocalForwarding no").dial(t)
	_, err := forbidding.Dial(t.Context(), "unix", filepath.Join(s.dir, "none"))
	wantText(t, err, "AllowStreamLocalForwarding")
	_, err = forbidding.Dial(t.Context(), "tcp", gone.Addr().String())
	if e := wantError[*host.ForwardError](t, "Dial", err); e.Refused {
		t.Errorf("Dial where it is forbidden: got %v, want it not to be Refused", err)
	}
	wantText(t, err, "AllowTcpForwarding")
	_, err = forbidding.Listen(t.Context(), "tcp", "127.0.0.1:0")
	wantError[*host.ForwardError](t, "Listen", err)
	wantText(t, err, "host1: listen on tcp 127.0.0.1:0", "PermitListen")
}

// A process that listens but takes no connections, as one that is stopped, is not
// taken for an sshd that forbids them.
func TestDialForwardedHangs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.dial(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("login_timeout is over"))
	_, err := h.Dial(ctx, "tcp", "127.0.0.1:1")
	if e := wantError[*host.ForwardError](t, "Dial", err); e.Refused || strings.Contains(err.Error(), "AllowTcpForwarding") {
		t.Errorf("Dial without an answer in time: got %v, want no word of sshd's configuration", err)
	}
	wantText(t, err, "login_timeout is over", "the process that listens there may hang")
}

func TestForwardedConnection(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	h := startServer(t).dial(t)
	l := localListener(t, "tcp", "127.0.0.1:0")
	open := func(t *testing.T) (ours, peers net.Conn) {
		t.Helper()
		ours, err := h.Dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if peers, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ours.Close(); peers.Close() })
		return ours, peers
	}

	t.Run("close ends a blocked read", func(t *testing.T) {
		ours, _ := open(t) // the peer says nothing and does not hang up
		var reading sync.WaitGroup
		reading.Go(func() {
			if _, err := ours.Read(make([]byte, 1)); err == nil {
				t.Error("read: got no error")
			}
		})
		ours.Close()
		reading.Wait()
	})
	t.Run("close ends a blocked write", func(t *testing.T) {
		ours, _ := open(t) // the peer reads nothing
		var writing sync.WaitGroup
		writing.Go(func() {
			for {
				if _, err := ours.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		})
		ours.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)) // until the buffers are full
		writing.Wait()
		started := time.Now()
		ours.Close()
		if took := time.Since(started); took > time.Minute {
			t.Errorf("Close took %v", took)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		ours, peers := open(t)
		ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: got %v, want a deadline exceeded", err)
		}
		ours.SetReadDeadline(time.Time{})
		peers.Write([]byte("x"))
		if _, err := io.ReadFull(ours, make([]byte, 1)); err != nil {
			t.Errorf("read after the deadline: %v", err)
		}
	})
	t.Run("what was written before close arrives", func(t *testing.T) {
		ours, peers := open(t)
		data := bytes.Repeat([]byte("quit\n"), 10_000)
		if _, err := ours.Write(data); err != nil {
			t.Fatal(err)
		}
		ours.Close()
		if got, err := io.ReadAll(peers); err != nil || !bytes.Equal(got, data) {
			t.Errorf("the peer got %d bytes, %v; want %d", len(got), err, len(data))
		}
	})
	t.Run("the peer hangs up", func(t *testing.T) {
		ours, peers := open(t)
		peers.Write([]byte("bye"))
		peers.Close()
		if got, err := io.ReadAll(ours); err != nil || string(got) != "bye" {
			t.Errorf("read: got %q, %v", got, err)
		}
	})
}

func TestListenForwarded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	h := s.dial(t)
	for _, address := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"},
		{"unix", filepath.Join(t.TempDir(), "sock")},
	} {
		t.Run(address.network, func(t *testing.T) {
			if address.network == "unix" { // a dead one is in the way
				dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: address.address, Net: "unix"})
				if err != nil {
					t.Fatal(err)
				}
				dead.SetUnlinkOnClose(false)
				dead.Close()
			}
			l, err := h.Listen(t.Context(), address.network, address.address)
			if err != nil {
				t.Fatal(err)
			}
			echo(t, l)
			for range 3 {
				conn, err := net.Dial(address.network, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				wantEcho(t, conn)
				conn.Close()
			}
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if conn, err := net.Dial(address.network, l.Addr().String()); err == nil {
				conn.Close()
				t.Errorf("%s still listens after Close", l.Addr())
			}
			if _, err := os.Stat(address.address); address.network == "unix" && err == nil {
				t.Errorf("%s is still there after Close", address.address)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Close: got %v, want net.ErrClosed", err)
			}
		})
	}
}

// TestConnectionsThatNobodyAccepts must not hold up anything else.
func TestConnectionsThatNobodyAccepts(t *testing.T) {
	t.Parallel()
	h := startServer(t).dial(t)
	l, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if _, err := h.Run(t.Context(), host.Command{Args: []string{"true"}, Timeout: 10 * time.Second}); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
