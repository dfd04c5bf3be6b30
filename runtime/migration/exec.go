// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// execution migrates through programs that the QEMUs start: one that listens on the
// destination's host, and one that connects to it on the source's. They pass data on in
// both directions, so there is a return path.
type execution struct {
	form

	ports    portRange
	wanted   string // mig_exec_program
	chosen   map[Role]connector
	port     int    // on which the destination's program listens
	release  func() // frees that port for others; nil: it is not reserved
	programs carriers
}

func newExec(o options) Transport {
	if o.fileCommands.write != "" {
		return &file{form: o.form(), commands: o.fileCommands}
	}
	return &execution{form: o.form(), ports: o.port, wanted: o.execProgram, chosen: map[Role]connector{}}
}

func (*execution) Traits() Traits { return Traits{ReturnPath: true} }

func (*execution) Launch(Role) vm.Launch { return vm.Launch{} }

// connector is a program that connects its stdin and stdout with a TCP connection. It
// must end when both directions have ended: else two QEMUs wait for their programs, each
// of which waits for the other.
type connector struct {
	name            string                                  // in mig_exec_program
	found           string                                  // what findConnectors prints
	listen, connect func(address string, port int) []string // its command line
}

// ofFamily is the option of programs that need the address family.
func ofFamily(address string) string {
	if strings.Contains(address, ":") {
		return "-6"
	}
	return "-4"
}

// connectors are the known programs, the best first.
var connectors = []connector{
	{
		"socat", "socat",
		func(address string, port int) []string {
			return []string{"socat", "-", fmt.Sprintf("TCP%s-LISTEN:%d,bind=%s,reuseaddr", strings.TrimPrefix(ofFamily(address), "-"), port, bracketed(address))}
		},
		func(address string, port int) []string {
			return []string{"socat", "-", fmt.Sprintf("TCP:%s:%d", bracketed(address), port)}
		},
	},
	{
		"nc", "openbsd", // -N: passes the end of its input on
		func(address string, port int) []string {
			return []string{"nc", ofFamily(address), "-N", "-l", address, strconv.Itoa(port)}
		},
		func(address string, port int) []string { return []string{"nc", "-N", address, strconv.Itoa(port)} },
	},
	ncat("ncat", "ncat"),
	ncat("nc", "nmap"),
	{
		"busybox", "busybox", // listens on all addresses
		func(_ string, port int) []string { return []string{"busybox", "nc", "-l", "-p", strconv.Itoa(port)} },
		func(address string, port int) []string {
			return []string{"busybox", "nc", address, strconv.Itoa(port)}
		},
	},
}

// ncat is nmap's program, which some systems call nc.
func ncat(name, found string) connector {
	return connector{
		name, found,
		func(address string, port int) []string {
			return []string{name, ofFamily(address), "-l", address, strconv.Itoa(port)}
		},
		func(address string, port int) []string { return []string{name, address, strconv.Itoa(port)} },
	}
}

// ExecPrograms are the programs that can connect two QEMUs, by their names in
// mig_exec_program, the best first.
func ExecPrograms() []string {
	var names []string
	for _, c := range connectors {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// bracketed is an address as socat has it.
func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// findConnectors prints which of the connectors a host has. There are four programs
// called nc; the traditional one loses what the kernel has not sent when its input ends,
// or never ends.
const findConnectors = `
command -v socat >/dev/null && echo socat
command -v ncat >/dev/null && echo ncat
if command -v nc >/dev/null; then
	case $(nc -h 2>&1) in
	*OpenBSD*) echo openbsd ;;
	*Ncat*) echo nmap ;;
	esac
fi
command -v busybox >/dev/null && busybox --list 2>/dev/null | grep -qx nc && echo busybox
:`

// Check chooses the program of each host.
func (t *execution) Check(ctx context.Context, source, destination Machine) error {
	if t.wanted == sshProgram {
		return t.checkSSH(ctx, source, destination)
	}
	if err := t.choose(ctx, SourceRole, source, t.wanted); err != nil {
		return err
	}
	return t.choose(ctx, DestinationRole, destination, t.wanted)
}

// choose chooses the program of an end, by the value of mig_exec_program.
func (t *execution) choose(ctx context.Context, end Role, machine Machine, wanted string) error {
	out, err := machine.Run(ctx, host.Command{Script: findConnectors, Timeout: programTimeout})
	if err != nil {
		return fmt.Errorf("look for programs for mig_protocol = exec: %w", err)
	}
	found := strings.Fields(string(out.Stdout))
	i := slices.IndexFunc(connectors, func(c connector) bool {
		return slices.Contains(found, c.found) && (wanted == anyProgram || wanted == c.name)
	})
	switch {
	case i >= 0:
		t.chosen[end] = connectors[i]
		return nil
	case wanted == anyProgram:
		return result.Skip.Errorf("mig_protocol = exec: %s has none of the programs %s (of nc only OpenBSD's or nmap's): install one there", machine.Name(), strings.Join(ExecPrograms(), ", "))
	default:
		return result.Skip.Errorf("mig_protocol = exec: %s has no %s (param mig_exec_program), or not one that can be used: install it there, or use another one", machine.Name(), wanted)
	}
}

// sshProgram is the value of mig_exec_program for a source that sends by ssh: the
// connection is made on the destination's host, by the best program there, and is
// encrypted on the way. It is never chosen, as it needs a login from host to host.
const sshProgram = "ssh"

// sshCommand is the ssh that asks nobody for anything.
func sshCommand(address string) []string {
	return []string{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", address}
}

// checkSSH checks that the source's host can log in to the destination's.
func (t *execution) checkSSH(ctx context.Context, source, destination Machine) error {
	if err := t.choose(ctx, DestinationRole, destination, anyProgram); err != nil {
		return err
	}
	address := destination.MigrationAddress()
	_, err := source.Run(ctx, host.Command{Args: append(sshCommand(address), "true"), Timeout: programTimeout})
	if exit, refused := errors.AsType[*host.ExitError](err); refused {
		why := strings.Join(strings.Fields(string(exit.Output.Stderr)), " ")
		return result.Skip.Errorf("mig_protocol = exec, mig_exec_program = ssh: %s cannot log in to %s (%s) by ssh, without a password: %s", source.Name(), destination.Name(), address, why)
	}
	if err != nil {
		return fmt.Errorf("look whether mig_exec_program = ssh can be used: %w", err)
	}
	remote := t.chosen[DestinationRole]
	t.chosen[SourceRole] = connector{connect: func(address string, port int) []string {
		return append(sshCommand(address), shellescape.QuoteCommand(remote.connect(address, port)))
	}}
	return nil
}

// anyProgram is the value of mig_exec_program for the best one that a host has.
const anyProgram = "any"

// programTimeout limits the short commands of transports on a host.
const programTimeout = 30 * time.Second

func (t *execution) Listen(ctx context.Context, destination Peer) error {
	if err := t.reservePort(ctx, destination.Machine()); err != nil {
		return err
	}
	command := t.chosen[DestinationRole].listen(destination.ListenAddress(), t.port)
	where, err := t.programs.address(DestinationRole, destination, shellescape.QuoteCommand(command))
	if err != nil {
		return err
	}
	if err := t.incoming(ctx, destination, where); err != nil {
		return err
	}
	return t.waitListening(ctx, destination)
}

func (t *execution) listeningPort() int { return t.port }

// reservePort reserves a port for the program to listen on, until [execution.Close].
// Unlike QEMU, a program that finds its port taken has ended, and its QEMU with it: so the
// port is chosen before, and no other move may choose the same one.
func (t *execution) reservePort(ctx context.Context, machine Machine) (err error) {
	t.port, t.release, err = t.ports.reserve(ctx, machine)
	return err
}

// listens waits, for %[2]d steps of 50 ms, until a TCP socket listens on the port %[1]d
// (0A is the kernel's number of that state). It prints whether one does.
const listens = `
port=$(printf ':%%04X' %[1]d)
n=0
until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE "^ *[0-9]+: [0-9A-F]+$port [0-9A-F:]+ 0A "; do
	[ $n -lt %[2]d ] || { echo no; exit; }
	n=$((n + 1))
	sleep 0.05
done
echo yes`

// waitListening waits until the destination's program listens: QEMU does not wait for
// that.
func (t *execution) waitListening(ctx context.Context, destination Peer) error {
	const steps = 200
	out, err := destination.Machine().Run(ctx, host.Command{Script: fmt.Sprintf(listens, t.port, steps), Timeout: programTimeout})
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(out.Stdout)) == "yes" {
		return nil
	}
	started := t.programs.at(DestinationRole)
	why := fmt.Sprintf("does not listen on port %d after %v", t.port, steps*50*time.Millisecond)
	if r, err := started.report(ctx); err == nil && (r.ended || r.said != "") {
		why += fmt.Sprintf(" (ended: %t, status %d): %s", r.ended, r.status, r.said)
	}
	return fmt.Errorf("%s %s", started, why)
}

func (t *execution) Send(ctx context.Context, source, destination Peer) error {
	command := t.chosen[SourceRole].connect(destination.Address(), t.port)
	where, err := t.programs.address(SourceRole, source, shellescape.QuoteCommand(command))
	if err != nil {
		return err
	}
	return t.migrate(ctx, source, where)
}

// Sent has nothing to wait for: the destination has said by the return path that the
// guest is loaded.
func (*execution) Sent(context.Context, Peer) error { return nil }

func (t *execution) Interrupt(ctx context.Context, _ Peer) error {
	return t.programs.end(ctx, SourceRole)
}

func (t *execution) Explain(ctx context.Context) ProgramFailure {
	return t.programs.explain(ctx)
}

func (t *execution) Close(ctx context.Context, end Role) error {
	if end == DestinationRole && t.release != nil {
		defer t.release()
	}
	return t.programs.closeEnd(ctx, end)
}
