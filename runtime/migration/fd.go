// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos/migfd"
	"github.com/mhmig/mhmig/runtime/jeos/program"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// descriptor migrates over a TCP connection that the QEMUs get as a file descriptor
// (getfd). mhmig's own program connects on each host, and gives QEMU its end by QEMU's
// second monitor: descriptors do not pass through SSH, and only the monitor that has got
// one knows it.
type descriptor struct {
	ports    portRange
	port     int // on which the destination's program listens
	programs carriers
	made     madeFiles // the programs' own
}

func newFD(o options) Transport {
	return &descriptor{ports: o.port}
}

func (*descriptor) Traits() Traits { return Traits{ReturnPath: true} }

func (*descriptor) Launch(Role) vm.Launch { return vm.Launch{} }

// Check checks that mhmig's program runs on the hosts.
func (*descriptor) Check(ctx context.Context, source, destination Machine) error {
	for _, machine := range []Machine{source, destination} {
		out, err := machine.Run(ctx, host.Command{Args: []string{"uname", "-sm"}, Timeout: programTimeout})
		if err != nil {
			return fmt.Errorf("look for what mig_protocol = fd needs: %w", err)
		}
		if system := strings.TrimSpace(string(out.Stdout)); system != "Linux x86_64" {
			return result.Skip.Errorf("mig_protocol = fd: %s is %s, and mhmig's program that passes descriptors is for Linux x86_64", machine.Name(), system)
		}
	}
	return nil
}

// install copies mhmig's program to an end's host, and adds it with these arguments. All
// that it writes goes to its messages.
func (t *descriptor) install(ctx context.Context, end Role, peer Peer, arguments ...string) (*carrier, error) {
	content, err := program.Executable()
	if err != nil {
		return nil, err
	}
	f, err := t.made.record(end, peer.Machine(), peer.Spec().Program)
	if err != nil {
		return nil, err
	}
	if err := f.machine.WriteFile(ctx, f.path, content, 0o700); err != nil {
		return nil, err
	}
	command := append([]string{f.path, migfd.Name}, arguments...)
	text := shellescape.QuoteCommand(append(command, "--monitor", peer.Spec().SpareQMP)) + " >&2" // to its messages
	return t.programs.add(end, peer, "fd", text)
}

// listening runs the program %[1]s in the background, and waits until its messages, in
// the file %[2]s, say that it listens or has ended, for %[3]d steps of 50 ms. It prints
// them.
const listening = `
rm -f %[2]s
{ %[1]s; } </dev/null >/dev/null 2>&1 &
n=0
until grep -qsE '^(port|status) ' %[2]s || [ $n -ge %[3]d ]; do
	n=$((n + 1))
	sleep 0.05
done
cat %[2]s`

// portLine is what the program says when it listens.
var portLine = regexp.MustCompile(`(?m)^port (\d+)$`)

func (t *descriptor) Listen(ctx context.Context, destination Peer) error {
	ports := fmt.Sprintf("%d-%d", t.ports.first, t.ports.last)
	listener, err := t.install(ctx, DestinationRole, destination, "listen", "--address", destination.ListenAddress(), "--ports", ports)
	if err != nil {
		return err
	}
	destination.Log().Info("migrate-incoming", "uri", "fd:", "command", listener.command)
	const steps = 200
	script := fmt.Sprintf(listening, listener.script(), shellescape.Quote(listener.said), steps)
	out, err := listener.machine.Run(ctx, host.Command{Script: script, Timeout: programTimeout})
	if err != nil {
		return err
	}
	if port := portLine.FindSubmatch(out.Stdout); port != nil {
		t.port, err = strconv.Atoi(string(port[1]))
		return err
	}
	if r := parseReport(string(out.Stdout)); r.ended {
		return errors.New(listener.describe(r))
	}
	return fmt.Errorf("%s does not listen: it said %q", listener, out.Stdout)
}

func (t *descriptor) listeningPort() int { return t.port }

func (t *descriptor) Send(ctx context.Context, source, destination Peer) error {
	connector, err := t.install(ctx, SourceRole, source, "connect", "--address", destination.Address(), "--port", strconv.Itoa(t.port))
	if err != nil {
		return err
	}
	source.Log().Info("migrate", "uri", "fd:", "command", connector.command)
	if _, err := connector.machine.Run(ctx, host.Command{Script: connector.script(), Timeout: 2 * programTimeout}); err != nil {
		return err
	}
	r, err := connector.report(ctx)
	if err != nil || r.status == 0 {
		return err
	}
	if r.status == migfd.StatusRefused {
		var answer struct{ Error struct{ Class, Desc string } }
		command, text, _ := strings.Cut(r.said, " ")
		if err := json.Unmarshal([]byte(text), &answer); err == nil {
			return &qmp.Error{Command: command, Class: answer.Error.Class, Desc: answer.Error.Desc}
		}
	}
	if first := t.programs.explain(ctx); first.Killed { // that is why nobody listens
		return errors.New(first.Why)
	}
	return errors.New(connector.describe(r))
}

// Sent has nothing to wait for: the destination has said by the return path that the
// guest is loaded.
func (*descriptor) Sent(context.Context, Peer) error { return nil }

// Interrupt has nothing to end: QEMU has the connection itself, and shuts it down.
func (*descriptor) Interrupt(context.Context, Peer) error { return nil }

func (t *descriptor) Explain(ctx context.Context) ProgramFailure { return t.programs.explain(ctx) }

// Close ends a program that still waits for its connection, and removes it.
func (t *descriptor) Close(ctx context.Context, end Role) error {
	return errors.Join(t.programs.closeEnd(ctx, end), t.made.remove(ctx, end))
}
