// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// awaitTimeout is how long a QEMU waits for descriptors, and execTimeout how long one that
// was executed may take to have a monitor, as in vm.Start.
const (
	awaitTimeout = 30 * time.Second
	execTimeout  = 60 * time.Second
)

// The migration modes in which no RAM is sent.
const (
	modeCPRReboot   = "cpr-reboot"
	modeCPRTransfer = "cpr-transfer"
	modeCPRExec     = "cpr-exec"
)

// Await waits on a unix socket for the descriptors of the guest's QEMU, as a QEMU that was
// started with a channel cpr does before it has a monitor. It calls listening when the
// other one can connect. It fails when ctx or the QEMU ends, and after 30 s.
func (m *QEMU) Await(ctx context.Context, path string, listening func()) error {
	ctx, cancel := context.WithTimeoutCause(ctx, awaitTimeout, fmt.Errorf("%w: it has no monitor after %v", qmp.ErrSilent, awaitTimeout))
	defer cancel()
	l, err := m.network.Listen("unix", path)
	if err != nil {
		return err
	}
	defer l.Close()
	listening()
	_, accepted := m.accept(l)
	conn, err := m.wait(ctx, accepted)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handover = conn
	return nil
}

// AwaitExec waits until the guest's QEMU executes script, in whose process this one then
// runs. It calls ready when that can be. It fails when ctx or the QEMU ends, and 60 s after
// the execution.
func (m *QEMU) AwaitExec(ctx context.Context, script string, ready func()) error {
	l, err := m.network.Listen("unix", script)
	if err != nil {
		return err
	}
	defer l.Close()
	ready()
	begun, accepted := m.accept(l)
	if _, err := m.wait(ctx, begun); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, execTimeout, fmt.Errorf("%w within %v of its start", qmp.ErrSilent, execTimeout))
	defer cancel()
	conn, err := m.wait(ctx, accepted)
	if err != nil {
		return err
	}
	return conn.Close()
}

// accept accepts one connection: on the first channel when it comes, on the second one when
// this QEMU goes on with it.
func (m *QEMU) accept(l net.Listener) (begun, accepted <-chan io.Closer) {
	first, second := make(chan io.Closer, 1), make(chan io.Closer, 1)
	m.working.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		first <- conn
		m.at("handover")
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.frozen {
			second <- conn
		}
	})
	return first, second
}

func (m *QEMU) wait(ctx context.Context, conns <-chan io.Closer) (io.Closer, error) {
	select {
	case conn := <-conns:
		return conn, nil
	case <-m.quit:
		return nil, errors.New("it has ended")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// becomeDestination executes what a source in the mode cpr-exec was told to execute: its
// process is another QEMU then. It does nothing in another mode.
func (m *QEMU) becomeDestination() {
	m.mu.Lock()
	command, _ := m.parameters[execCommand].([]any)
	executes := m.parameters["mode"] == modeCPRExec && !slices.Contains(m.script.Unused, execCommand)
	m.mu.Unlock()
	if !executes || len(command) == 0 {
		return
	}
	if m.exec != nil {
		var words []string
		for _, word := range command {
			words = append(words, fmt.Sprint(word))
		}
		m.setStatus("failed", m.exec(words).Error())
		return
	}
	if conn, err := m.network.Dial("unix", fmt.Sprint(command[len(command)-1])); err == nil {
		m.End()
		_ = conn.Close()
	}
}

// execCommand is the migration parameter of [QEMU.becomeDestination].
const execCommand = "cpr-exec-command"

// handOver hands the descriptors over to a QEMU that waits for them, and waits until that
// listens, which closes the channel, or has ended.
func (m *QEMU) handOver(path string) error {
	conn, err := m.network.Dial("unix", path)
	if err != nil {
		return err
	}
	m.setConn(conn)
	_, err = io.Copy(io.Discard, conn)
	return err
}

// closeHandover tells the source that this destination listens, or has ended. m.mu is held.
func (m *QEMU) closeHandover() {
	if m.handover != nil {
		_ = m.handover.Close()
	}
}

// sendsNoRAM says whether the guest's RAM is handed over. m.mu is held.
func (m *QEMU) sendsNoRAM() bool {
	mode, _ := m.parameters["mode"].(string)
	return (mode == modeCPRReboot || mode == modeCPRTransfer || mode == modeCPRExec) && !slices.Contains(m.script.Unused, mode)
}

// channel is one of the argument channels of migrate and migrate-incoming.
type channel struct {
	Type string `json:"channel-type"`
	Addr struct {
		Transport, Path string
	}
}

// channelPath is the path of the unix socket of a channel of that type, "" if there is none.
func channelPath(arguments json.RawMessage, kind string) string {
	var a struct{ Channels []channel }
	if err := json.Unmarshal(arguments, &a); err != nil {
		return ""
	}
	for _, c := range a.Channels {
		if c.Type == kind {
			return c.Addr.Path
		}
	}
	return ""
}
