// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"encoding/json"
	"time"
)

// dirtyRateResult is what calc-dirty-rate measures: known from that time on.
type dirtyRateResult struct {
	began time.Time
	takes time.Duration
	rate  int64 // MiB per second
}

// load is what the guest does with its memory now.
func (m *QEMU) load() Load {
	if m.script.Load == nil {
		return Load{RAM: ramBytes, Used: ramBytes, Dirty: m.script.Dirty}
	}
	return m.script.Load()
}

// calcDirtyRate begins to measure the guest's dirty rate.
func (m *QEMU) calcDirtyRate(arguments json.RawMessage) (any, *refusal) {
	var a struct {
		Seconds int `json:"calc-time"`
	}
	if err := json.Unmarshal(arguments, &a); err != nil {
		return nil, &refusal{"GenericError", err.Error()}
	}
	if a.Seconds < 1 || a.Seconds > 60 {
		return nil, &refusal{"GenericError", "calc-time is out of range[1, 60]."}
	}
	load := m.load()
	dirty := load.Dirty * float64(a.Seconds)
	if load.Working > 0 {
		dirty = min(dirty, float64(load.Working))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = dirtyRateResult{time.Now(), time.Duration(a.Seconds) * time.Second, int64(dirty) / int64(a.Seconds) >> 20}
	return map[string]any{}, nil
}

func (m *QEMU) queryDirtyRate() map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := map[string]any{"status": "unstarted", "start-time": 0, "calc-time": int(m.rate.takes.Seconds()), "sample-pages": 512, "mode": "page-sampling"}
	switch since := time.Since(m.rate.began); {
	case m.rate.began.IsZero():
	case since < m.rate.takes:
		reply["status"] = "measuring"
	default:
		reply["status"], reply["dirty-rate"] = "measured", m.rate.rate
	}
	return reply
}
