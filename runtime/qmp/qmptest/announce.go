// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"encoding/binary"
	"slices"
)

// announce writes the announcements of a guest that has arrived into the files of
// filter-dump, as packet captures. Those of a QEMU that announces nothing, announce-self in
// Script.Unused, have other packets only.
func (m *QEMU) announce() {
	m.mu.Lock()
	dumps := slices.Clone(m.dumps)
	rounds, initial, step, longest := m.parameter("announce-rounds"), m.parameter("announce-initial"), m.parameter("announce-step"), m.parameter("announce-max")
	m.mu.Unlock()
	capture := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	capture = append(capture, make([]byte, 20)...)
	packet := func(ms float64, kind uint16) {
		const length = 60
		ms = max(ms-float64(m.script.LateClock.Milliseconds()), 0)
		for _, n := range []uint32{1 + uint32(ms)/1000, uint32(ms) % 1000 * 1000, length, length} {
			capture = binary.LittleEndian.AppendUint32(capture, n)
		}
		content := make([]byte, length)
		binary.BigEndian.PutUint16(content[12:], kind)
		capture = append(capture, content...)
	}
	const ipv4, rarp = 0x0800, 0x8035
	packet(0, ipv4)
	at := 0.0
	for round := range int(rounds) {
		if slices.Contains(m.script.Unused, "announce-self") {
			break
		}
		packet(at, rarp)
		if !slices.Contains(m.script.Unused, "announce-step") {
			at += min(initial+float64(round)*step, longest)
		} else {
			at += initial
		}
	}
	for _, name := range dumps {
		_ = m.writeFile(name, capture) // one that is missing is what the reader reports
	}
}
