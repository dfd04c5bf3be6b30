// SPDX-License-Identifier: Apache-2.0

// Package migfd is the command migfd of mhmig's small program, which runs on hosts: it
// gives QEMU a connected TCP socket as the file descriptor of a migration (fd: URIs). A
// descriptor can only be passed on the host itself, by SCM_RIGHTS over a unix socket of
// QEMU's monitor, and only the monitor that has got it (getfd) knows its name.
//
//	migfd listen --address 0.0.0.0 --ports 0-0 --monitor vm1.spare
//	migfd connect --address 192.0.2.2 --port 4711 --monitor vm1.spare
//
// listen writes "port N" when it listens, waits for one connection without a limit, and
// makes QEMU load the guest from it (migrate-incoming). connect connects, and makes QEMU
// send the guest (migrate). Both end when QEMU has answered. Of a command that QEMU
// refuses, its name and QEMU's answer are a line on stdout, and the status is
// [StatusRefused]. The program does not evaluate QMP's JSON further: a guest carries it too,
// where it must be small.
package migfd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// Name is the command's, the first argument of the program.
const Name = "migfd"

// Exit statuses of the command.
const (
	statusOK      = 0
	statusFailed  = 1
	statusUsage   = 2
	StatusRefused = 3 // QEMU has refused a command
)

const (
	connectTimeout = 20 * time.Second
	// monitorTimeout limits the commands to the monitor, whose only client may be another
	// one.
	monitorTimeout = 20 * time.Second
	// descriptor is what the monitor calls the socket.
	descriptor = "migration"
)

// refusedError is a QMP command that QEMU has refused, and its answer.
type refusedError struct{ command, answer string }

func (e *refusedError) Error() string { return e.command + " " + e.answer }

// Main carries out the command with these arguments, listen or connect and flags, and
// returns its exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	flags := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	address := flags.String("address", "", "to listen on, or to connect to")
	ports := flags.String("ports", "0-0", "of which the first free one is listened on; 0-0: any")
	port := flags.Int("port", 0, "to connect to")
	monitor := flags.String("monitor", "", "the unix socket of a monitor of QEMU")
	err := flags.Parse(args)
	mode := strings.Join(flags.Args(), " ")
	if err == nil && (mode != "listen" && mode != "connect" || *address == "" || *monitor == "") {
		err = fmt.Errorf("got %q, want listen or connect, --address and --monitor", mode)
	}
	var first, last int
	if err == nil && mode == "listen" {
		if _, err = fmt.Sscanf(*ports, "%d-%d", &first, &last); err != nil {
			err = fmt.Errorf("--ports %s: want FIRST-LAST", *ports)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Name, err)
		return statusUsage
	}
	if mode == "listen" {
		err = listen(*address, first, last, *monitor, stdout)
	} else {
		err = connect(net.JoinHostPort(*address, strconv.Itoa(*port)), *monitor)
	}
	if refusal, refused := errors.AsType[*refusedError](err); refused {
		if _, err = fmt.Fprintln(stdout, refusal); err == nil {
			return StatusRefused
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Name, err)
		return statusFailed
	}
	return statusOK
}

func listen(address string, first, last int, monitor string, stdout io.Writer) error {
	var l net.Listener
	var err error
	for port := first; port <= last; port++ {
		if l, err = net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port))); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if l == nil {
		return fmt.Errorf("no port in %d-%d", first, last)
	}
	defer l.Close()
	if _, err := fmt.Fprintln(stdout, "port", l.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	return pass(conn, monitor, "migrate-incoming")
}

func connect(address, monitor string) error {
	conn, err := net.DialTimeout("tcp", address, connectTimeout)
	if err != nil {
		return err
	}
	return pass(conn, monitor, "migrate")
}

// pass passes a connection to QEMU, and makes it migrate by it. QEMU has a descriptor of
// its own then.
func pass(conn net.Conn, monitor, command string) error {
	defer conn.Close()
	socket, err := conn.(*net.TCPConn).File() // in blocking mode, as QEMU has it
	if err != nil {
		return err
	}
	defer socket.Close()
	m, err := dial(monitor)
	if err != nil {
		return fmt.Errorf("QEMU's monitor: %w", err)
	}
	defer m.conn.Close()
	err = m.execute("getfd", `{"fdname": "`+descriptor+`"}`, socket)
	if err == nil {
		err = m.execute(command, `{"uri": "fd:`+descriptor+`"}`, nil)
	}
	return err
}

// monitor is a connection to QEMU's monitor.
type monitor struct {
	conn    *net.UnixConn
	answers *bufio.Reader
}

func dial(path string) (*monitor, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	m := &monitor{conn, bufio.NewReader(conn)}
	if err = conn.SetDeadline(time.Now().Add(monitorTimeout)); err == nil {
		_, err = m.answers.ReadString('\n') // the greeting
	}
	if err == nil {
		err = m.execute("qmp_capabilities", "{}", nil)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// execute executes a command with these arguments, JSON, and a descriptor if it is not
// nil. Other lines than its answer are events.
func (m *monitor) execute(command, arguments string, passed *os.File) error {
	var rights []byte
	if passed != nil {
		rights = unix.UnixRights(int(passed.Fd()))
	}
	request := `{"execute": "` + command + `", "arguments": ` + arguments + "}\n"
	if _, _, err := m.conn.WriteMsgUnix([]byte(request), rights, nil); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for {
		line, err := m.answers.ReadString('\n')
		switch {
		case err != nil:
			return fmt.Errorf("%s: QEMU's answer: %w", command, err)
		case strings.HasPrefix(line, `{"return"`):
			return nil
		case strings.HasPrefix(line, `{"error"`):
			return &refusedError{command, strings.TrimSpace(line)}
		}
	}
}
