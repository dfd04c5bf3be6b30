// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// defaultRAM is the size of a guest's memory without Script.RAM.
const defaultRAM = 1 << 20

// physical is the guest's memory.
func (m *QEMU) physical() []byte {
	m.mu.Lock()
	restored := m.restored
	m.mu.Unlock()
	if restored != nil {
		return restored
	}
	if m.script.RAM != nil {
		return m.script.RAM()
	}
	return make([]byte, defaultRAM)
}

// setAutostart is cont or stop while the QEMU waits for a guest: it decides whether that
// runs when it is loaded. It is false if the QEMU does not wait for one.
func (m *QEMU) setAutostart(on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != "inmigrate" {
		return false
	}
	m.stays = !on
	return true
}

// human is the output of a command of the human monitor: nothing, but for info mtree -f.
func (m *QEMU) human(arguments json.RawMessage) string {
	var a struct {
		Line string `json:"command-line"`
	}
	switch {
	case json.Unmarshal(arguments, &a) != nil:
		return ""
	case a.Line == "info network":
		return "dev_nic1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:b0:d2:dd\r\n \\ nic1: index=0,type=user,net=10.0.2.0,restrict=off\r\n"
	case strings.TrimSpace(a.Line) == "migrate_cancel":
		m.cancel()
		return ""
	case a.Line != "info mtree -f":
		return ""
	}
	return fmt.Sprintf("FlatView #0\r\n AS \"memory\", root: system\r\n Root memory region: system\r\n  %016x-%016x (prio 0, ram): pc.ram\r\n", 0, len(m.physical())-1)
}

// savePhysical writes a part of the guest's memory into a file.
func (m *QEMU) savePhysical(arguments json.RawMessage) (any, *refusal) {
	var a struct {
		Address  uint64 `json:"val"`
		Size     uint64 `json:"size"`
		Filename string `json:"filename"`
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	ram := m.physical()
	if size := uint64(len(ram)); a.Address > size || a.Size > size-a.Address {
		return nil, &refusal{"GenericError", fmt.Sprintf("Invalid addr 0x%016x/size %d specified", a.Address, a.Size)}
	}
	if err := m.writeFile(a.Filename, ram[a.Address:a.Address+a.Size]); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	return map[string]any{}, nil
}

// writeFile writes a file on the QEMU's host.
func (m *QEMU) writeFile(name string, content []byte) error {
	if m.script.WriteFile != nil {
		return m.script.WriteFile(name, content)
	}
	return os.WriteFile(name, content, 0o600)
}
