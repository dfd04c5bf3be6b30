// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	_ "embed"

	"github.com/mhmig/mhmig/runtime/result"
)

// Schema is the JSON Schema (2020-12) of what JSON writes.
//
//go:embed results.schema.json
var Schema []byte

// jsonFormat is the version of results.json: it is incremented with incompatible
// changes. New members are compatible.
const jsonFormat = 1

// The parts of results.json.
type (
	variant struct {
		ID         string             `json:"id"`
		Name       string             `json:"name"`
		ShortName  string             `json:"shortname"`
		Repeat     int                `json:"repeat,omitzero"`
		Hosts      []string           `json:"hosts,omitempty"`
		Status     result.Status      `json:"status"`
		Started    time.Time          `json:"started"`
		Seconds    float64            `json:"seconds"`
		Failures   []result.Failure   `json:"failures,omitempty"`
		Warnings   []string           `json:"warnings,omitempty"`
		Notices    []string           `json:"notices,omitempty"`
		Machines   []result.Machine   `json:"machines,omitempty"`
		Quarantine *result.Quarantine `json:"quarantine,omitempty"`
		Migrations []migration        `json:"migrations,omitempty"`

		Unread    []result.UnreadParam `json:"unread_params,omitempty"`
		Log       string               `json:"log"`
		Artifacts []file               `json:"artifacts,omitempty"`
	}
	migration struct {
		Number      int     `json:"number"`
		Source      string  `json:"source"`
		Destination string  `json:"destination"`
		Status      string  `json:"status"`
		VMs         []moved `json:"vms"`
	}
	// moved is the migration of one VM; values that are not known are omitted.
	moved struct {
		VM          string  `json:"vm"`
		Status      string  `json:"status"`
		TotalTime   float64 `json:"total_time_ms,omitzero"`
		Downtime    float64 `json:"downtime_ms,omitzero"`
		SetupTime   float64 `json:"setup_time_ms,omitzero"`
		Transferred float64 `json:"transferred_bytes,omitzero"`
		RAM         float64 `json:"ram_bytes,omitzero"`
		Rate        float64 `json:"rate_mbps,omitzero"`
		Passes      float64 `json:"passes,omitzero"`

		GuestDowntime   int64 `json:"guest_downtime_ms,omitzero"`
		GuestClockStop  int64 `json:"guest_clock_stop_ms,omitzero"`
		GuestBrownout   int64 `json:"guest_brownout_ms,omitzero"`
		GuestLongestGap int64 `json:"guest_longest_gap_ms,omitzero"`

		ProofPages   int64  `json:"memory_proof_pages,omitzero"`
		ProofDiffer  int64  `json:"memory_proof_differ,omitzero"`
		ProofTime    int64  `json:"memory_proof_ms,omitzero"`
		ProofMoved   int64  `json:"memory_proof_moved_bytes,omitzero"`
		ProofSkipped string `json:"memory_proof_skipped,omitempty"`

		Features    []result.FeatureUse `json:"features,omitempty"`
		Predictions []result.Prediction `json:"predictions,omitempty"`
	}
	file struct {
		Path string `json:"path"` // below the results folder, with slashes
		Size int64  `json:"size"`
	}
	runEntry struct {
		ID        string        `json:"id"`
		Status    result.Status `json:"status"`
		Started   time.Time     `json:"started"`
		Finished  time.Time     `json:"finished,omitzero"`
		Seconds   float64       `json:"seconds"`
		Version   string        `json:"version,omitempty"`
		Libraries []string      `json:"libraries,omitempty"`
		Command   []string      `json:"command"`
		Scenario  string        `json:"scenario,omitempty"`
		Config    string        `json:"config,omitempty"`
		Filters   []string      `json:"filters,omitempty"`
		Hosts     []string      `json:"hosts,omitempty"`
		Seed      uint64        `json:"seed,omitzero"`
		Shard     string        `json:"shard,omitempty"`
		Planned   int           `json:"planned,omitzero"`
		NotRun    int           `json:"not_run,omitzero"`
		Because   string        `json:"because,omitempty"`
	}
)

// JSON writes results.json, by the JSON schema Schema: the run, each variant, and the
// totals.
func JSON(w io.Writer, dir string) error {
	run, err := result.LoadRun(dir)
	if err != nil {
		return err
	}
	head, err := marshal(newRunEntry(run))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "{\"format\":%d,\n\"run\":%s,\n\"variants\":[", jsonFormat, head); err != nil {
		return err
	}
	counts := map[string]int{}
	separator := "\n"
	for o, err := range outcomes(dir) {
		if err != nil {
			return err
		}
		counts["variants"]++
		counts[strings.ToLower(o.Status.String())]++
		moves, err := result.Migrations(filepath.Join(dir, o.ID))
		if err != nil {
			o.Warnings = append(o.Warnings, fmt.Sprintf("results are incomplete: %v", err))
		}
		line, err := marshal(newVariant(dir, o, moves))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, line); err != nil {
			return err
		}
		separator = ",\n"
	}
	totals, err := marshal(counts)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n],\n\"totals\":%s}\n", totals)
	return err
}

func newRunEntry(run result.Run) runEntry {
	return runEntry{
		ID: run.ID, Status: run.Status, Started: run.Started, Finished: run.Finished, Seconds: run.Seconds,
		Version: run.Version, Libraries: run.Libraries, Command: run.Command, Scenario: run.Scenario, Config: run.Config, Filters: run.Filters, Hosts: run.Hosts,
		Seed: run.Seed, Shard: run.Shard, Planned: run.Planned, NotRun: run.NotRun, Because: run.Because,
	}
}

func newVariant(dir string, o result.Outcome, moves []result.Migration) variant {
	v := variant{
		ID: o.ID, Name: o.Name, ShortName: o.ShortName, Repeat: o.Repeat, Hosts: o.Hosts, Status: o.Status, Started: o.Started, Seconds: o.Seconds,
		Failures: failures(o), Warnings: o.Warnings, Notices: o.Notices, Machines: o.Machines, Quarantine: o.Quarantine, Unread: o.Unread,
		Log: path.Join(o.ID, result.LogFile), Artifacts: files(dir, o.ID, result.ArtifactsDir),
	}
	for _, m := range moves {
		entry := migration{Number: m.Number, Source: m.Source, Destination: m.Destination, Status: m.Status, VMs: []moved{}}
		for _, vm := range m.VMs {
			entry.VMs = append(entry.VMs, newMoved(vm))
		}
		v.Migrations = append(v.Migrations, entry)
	}
	return v
}

// newMoved reads the values of a VM's migration.
func newMoved(vm result.MovedVM) moved {
	ram, _ := vm.Query["ram"].(map[string]any)
	number := func(in map[string]any, key string) float64 { n, _ := in[key].(float64); return n }
	m := moved{
		VM: vm.VM, Status: vm.Status,
		TotalTime: number(vm.Query, "total-time"), Downtime: number(vm.Query, "downtime"), SetupTime: number(vm.Query, "setup-time"),
		Transferred: number(ram, "transferred"), RAM: number(ram, "total"), Rate: number(ram, "mbps"), Passes: number(ram, "dirty-sync-count"),
		Predictions: vm.Predictions,
	}
	m.Features = vm.Features
	if g := vm.Guest; g != nil {
		m.GuestDowntime, m.GuestClockStop, m.GuestBrownout, m.GuestLongestGap = g.Downtime, g.ClockStop, g.Brownout, g.LongestGap
	}
	if p := vm.Proof; p != nil {
		m.ProofPages, m.ProofDiffer, m.ProofTime, m.ProofMoved, m.ProofSkipped = p.Pages, p.Differ, p.Milliseconds, p.Moved, p.Skipped
	}
	return m
}

// maxFiles limits how many files of a variant a report lists.
const maxFiles = 200

// files are the files below a part of a variant's folder, at most maxFiles.
// Unreadable ones are skipped.
func files(dir, id, part string) []file {
	var all []file
	_ = fs.WalkDir(os.DirFS(dir), path.Join(id, part), func(name string, entry fs.DirEntry, err error) error {
		if len(all) == maxFiles || errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				all = append(all, file{name, info.Size()})
			}
		}
		return nil
	})
	return all
}
