// SPDX-License-Identifier: Apache-2.0

package result

import (
	"log/slog"
	"time"
)

// Migration is migrations/N.json: what is kept of a migration.
type Migration struct {
	Number      int       `json:"number"` // counts from 1 in a scenario
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Status      string    `json:"status"` // QEMU's, of the VM that is furthest from success
	VMs         []MovedVM `json:"vms"`
}

// MovedVM is what is kept of one VM's move.
type MovedVM struct {
	VM      string         `json:"vm"`
	Status  string         `json:"status"`
	Query   map[string]any `json:"query,omitempty"`   // the source's last query-migrate, as QEMU answered
	Samples []Sample       `json:"samples,omitempty"` // while it moved
	Guest   *GuestClock    `json:"guest,omitempty"`   // how its guest felt it, if it stamps its clock
}

// Sample is one look at a migration under way.
type Sample struct {
	Time  time.Time      `json:"time"`
	Query map[string]any `json:"query"` // query-migrate, as QEMU answered
}

// Progress is how far a VM's move has come.
type Progress struct {
	Status      string
	Transferred int64   // bytes sent
	Remaining   int64   // bytes of RAM still to send
	Total       int64   // bytes of RAM
	Rate        float64 // bytes per second, as QEMU measures it
	Dirty       float64 // bytes of RAM per second that the guest changes
	Pass        int     // over the RAM, from 1: query-migrate's dirty-sync-count
}

// Passes is how often the RAM has been gone through: passes that are complete.
func (p Progress) Passes() int { return max(p.Pass-1, 0) }

// Diverges says that the move will not come to an end like this: the guest
// changes its RAM at least as quickly as it is sent. It is not known before two
// passes are complete, as QEMU then first knows the dirty rate.
func (p Progress) Diverges() bool {
	return p.Status == "active" && p.Passes() >= 2 && p.Dirty > 0 && p.Dirty >= p.Rate
}

// Attrs are the figures as a record of [LevelProgress] has them.
func (p Progress) Attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("status", p.Status), slog.Int64("transferred", p.Transferred), slog.Int64("remaining", p.Remaining),
		slog.Int64("total", p.Total), slog.Float64("rate", p.Rate), slog.Float64("dirty", p.Dirty), slog.Int("pass", p.Pass),
	}
}

// Progress reads the figures that Attrs has said.
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

// Progress reads the figures of a sample; those that QEMU does not give are 0.
func (s Sample) Progress() Progress {
	status, _ := s.Query["status"].(string)
	ram, _ := s.Query["ram"].(map[string]any)
	number := func(key string) float64 { n, _ := ram[key].(float64); return n }
	pageSize := number("page-size")
	if pageSize == 0 {
		pageSize = 4096
	}
	return Progress{
		Status: status, Transferred: int64(number("transferred")), Remaining: int64(number("remaining")), Total: int64(number("total")),
		Rate: number("mbps") * 1e6 / 8, Dirty: number("dirty-pages-rate") * pageSize, Pass: int(number("dirty-sync-count")),
	}
}
