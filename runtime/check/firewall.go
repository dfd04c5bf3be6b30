// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// QEMU makes a migration's connection, so two QEMUs make the one of this check: one listens
// with a socket chardev until the other has connected. Both then read quit from their
// monitors. They have no guest, and end by themselves even when mhmig is gone.
const (
	qemuWithSocket = `echo quit | timeout -k 1 %[1]d %[2]s -nodefaults -no-user-config -machine none -display none -monitor stdio \
	-chardev socket,id=mhmig,host=%[3]s,port=%[4]d%[5]s >/dev/null`
	asServer = ",server=on,wait=on"

	listenSeconds  = 20
	connectSeconds = 5
	acceptTimeout  = 5 * time.Second // for the listener to notice the connection
)

// connection connects from one host to a port of the other, at the address and with the
// ports of migrations.
func connection(ctx context.Context, from, to *machine) finding {
	if !from.needs.hasVMs() {
		return skip("no variant has VMs")
	}
	for _, m := range []*machine{from, to} {
		if _, err := m.c.vms.Facts(ctx, m.h, m.needs.emulators[0].program); err != nil {
			return skip("%s does not run on %s", m.needs.emulators[0].program, m.name())
		}
	}
	l, err := to.listen(ctx)
	if err != nil {
		return fail(err.Error(), fmt.Sprintf("end what uses the port on %s, or set mig_port to a range with free ports", to.name()))
	}
	address := testbed.MigrationAddress(to.h, to.needs.params)
	began := time.Now()
	err = from.connect(ctx, address, l.port)
	took := time.Since(began)
	if err != nil {
		killed := l.process.Kill(context.WithoutCancel(ctx)) // it has a limit of its own
		return judgeConnection(from, to, net.JoinHostPort(address, strconv.Itoa(l.port)), errors.Join(err, killed))
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	if _, err := l.process.Wait(ctx); err != nil {
		_ = l.process.Kill(context.WithoutCancel(ctx)) // at its own end, the connection to the host does
		return fail(fmt.Sprintf("something else than %s answers at %s port %d", to.name(), address, l.port), "set mig_address for each host to the address at which the others reach it")
	}
	return ok("QEMU connected to %s in %v", net.JoinHostPort(address, strconv.Itoa(l.port)), took.Round(time.Millisecond))
}

// listener is a QEMU that listens on a host.
type listener struct {
	process *host.Process
	port    int
}

// listen starts a QEMU on the first free port of mig_port, or one that QEMU chooses, as the
// destination of a migration does.
func (m *machine) listen(ctx context.Context) (l listener, err error) {
	first, last := m.needs.firstPort, m.needs.lastPort
	for port := first; port <= last; port++ { // once for 0
		if l, err = m.listenOn(ctx, port); err == nil || ctx.Err() != nil {
			return l, err
		}
	}
	if first != 0 {
		err = fmt.Errorf("no port of mig_port = %s is free: %w", ports(&m.needs), err)
	}
	return l, err
}

// waitingLine is what QEMU prints when it listens: "… info: QEMU waiting for connection on:
// disconnected:tcp:0.0.0.0:4711,server=on".
var waitingLine = regexp.MustCompile(`waiting for connection on: .*:(\d+),server`)

func (m *machine) listenOn(ctx context.Context, port int) (listener, error) {
	address := testbed.ListenAddress(testbed.MigrationAddress(m.h, m.needs.params))
	p, err := m.startQEMU(ctx, listenSeconds, address, port, asServer)
	if err != nil {
		return listener{}, err
	}
	said := ""
	for lines := bufio.NewScanner(io.LimitReader(p.Stderr, host.MaxOutput)); lines.Scan(); {
		if found := waitingLine.FindStringSubmatch(lines.Text()); found != nil {
			p.Collect()
			port, err := strconv.Atoi(found[1])
			return listener{p, port}, err
		}
		said = lines.Text()
	}
	_, err = p.Wait(ctx) // its output has ended
	return listener{}, fmt.Errorf("%s: QEMU does not listen on port %d: %s: %w", m.name(), port, said, err)
}

// connect connects a QEMU on the host to an address.
func (m *machine) connect(ctx context.Context, address string, port int) error {
	p, err := m.startQEMU(ctx, connectSeconds, address, port, "")
	if err != nil {
		return err
	}
	p.Collect()
	_, err = p.Wait(ctx)
	return err
}

// startQEMU starts a QEMU with a socket.
func (m *machine) startQEMU(ctx context.Context, seconds int, address string, port int, as string) (*host.Process, error) {
	mark, err := m.nextMark()
	if err != nil {
		return nil, err
	}
	return m.h.Start(ctx, host.Command{
		Script:  fmt.Sprintf(qemuWithSocket, seconds, m.needs.emulators[0].program.Command(), shellescape.Quote(address), port, as),
		Mark:    mark,
		Timeout: commandTimeout,
	})
}

// nextMark is the mark of a further command on the host. The first one is recorded for all.
func (m *machine) nextMark() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.ownName()
	if m.commands == 0 {
		if err := m.record(ledger.Commands, name); err != nil {
			return "", err
		}
	}
	m.commands++
	return fmt.Sprintf("%s/%d/", name, m.commands), nil
}

// judgeConnection is the verdict on a connection that failed.
func judgeConnection(from, to *machine, endpoint string, err error) finding {
	exit, ended := errors.AsType[*host.ExitError](err)
	if !ended {
		return failBy(err)
	}
	return judgeRefusal(from.name(), to.name(), endpoint, ports(&to.needs), exit.Output)
}

// ports are the ports that must be open, "" if QEMU chooses them.
func ports(n *needs) string {
	switch n.firstPort {
	case 0:
		return ""
	case n.lastPort:
		return strconv.Itoa(n.firstPort)
	}
	return fmt.Sprintf("%d-%d", n.firstPort, n.lastPort)
}

// judgeRefusal is the verdict on a QEMU that did not connect. Status 124 is that of
// timeout.
func judgeRefusal(from, to, endpoint, open string, out host.Output) finding {
	const killedByTimeout, killedAfterwards = 124, 137
	reason := strings.TrimSpace(string(out.Stderr))
	if i := strings.LastIndex(reason, "Failed to connect"); i >= 0 {
		reason = reason[i:]
	}
	if out.Status == killedByTimeout || out.Status == killedAfterwards {
		reason = fmt.Sprintf("no answer within %d s: something drops the packets", connectSeconds)
	}
	fix := fmt.Sprintf("on %s: firewall-cmd --add-port=%s/tcp (or what its firewall is), and on %s let such connections out; or set mig_address to another network's address", to, open, from)
	if open == "" {
		fix = fmt.Sprintf("QEMU chooses the port: let %s connect to all TCP ports of %s, or set mig_port to a range, such as 49152-49215, and open it; or set mig_address to another network's address", from, to)
	}
	return fail(fmt.Sprintf("%s cannot connect to QEMU at %s: %s", from, endpoint, reason), fix)
}
