// SPDX-License-Identifier: Apache-2.0

package result

import (
	"cmp"
	"log/slog"
	"time"
)

// Migration is migrations/N.json: the record of a migration.
type Migration struct {
	Number      int       `json:"number"` // counts from 1 in a scenario
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Status      string    `json:"status"` // QEMU's, of the VM that is furthest from success
	VMs         []MovedVM `json:"vms"`
}

// MovedVM is the record of one VM's migration.
type MovedVM struct {
	VM      string         `json:"vm"`
	Status  string         `json:"status"`
	Query   map[string]any `json:"query,omitempty"`        // the source's last query-migrate, as QEMU answered
	Samples []Sample       `json:"samples,omitempty"`      // during the migration
	Guest   *GuestClock    `json:"guest,omitempty"`        // its effect on the guest, if the guest stamps its clock
	Proof   *MemoryProof   `json:"memory_proof,omitempty"` // nil: none was wanted, or it was not reached
	// Features are the migration features that were on and have been checked when the guest
	// had moved.
	Features []FeatureUse `json:"features,omitempty"`
	// Predictions are of whether and when it converges, in the order in which they were made.
	Predictions []Prediction `json:"predictions,omitempty"`
}

// FeatureUse is what was seen of a migration feature when a guest had moved.
type FeatureUse struct {
	Feature string `json:"feature"` // QEMU's capability, or what it is called else, such as tls
	// Used is false for a feature that was on and had nothing to do: QEMU throttles no guest
	// that is idle.
	Used bool   `json:"used"`
	Seen string `json:"seen"` // the figures that show it, or why there was nothing to do
}

// Sample is the state of a running migration at one time.
type Sample struct {
	Time  time.Time      `json:"time"`
	Query map[string]any `json:"query"` // query-migrate, as QEMU answered
}

// Progress is the progress of a VM's migration.
type Progress struct {
	Status      string
	Transferred int64   // bytes sent
	Remaining   int64   // bytes of RAM still to send
	Total       int64   // bytes of RAM
	Rate        float64 // bytes per second, as QEMU measures it
	Dirty       float64 // dirty rate, in bytes of RAM per second
	Pass        int     // over the RAM, from 1: query-migrate's dirty-sync-count
}

// Passes is the number of complete passes over the RAM.
func (p Progress) Passes() int { return max(p.Pass-1, 0) }

// Diverges reports whether the migration does not converge: the dirty rate is at
// least the transfer rate. It is false until two passes are complete, as QEMU does
// not know the dirty rate before.
func (p Progress) Diverges() bool {
	return p.Status == "active" && p.Passes() >= 2 && p.Dirty > 0 && p.Dirty >= p.Rate
}

// Attrs are the values as attributes of a record of [LevelProgress].
func (p Progress) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("status", p.Status), slog.Int64("transferred", p.Transferred), slog.Int64("remaining", p.Remaining),
		slog.Int64("total", p.Total), slog.Float64("rate", p.Rate), slog.Float64("dirty", p.Dirty), slog.Int("pass", p.Pass),
	}
}

// Progress reads the values of Attrs.
func (e Event) Progress() Progress {
	var p Progress
	p.Status, _ = e.Fields.Get("status").(string)
	p.Transferred, _ = e.Fields.Get("transferred").(int64)
	p.Remaining, _ = e.Fields.Get("remaining").(int64)
	p.Total, _ = e.Fields.Get("total").(int64)
	p.Rate, _ = e.Fields.Get("rate").(float64)
	p.Dirty, _ = e.Fields.Get("dirty").(float64)
	pass, _ := e.Fields.Get("pass").(int64)
	p.Pass = int(pass)
	return p
}

// Progress reads the values of a sample; those that QEMU does not report are 0.
func (s Sample) Progress() Progress {
	status, _ := s.Query["status"].(string)
	ram, _ := s.Query["ram"].(map[string]any)
	number := func(key string) float64 { n, _ := ram[key].(float64); return n }
	pageSize := cmp.Or(number("page-size"), defaultPageSize)
	return Progress{
		Status: status, Transferred: int64(number("transferred")), Remaining: int64(number("remaining")), Total: int64(number("total")),
		Rate: number("mbps") * 1e6 / 8, Dirty: number("dirty-pages-rate") * pageSize, Pass: int(number("dirty-sync-count")),
	}
}

// defaultPageSize is that of QEMU versions that do not report it.
const defaultPageSize = 4096

// SentRAM is how many bytes of RAM were sent since the migration began, as whole pages,
// however few bytes that took; zeros are how many of them were pages of zeros, for which
// next to nothing is sent. ok is false if QEMU does not report it.
func (s Sample) SentRAM() (bytes, zeros float64, ok bool) {
	ram, _ := s.Query["ram"].(map[string]any)
	cache, _ := s.Query["xbzrle-cache"].(map[string]any)
	number := func(in map[string]any, key string) float64 { n, _ := in[key].(float64); return n }
	_, ok = ram["normal"].(float64)
	pageSize := cmp.Or(number(ram, "page-size"), defaultPageSize)
	zeros = pageSize * number(ram, "duplicate")
	return pageSize*(number(ram, "normal")+number(cache, "pages")) + zeros, zeros, ok
}
