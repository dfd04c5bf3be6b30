// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// awaitTimeout is how long a QEMU waits for descriptors, as vm.Start does.
const awaitTimeout = 30 * time.Second

// modeCPRTransfer is the migration mode in which no RAM is sent.
const modeCPRTransfer = "cpr-transfer"

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
	accepted := make(chan io.Closer, 1)
	m.working.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.at("handover")
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.frozen {
			accepted <- conn
		}
	})
	select {
	case conn := <-accepted:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.handover = conn
		return nil
	case <-m.quit:
		return errors.New("it has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

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
	return m.parameters["mode"] == modeCPRTransfer && !slices.Contains(m.script.Unused, modeCPRTransfer)
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
