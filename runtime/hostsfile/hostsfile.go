// SPDX-License-Identifier: Apache-2.0

// Package hostsfile has the file hosts.json of a results folder: how the run's hosts are
// reached, so that other commands can access them, during the run or afterwards.
//
//	err := hostsfile.Record{Hosts: configs}.Save(folder)
//	how, err := hostsfile.Load(folder)
//	h, err := how.Config("host1")
package hostsfile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

const (
	// LedgerFile is the name of the ledger in a results folder.
	LedgerFile = "ledger.jsonl"
	// hostsFile is the name of the hosts' record in a results folder.
	hostsFile = "hosts.json"
)

// Record is the content of hosts.json: how a run's hosts are reached.
type Record struct {
	Lab   *Lab          `json:"lab,omitempty"` // that the hosts belong to
	Hosts []host.Config `json:"hosts"`         // without passwords
	// StateDirs are the param state_dir of each host, below which it keeps saved states
	// of guests, if it is not a lab's.
	StateDirs []string `json:"state_dirs,omitempty"`
}

// Lab is the lab of a run.
type Lab struct {
	ID      string   `json:"id"`
	Kind    lab.Kind `json:"kind"`
	Dir     string   `json:"dir"`
	Machine string   `json:"machine"`        // hostname of the machine that it was made on
	Own     bool     `json:"own,omitempty"`  // the run's own, which ends with it
	Kept    bool     `json:"kept,omitempty"` // made by exec --keep; exists until mhmig cleanup
}

// NewLab returns the record of a lab on this machine.
func NewLab(s *lab.State) *Lab {
	machine, _ := os.Hostname() // "" if it has none
	return &Lab{ID: s.ID, Kind: s.Kind, Dir: s.Dir, Machine: machine}
}

// IsAlive reports whether the lab still exists.
func (l *Lab) IsAlive() bool { return lab.IsAlive(l.Dir, l.ID) }

// EndsWithRun reports whether the hosts end with the run.
func (r Record) EndsWithRun() bool { return r.Lab != nil && r.Lab.Own }

// Config returns how the host of that name is reached.
func (r Record) Config(name string) (host.Config, error) {
	i := slices.IndexFunc(r.Hosts, func(c host.Config) bool { return c.Name == name })
	if i < 0 {
		return host.Config{}, fmt.Errorf("%s has no host %s", hostsFile, name)
	}
	return r.Hosts[i], nil
}

// Save writes the record into a results folder.
func (r Record) Save(folder string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(folder, hostsFile), data, 0o644)
}

// Load reads the record of a results folder.
func Load(folder string) (how Record, err error) {
	data, err := os.ReadFile(filepath.Join(folder, hostsFile))
	if err == nil {
		err = json.Unmarshal(data, &how)
	}
	if err != nil {
		return how, fmt.Errorf("read how to reach the hosts: %w", err)
	}
	return how, nil
}

// FindLab returns the lab of the run with a results folder, or an error with an exit code
// if its hosts were not a lab, or that has ended.
func FindLab(folder string) (*lab.State, error) {
	how, err := Load(folder)
	if err != nil {
		return nil, exit.Usage.Wrap(err)
	}
	if how.Lab == nil {
		return nil, exit.Usage.Wrap(fmt.Errorf("%s: its hosts were not a lab: use ssh", folder))
	}
	s, err := lab.At(how.Lab.Dir, how.Lab.ID)
	if err != nil {
		return nil, exit.Failed.Wrap(fmt.Errorf("%s: its lab has ended: %w", folder, err))
	}
	return s, nil
}
