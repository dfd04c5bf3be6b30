// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

// QEMU runs the command of an exec: URI by /bin/sh, with its own end of the migration as
// stdin and stdout. It waits for the command's end when it closes the migration, without
// a limit, in the thread that also serves its monitor: a command that hangs makes QEMU
// silent, and keeps a migration in cancelling. What ends it is mhmig, which finds it by
// its mark: after a cancellation that does not end, and at the end of the move. It ends
// by itself when its QEMU is gone, unless it waits for a connection.

// carriers are the programs of a move that connect the QEMUs, one at each end.
type carriers struct {
	mu   sync.Mutex // guards ends; each end's own fields belong to that side
	ends map[Role]*carrier
}

// carrier is one of them.
type carrier struct {
	machine Machine
	kind    string // exec or fd: how QEMU is connected by it
	command string // for messages
	mark    string
	said    string // the file with its messages, whose last line is its exit status
}

// add adds the program of an end, which is not started yet.
func (p *carriers) add(end Role, peer Peer, kind, command string) (*carrier, error) {
	mark, err := peer.Machine().NewMark()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ends == nil {
		p.ends = map[Role]*carrier{}
	}
	added := &carrier{machine: peer.Machine(), kind: kind, command: command, mark: mark, said: peer.Spec().Exec}
	p.ends[end] = added
	return added, nil
}

// script is the shell's command that runs the program. The shell stays, for the exit
// status. It has no mark, which its child has.
func (p *carrier) script() string {
	return fmt.Sprintf(`export %s=%s; { %s; echo "status $?" >&2; } 2>%s`, host.MarkVariable, shellescape.Quote(p.mark), p.command, shellescape.Quote(p.said))
}

// address returns the exec: address by which the QEMU of an end runs a command.
func (p *carriers) address(end Role, peer Peer, command string) (address, error) {
	added, err := p.add(end, peer, "exec", command)
	if err != nil {
		return address{}, err
	}
	return execAddress(added.script()), nil
}

// String is the program in messages.
func (p *carrier) String() string {
	return fmt.Sprintf("the command that carries the migration on %s (%s: %s)", p.machine.Name(), p.kind, p.command)
}

func (p *carriers) at(end Role) *carrier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ends[end]
}

// end ends the program of an end, if one was started and still runs.
func (p *carriers) end(ctx context.Context, end Role) error {
	started := p.at(end)
	if started == nil {
		return nil
	}
	return started.machine.EndMarked(ctx, started.mark)
}

// closeEnd is end, and removes what the program has said.
func (p *carriers) closeEnd(ctx context.Context, end Role) error {
	started := p.at(end)
	if started == nil {
		return nil
	}
	if err := started.machine.EndMarked(ctx, started.mark); err != nil {
		return err
	}
	return started.machine.RemoveAll(ctx, started.said)
}

// report is what is known of a program.
type report struct {
	ended  bool
	status int    // then
	said   string // its messages, on one line
}

// maxSaid limits a program's messages in an error.
const maxSaid = 500

// report reads what a program has said.
func (p *carrier) report(ctx context.Context) (report, error) {
	text, err := p.machine.ReadFile(ctx, p.said)
	if err != nil {
		return report{}, err
	}
	return parseReport(string(text)), nil
}

func parseReport(text string) (r report) {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if number, isStatus := strings.CutPrefix(line, "status "); isStatus {
			if status, err := strconv.Atoi(number); err == nil {
				r.ended, r.status = true, status
				continue
			}
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	r.said = strings.Join(lines, "; ")
	if len(r.said) > maxSaid {
		r.said = r.said[len(r.said)-maxSaid:]
	}
	return r
}

// The exit status of a command that a signal has ended.
const (
	statusSignal  = 128
	signals       = 64                // how many there are; ssh has the status 255 of its own
	statusSIGPIPE = statusSignal + 13 // the QEMU that read its output is gone
)

// killed says whether a signal has ended the program.
func (r report) killed() bool { return r.status > statusSignal && r.status <= statusSignal+signals }

// describe says how the program has ended.
func (p *carrier) describe(r report) string {
	how := fmt.Sprintf("ended with status %d", r.status)
	if r.killed() {
		how = fmt.Sprintf("was ended by signal %d", r.status-statusSignal)
	}
	if r.said != "" {
		how += ": " + r.said
	}
	return fmt.Sprintf("%s %s", p, how)
}

// explain says which end's program has failed: one that a signal has ended, else one that
// has ended with an error. A program that could not write to its QEMU any more, or that
// has lost its peer because of the other one's end, has not failed first.
func (p *carriers) explain(ctx context.Context) ProgramFailure {
	var failure ProgramFailure
	for _, end := range []Role{DestinationRole, SourceRole} {
		started := p.at(end)
		if started == nil {
			continue
		}
		r, err := started.report(ctx)
		if err != nil || !r.ended || r.status == 0 || r.status == statusSIGPIPE {
			continue
		}
		failure = ProgramFailure{End: end, Killed: r.killed(), Why: started.describe(r)}
		if failure.Killed {
			break
		}
	}
	return failure
}

const (
	// flushTimeout is how long a command may take to pass on what a completed source has
	// sent; QEMU itself waits for it, and does not answer meanwhile.
	flushTimeout = time.Minute
	pollInterval = 20 * time.Millisecond
)

// wait waits for the end of an end's program, and returns an error if it was not
// successful, or does not end within flushTimeout.
func (p *carriers) wait(ctx context.Context, end Role) error {
	started := p.at(end)
	ctx, cancel := context.WithTimeoutCause(ctx, flushTimeout, fmt.Errorf("not within %v of the source's end", flushTimeout))
	defer cancel()
	for {
		r, err := started.report(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%s is to end: %w", started, err)
		case r.ended && r.status != 0:
			return errors.New(started.describe(r))
		case r.ended:
			return nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return fmt.Errorf("%s does not end: %w", started, err)
		}
	}
}
