// SPDX-License-Identifier: Apache-2.0

package migfd_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mhmig/mhmig/runtime/jeos/migfd"
)

// monitor serves one client like QEMU, and returns the path of its socket. With a command
// that gets a descriptor it writes text to that, when it has got the command that follows.
// It refuses one command.
func monitor(t *testing.T, text, refuses string) (path string, commands <-chan string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "monitor")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		defer close(got)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"QMP": {}}`)
		var passed *os.File
		for {
			buffer, rights := make([]byte, 4096), make([]byte, 64)
			n, nrights, _, _, err := conn.ReadMsgUnix(buffer, rights)
			if err != nil || n == 0 {
				return
			}
			if messages, _ := unix.ParseSocketControlMessage(rights[:nrights]); len(messages) == 1 {
				if fds, err := unix.ParseUnixRights(&messages[0]); err == nil {
					passed = os.NewFile(uintptr(fds[0]), "passed")
				}
			}
			var request struct {
				Execute   string
				Arguments map[string]string
			}
			_ = json.Unmarshal(buffer[:n], &request)
			got <- strings.TrimSpace(fmt.Sprint(request.Execute, " ", request.Arguments["fdname"], request.Arguments["uri"]))
			if request.Execute == refuses {
				fmt.Fprintln(conn, `{"error": {"class": "GenericError", "desc": "no"}}`)
				continue
			}
			fmt.Fprintln(conn, `{"event": "STOP"}`)
			fmt.Fprintln(conn, `{"return": {}}`)
			if strings.HasPrefix(request.Execute, "migrate") {
				_, _ = passed.WriteString(text)
				_ = passed.Close()
			}
		}
	}()
	return path, got
}

func all(commands <-chan string) string {
	var text []string
	for c := range commands {
		text = append(text, c)
	}
	return strings.Join(text, "; ")
}

// Both ends get the two ends of one connection.
func TestListenAndConnect(t *testing.T) {
	t.Parallel()
	source, sent := monitor(t, "from the source", "")
	destination, received := monitor(t, "", "")
	said, stdout := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		var stderr bytes.Buffer
		ended <- migfd.Main([]string{"listen", "--address", "127.0.0.1", "--monitor", destination}, stdout, &stderr)
		_ = stdout.Close()
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	var port int
	if _, scanned := fmt.Sscanf(line, "port %d\n", &port); err != nil || scanned != nil {
		t.Fatalf("listen said %q: %v, %v", line, err, scanned)
	}
	var out, stderr bytes.Buffer
	if status := migfd.Main([]string{"connect", "--address", "127.0.0.1", "--port", fmt.Sprint(port), "--monitor", source}, &out, &stderr); status != 0 {
		t.Errorf("connect: status %d, %s%s", status, &out, &stderr)
	}
	if status := <-ended; status != 0 {
		t.Errorf("listen: status %d", status)
	}
	if got := all(sent); got != "qmp_capabilities; getfd migration; migrate fd:migration" {
		t.Errorf("the source got %s", got)
	}
	if got := all(received); got != "qmp_capabilities; getfd migration; migrate-incoming fd:migration" {
		t.Errorf("the destination got %s", got)
	}
}

// What QEMU has passed to it is the connection.
func TestPassed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			text <- err.Error()
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		text <- string(all)
	}()
	source, sent := monitor(t, "the guest", "")
	var out, stderr bytes.Buffer
	port := l.Addr().(*net.TCPAddr).Port
	if status := migfd.Main([]string{"connect", "--address", "127.0.0.1", "--port", fmt.Sprint(port), "--monitor", source}, &out, &stderr); status != 0 {
		t.Errorf("status %d, %s%s", status, &out, &stderr)
	}
	if got := <-text; got != "the guest" {
		t.Errorf("over the connection came %q", got)
	}
	all(sent)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	refusing, _ := monitor(t, "", "migrate")
	unable, _ := monitor(t, "", "getfd")
	for _, tt := range []struct {
		args        []string
		status      int
		out, stderr string
	}{
		{[]string{"connect", "--address", "127.0.0.1", "--port", port, "--monitor", refusing}, migfd.StatusRefused, `migrate {"error": {"class": "GenericError", "desc": "no"}}`, ""},
		{[]string{"connect", "--address", "127.0.0.1", "--port", port, "--monitor", unable}, migfd.StatusRefused, `getfd {"error": {"class": "GenericError", "desc": "no"}}`, ""},
		{[]string{"connect", "--address", "127.0.0.1", "--port", port, "--monitor", "/nonexistent"}, 1, "", "migfd: QEMU's monitor: dial unix /nonexistent: connect: no such file or directory"},
		{[]string{"connect", "--address", "127.0.0.1", "--port", "1", "--monitor", "/nonexistent"}, 1, "", "connection refused"},
		{[]string{"listen", "--address", "127.0.0.1", "--ports", port + "-" + port, "--monitor", "/nonexistent"}, 1, "", "address already in use"},
		{[]string{"listen", "--address", "127.0.0.1", "--ports", "x", "--monitor", "/nonexistent"}, 2, "", "migfd: --ports x: want FIRST-LAST"},
		{[]string{"listen"}, 2, "", `migfd: got "listen", want listen or connect, --address and --monitor`},
		{[]string{"--what"}, 2, "", "unknown flag"},
	} {
		var out, stderr bytes.Buffer
		if status := migfd.Main(tt.args, &out, &stderr); status != tt.status || strings.TrimSpace(out.String()) != tt.out || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%v: got %d, %s%s\nwant %d, %s%s", tt.args, status, &out, &stderr, tt.status, tt.out, tt.stderr)
		}
	}
}
