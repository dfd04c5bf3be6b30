// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/terminal"
)

const (
	// ledgerFile is where, in a results folder, all is noted that was made on hosts.
	ledgerFile = "ledger.jsonl"
	// reachFile is where, in a results folder, is noted how the hosts are reached.
	reachFile = "hosts.json"
)

// reachRecord is what reachFile holds.
type reachRecord struct {
	Lab   *labRecord    `json:"lab,omitempty"` // that the hosts are of
	Hosts []host.Config `json:"hosts"`         // without passwords
}

// labRecord is a lab that a run was on.
type labRecord struct {
	ID      string   `json:"id"`
	Kind    lab.Kind `json:"kind"`
	Dir     string   `json:"dir"`
	Machine string   `json:"machine"`        // the name of the machine that it was made on
	Own     bool     `json:"own,omitempty"`  // the run's own, which dies with it
	Kept    bool     `json:"kept,omitempty"` // made by exec --keep, stays until mhmig cleanup
}

func newLabRecord(used *usedLab) *labRecord {
	machine, _ := os.Hostname() // "" if it has none
	s := used.state
	return &labRecord{ID: s.ID, Kind: s.Kind, Dir: s.Dir, Machine: machine, Own: used.own, Kept: used.kept}
}

// lives says whether the lab is still there.
func (l *labRecord) lives() bool { return lab.Lives(l.Dir, l.ID) }

// diesWithRun says whether the hosts end with the run.
func (r reachRecord) diesWithRun() bool { return r.Lab != nil && r.Lab.Own }

func (r reachRecord) save(folder string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(folder, reachFile), data, 0o644)
}

// loadReach reads what a run has noted of its hosts.
func loadReach(folder string) (how reachRecord, err error) {
	data, err := os.ReadFile(filepath.Join(folder, reachFile))
	if err == nil {
		err = json.Unmarshal(data, &how)
	}
	if err != nil {
		return how, fmt.Errorf("how to reach the hosts: %w", err)
	}
	return how, nil
}

func newCleanupCommand() *cobra.Command {
	var c cleanup
	command := &cobra.Command{
		Use:   "cleanup [RESULTS-DIR]",
		Short: "Remove what killed runs left on their hosts",
		Long: `Remove what runs left on their hosts because they were killed, or because they
were told to leave their VMs: QEMU processes, commands and what these have
started, folders, taps, firewall tables. Remains of labs whose owner has died are
removed too. RESULTS-DIR is one run, or a folder of runs; default: mhmig-results,
all runs in it.

Each thing that was removed is named. Exit status: 0 nothing is left, 2 a run is
still going on or nothing is known of it, 3 a host could not be cleaned up.`,
		Example: `  mhmig cleanup
  mhmig cleanup mhmig-results/20260102T030405Z-a1b2c3`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			folder := resultsDir
			if len(args) == 1 {
				folder = args[0]
			}
			outliveReader()
			c.out, c.log = command.OutOrStdout(), slog.New(terminal.New(command.ErrOrStderr(), terminal.Options{
				Color: terminal.Coloured(os.Stderr), Width: func() int { return terminal.Width(os.Stderr) },
			}))
			return c.all(command.Context(), folder)
		},
	}
	command.Flags().StringVar((*string)(&c.password), "ssh-password", "", "the hosts' `PASSWORD`, where the run had it from a param")
	return command
}

// cleanup is one call of mhmig cleanup.
type cleanup struct {
	password host.Secret
	out      io.Writer
	log      *slog.Logger
}

// all cleans up behind the run in folder, or behind all runs that have their
// folders in it. What goes wrong with one does not keep it from the others.
func (c *cleanup) all(ctx context.Context, folder string) error {
	removed, err := lab.RemoveDead(ctx)
	var errs []error
	if err != nil {
		errs = append(errs, exit.Hosts.Wrap(fmt.Errorf("remains of labs: %w", err)))
	}
	for _, l := range removed {
		fmt.Fprintf(c.out, "removed what was left of the %s lab %s: folder %s, %d processes\n", l.Kind, l.ID, l.Dir, l.Processes)
	}
	runs, err := runsIn(folder)
	if err != nil {
		errs = append(errs, exit.Usage.Wrap(err))
	}
	clean := len(removed) == 0
	for _, run := range runs {
		done, err := c.run(ctx, run)
		if err != nil {
			errs = append(errs, err)
		}
		clean = clean && !done && err == nil
	}
	if clean && len(errs) == 0 {
		fmt.Fprintf(c.out, "%s: nothing is left\n", folder)
	}
	return errors.Join(errs...)
}

// runsIn returns the folders of runs: the given one, or those in it.
func runsIn(folder string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(folder, ledgerFile)); err == nil {
		return []string{folder}, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("%s is no results folder of mhmig exec: %w", folder, err)
	}
	var runs []string
	for _, e := range entries {
		run := filepath.Join(folder, e.Name())
		if _, err := os.Stat(filepath.Join(run, ledgerFile)); e.IsDir() && err == nil {
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("%s is no results folder of mhmig exec: it has no %s, and no run's folder that has one", folder, ledgerFile)
	}
	return runs, nil
}

// run cleans up behind the run in folder, and says whether anything was left.
func (c *cleanup) run(ctx context.Context, folder string) (left bool, err error) {
	record, err := ledger.Open(filepath.Join(folder, ledgerFile))
	if err != nil {
		return false, exit.Usage.Wrap(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	if len(record.Pending()) == 0 {
		return false, nil
	}
	how, err := loadReach(folder)
	if err != nil {
		return true, exit.Usage.Wrap(err)
	}
	var removed, gone int
	undone := func(e ledger.Entry, was []string) {
		for _, thing := range was {
			fmt.Fprintf(c.out, "removed from %s: %s\n", e.Host, thing)
			removed++
		}
		if len(was) == 0 {
			gone++
		}
	}
	if how.Lab == nil || how.Lab.lives() {
		err = c.undoBySSH(ctx, record, how.Hosts, undone)
	} else {
		err = undoHere(ctx, record, how.Lab, undone)
	}
	fmt.Fprintf(c.out, "%s: removed %d things", folder, removed)
	if gone > 0 {
		fmt.Fprintf(c.out, ", %d were gone already", gone)
	}
	fmt.Fprintln(c.out)
	if err != nil {
		return true, exit.Hosts.Wrap(err)
	}
	if how.Lab == nil || !how.Lab.Kept || !how.Lab.lives() {
		return true, nil
	}
	switch err := lab.Down(ctx, false); {
	case err != nil:
		return true, exit.Hosts.Wrap(fmt.Errorf("the lab that was made for it stays: %w", err))
	default:
		fmt.Fprintln(c.out, "the lab that was made for it is down")
		return true, nil
	}
}

// undoHere removes what the hosts of a lab that is gone have left on this machine.
// What was in the lab went with it.
func undoHere(ctx context.Context, record *ledger.Ledger, l *labRecord, undone ledger.Undone) error {
	if machine, err := os.Hostname(); err != nil || machine != l.Machine {
		return fmt.Errorf("its hosts were a lab on the machine %s: run mhmig cleanup there", l.Machine)
	}
	outlives := func(e ledger.Entry) bool {
		path := ""
		if e.Kind == ledger.File || e.Kind == ledger.Dir {
			path = e.Path
		}
		return lab.Outlives(l.Kind, l.Dir, path)
	}
	err := record.Undo(ctx, outlives, func(context.Context, string) (ledger.Host, error) { return lab.Local{}, nil }, undone)
	for _, e := range record.Pending() {
		if outlives(e) {
			continue
		}
		if struck := record.Done(e.ID); struck != nil {
			return errors.Join(err, struck)
		}
		undone(e, nil)
	}
	return err
}

func (c *cleanup) undoBySSH(ctx context.Context, record *ledger.Ledger, configs []host.Config, undone ledger.Undone) error {
	var open []*host.Host
	defer func() {
		for _, h := range open {
			_ = h.Close()
		}
	}()
	return record.Undo(ctx, nil, func(ctx context.Context, name string) (ledger.Host, error) {
		for _, config := range configs {
			if config.Name != name {
				continue
			}
			config.Password = c.password
			h, err := host.Dial(ctx, config, c.log)
			if err != nil {
				return nil, err
			}
			open = append(open, h)
			return h, nil
		}
		return nil, fmt.Errorf("%s does not say how to reach it", reachFile)
	}, undone)
}
