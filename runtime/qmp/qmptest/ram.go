// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"cmp"
	"time"
)

// Load is what a guest does with its memory while it is migrated.
type Load struct {
	RAM     int64   // bytes
	Used    int64   // of it that are not zero
	Dirty   float64 // bytes that it writes per second, while it runs
	Working int64   // bytes that it writes to, again and again; 0: all that are used
}

// The values of the model of a guest's RAM.
const (
	tick           = 10 * time.Millisecond
	zeroPageBytes  = 9         // what QEMU sends for a page of zeros
	xbzrlePage     = 1200      // what it sends for one that is compressed
	unlimited      = 100 << 30 // bytes per second, with a max-bandwidth of 0
	defaultTrigger = 50
)

// memory is the state of the RAM of a guest that is migrated.
type memory struct {
	load      Load
	pass      float64 // bytes of RAM that are still to be sent in this pass
	dirtied   float64 // bytes that the guest has written since the pass began
	passBegan time.Time
	passSent  float64 // bytes that were sent in this pass

	sent       float64 // bytes that were sent
	inPostcopy float64 // bytes of them in post-copy
	normal     float64 // pages
	bandwidth  float64 // bytes per second, of the last tick
	dirtyRate  float64 // pages per second, of the last pass
	throttle   float64 // percent
	hot        int     // passes in which the guest has written too much
	pages      float64 // that xbzrle has compressed
	missed     float64 // that it had not in its cache
	downtime   time.Duration
}

// modelParameters are the migration parameters that the model of RAM reads, and others
// that QEMU has.
var modelParameters = map[string]any{
	"cpu-throttle-initial": 20, "cpu-throttle-increment": 10, "max-cpu-throttle": 99, "throttle-trigger-threshold": defaultTrigger, "max-postcopy-bandwidth": 0,
	"multifd-channels": 2,
}

// parameter is the value of a number among the migration parameters.
func (m *QEMU) parameter(name string) float64 {
	switch v := m.parameters[name].(type) {
	case int:
		return float64(v)
	case float64:
		return v
	}
	return 0
}

// Stalling is a [Network] that can hold back the packets to an address.
type Stalling interface {
	Stalled(network, address string) bool
}

// sendRAM sends the guest's RAM, pass by pass, until the rest takes no longer than the
// downtime limit, or post-copy is requested. It is false if the connection has ended.
func (m *QEMU) sendRAM(network, where string, gone <-chan bool) bool {
	stalling, _ := m.network.(Stalling)
	m.mu.Lock()
	load := m.script.Load()
	m.ram = &memory{load: load, pass: float64(load.Used), passBegan: time.Now(), sent: float64(load.RAM-load.Used) / pageBytes * zeroPageBytes}
	m.passes = 1
	m.mu.Unlock()
	m.emit("MIGRATION_PASS", map[string]any{"pass": 1})
	for {
		select {
		case <-gone:
			return false
		case <-time.After(tick):
		}
		if m.isClosed() {
			return false
		}
		m.hold()
		stalled := stalling != nil && stalling.Stalled(network, where)
		passed, done, percent := m.advance(stalled)
		if m.script.Progress != nil {
			m.script.Progress(percent)
		}
		if passed > 0 {
			m.emit("MIGRATION_PASS", map[string]any{"pass": passed})
		}
		if done || m.postcopyRequested() {
			return true
		}
	}
}

// advance lets a tick pass: it returns the pass that has begun with it, 0 if none has,
// whether the rest can be sent within the downtime limit, and how much of the guest's
// memory was sent, in percent of what is used.
func (m *QEMU) advance(stalled bool) (passed int, done bool, percent int) {
	load := m.script.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.ram
	r.load = load
	seconds := tick.Seconds()
	r.bandwidth = cmp.Or(m.parameter("max-bandwidth"), unlimited)
	if m.script.Link > 0 {
		r.bandwidth = min(r.bandwidth, m.script.Link)
	}
	if m.state == "running" {
		working := float64(cmp.Or(load.Working, load.Used))
		r.dirtied = min(working, r.dirtied+load.Dirty*(1-r.throttle/100)*seconds)
	}
	if stalled {
		r.bandwidth = 0
		return 0, false, r.percent()
	}
	cost := m.pageCost() // what is sent for a byte of RAM
	sent := min(r.bandwidth*seconds, r.pass*cost)
	r.pass -= sent / cost
	m.count(sent, cost)
	percent = r.percent()
	limit := m.parameter("downtime-limit") / 1000 * r.bandwidth
	if r.pass > 0 || time.Since(r.passBegan) < passTime {
		return 0, false, percent
	}
	r.dirtyRate = r.dirtied / pageBytes / time.Since(r.passBegan).Seconds()
	if m.passes >= 2 && r.dirtied*m.pageCost() <= limit {
		r.downtime = time.Duration(r.dirtied * m.pageCost() / r.bandwidth * float64(time.Second))
		return 0, true, percent
	}
	m.adaptThrottle()
	m.passes++
	r.pass, r.dirtied, r.passSent, r.passBegan = r.dirtied, 0, 0, time.Now()
	return m.passes, false, percent
}

// percent is how much of the guest's memory was sent.
func (r *memory) percent() int {
	if r.load.Used == 0 {
		return 100
	}
	return int(min(100, r.normal*pageBytes*100/float64(r.load.Used)))
}

// pageCost is how many bytes are sent for a byte of RAM.
func (m *QEMU) pageCost() float64 {
	if !m.uses("xbzrle") || m.passes < 2 {
		return 1
	}
	hit := m.cacheHits()
	return hit*xbzrlePage/pageBytes + (1 - hit)
}

// cacheHits is the part of the pages that xbzrle has in its cache.
func (m *QEMU) cacheHits() float64 {
	working := float64(cmp.Or(m.ram.load.Working, m.ram.load.Used, 1))
	return min(1, m.parameter("xbzrle-cache-size")/working)
}

// count counts what was sent.
func (m *QEMU) count(sent, cost float64) {
	r := m.ram
	r.sent += sent
	r.passSent += sent
	pages := sent / cost / pageBytes
	if !m.uses("xbzrle") {
		r.normal += pages
		return
	}
	hits := 0.0
	if m.passes >= 2 {
		hits = pages * m.cacheHits()
	}
	r.pages += hits
	r.missed += pages - hits
	r.normal += pages - hits
}

// adaptThrottle throttles the guest as QEMU does, at the end of a pass: when in two of
// them it has written more than a part of what was sent.
func (m *QEMU) adaptThrottle() {
	r := m.ram
	if !m.uses("auto-converge") || r.dirtied <= r.passSent*m.parameter("throttle-trigger-threshold")/100 {
		return
	}
	if r.hot++; r.hot < 2 {
		return
	}
	r.hot = 0
	if r.throttle == 0 {
		r.throttle = m.parameter("cpu-throttle-initial")
		return
	}
	r.throttle = min(m.parameter("max-cpu-throttle"), r.throttle+m.parameter("cpu-throttle-increment"))
}

// figures adds what the model knows to the reply of query-migrate.
func (m *QEMU) figures(reply map[string]any) {
	r := m.ram
	remaining := max(0, r.pass) + r.dirtied
	if m.status == "completed" {
		remaining = 0
	} else if r.bandwidth > 0 {
		reply["expected-downtime"] = int(remaining / r.bandwidth * 1000)
	}
	reply["setup-time"] = 1
	reply["ram"] = map[string]any{
		"total": r.load.RAM, "page-size": pageBytes, "dirty-sync-count": m.passes, "remaining": int64(remaining), "transferred": int64(r.sent),
		"normal": int64(r.normal), "normal-bytes": int64(r.normal) * pageBytes, "duplicate": m.zeroPages(int(r.load.RAM-r.load.Used) / pageBytes),
		"mbps": r.bandwidth * 8 / 1e6, "dirty-pages-rate": int64(r.dirtyRate), "pages-per-second": int64(r.bandwidth / pageBytes), "precopy-bytes": int64(r.sent - r.inPostcopy), "postcopy-bytes": int64(r.inPostcopy), "multifd-bytes": 0,
	}
	if m.uses("multifd") {
		reply["ram"].(map[string]any)["multifd-bytes"] = m.compressed(int(r.sent))
	}
	if r.throttle > 0 && m.status != "completed" {
		reply["cpu-throttle-percentage"] = int(r.throttle)
	}
	if m.uses("xbzrle") {
		reply["xbzrle-cache"] = map[string]any{
			"cache-size": int64(m.parameter("xbzrle-cache-size")), "bytes": int64(r.pages) * xbzrlePage, "pages": int64(r.pages), "cache-miss": int64(r.missed),
			"cache-miss-rate": 0.0, "encoding-rate": 0.0, "overflow": 0,
		}
	}
	if m.took > 0 {
		reply["downtime"] = max(r.downtime.Milliseconds(), 1)
	}
}
