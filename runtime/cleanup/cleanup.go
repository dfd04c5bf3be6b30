// SPDX-License-Identifier: Apache-2.0

// Package cleanup removes the remains of runs on their hosts: of killed runs, of runs
// that kept their VMs, and of labs whose owner has died. The ledgers in the results
// folders list them.
//
//	c := cleanup.Cleanup{Out: os.Stdout, Log: log}
//	err := c.All(ctx, "mhmig-results")
package cleanup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// Cleanup has the options of a cleanup.
type Cleanup struct {
	Password host.Secret // of the hosts, if the run had it from a param
	States   bool        // also remove saved states of guests
	Out      io.Writer   // gets a line for each removed item
	Log      *slog.Logger
}

// All cleans up after the run in folder, or after all runs that have their folders in
// it. An error of one run does not stop the cleanup of the others. "" is no run at all.
func (c *Cleanup) All(ctx context.Context, folder string) error {
	removed, err := lab.RemoveDead(ctx)
	var errs []error
	if err != nil {
		errs = append(errs, exit.Hosts.Wrap(fmt.Errorf("remains of labs: %w", err)))
	}
	for _, l := range removed {
		fmt.Fprintf(c.Out, "removed the remains of the %s lab %s: folder %s, %d processes\n", l.Kind, l.ID, l.Dir, l.Processes)
	}
	var runs []string
	if folder != "" {
		if runs, err = runsIn(folder); err != nil {
			errs = append(errs, exit.Usage.Wrap(err))
		}
	}
	clean := len(removed) == 0
	if c.States {
		left, err := c.states(ctx, runs)
		if err != nil {
			errs = append(errs, exit.Hosts.Wrap(err))
		}
		clean = clean && !left
	}
	for _, run := range runs {
		done, err := c.run(ctx, run)
		if err != nil {
			errs = append(errs, err)
		}
		clean = clean && !done && err == nil
	}
	if clean && len(errs) == 0 {
		fmt.Fprintf(c.Out, "%s: nothing to clean up\n", cmp.Or(folder, "saved states"))
	}
	return errors.Join(errs...)
}

// runsIn returns the folders of runs: the given one, or those in it.
func runsIn(folder string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(folder, hostsfile.LedgerFile)); err == nil {
		return []string{folder}, nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("%s is no results folder of mhmig exec: %w", folder, err)
	}
	var runs []string
	for _, e := range entries {
		run := filepath.Join(folder, e.Name())
		if _, err := os.Stat(filepath.Join(run, hostsfile.LedgerFile)); e.IsDir() && err == nil {
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("%s is no results folder of mhmig exec: it has no %s, and no run's folder that has one", folder, hostsfile.LedgerFile)
	}
	return runs, nil
}

// run cleans up after the run in folder, and says whether there was anything to remove.
func (c *Cleanup) run(ctx context.Context, folder string) (left bool, err error) {
	record, err := ledger.Open(filepath.Join(folder, hostsfile.LedgerFile))
	if err != nil {
		return false, exit.Usage.Wrap(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	if len(record.Pending()) == 0 {
		return false, nil
	}
	how, err := hostsfile.Load(folder)
	if err != nil {
		return true, exit.Usage.Wrap(err)
	}
	var removed, gone int
	undone := func(e ledger.Entry, was []string) {
		for _, thing := range was {
			fmt.Fprintf(c.Out, "removed from %s: %s\n", e.Host, thing)
			removed++
		}
		if len(was) == 0 {
			gone++
		}
	}
	if how.Lab == nil || how.Lab.IsAlive() {
		err = c.undoBySSH(ctx, record, how, undone)
	} else {
		err = undoHere(ctx, record, how.Lab, undone)
	}
	fmt.Fprintf(c.Out, "%s: removed %d items", folder, removed)
	if gone > 0 {
		fmt.Fprintf(c.Out, ", %d were gone already", gone)
	}
	fmt.Fprintln(c.Out)
	if err != nil {
		return true, exit.Hosts.Wrap(err)
	}
	if how.Lab == nil || !how.Lab.Kept || !how.Lab.IsAlive() {
		return true, nil
	}
	switch err := lab.Down(ctx, false); {
	case err != nil:
		return true, exit.Hosts.Wrap(fmt.Errorf("the lab of the run was not stopped: %w", err))
	default:
		fmt.Fprintln(c.Out, "stopped the lab of the run")
		return true, nil
	}
}

// undoHere removes the remains of a lab's hosts on this machine, after the lab has ended.
// Everything inside the lab ended with it.
func undoHere(ctx context.Context, record *ledger.Ledger, l *hostsfile.Lab, undone ledger.Undone) error {
	if machine, err := os.Hostname(); err != nil || machine != l.Machine {
		return fmt.Errorf("its hosts were a lab on machine %s: run mhmig cleanup there", l.Machine)
	}
	outlives := func(e ledger.Entry) bool {
		path := ""
		if e.Kind == ledger.File || e.Kind == ledger.Dir {
			path = e.Path
		}
		return lab.SurvivesLab(l.Kind, l.Dir, path)
	}
	err := record.Undo(ctx, outlives, func(context.Context, string) (ledger.Host, error) { return lab.Local{}, nil }, undone)
	for _, e := range record.Pending() {
		if outlives(e) {
			continue
		}
		if doneErr := record.Done(e.ID); doneErr != nil {
			return errors.Join(err, doneErr)
		}
		undone(e, nil)
	}
	return err
}

func (c *Cleanup) undoBySSH(ctx context.Context, record *ledger.Ledger, how hostsfile.Record, undone ledger.Undone) error {
	var open []*host.Host
	defer func() {
		for _, h := range open {
			_ = h.Close()
		}
	}()
	return record.Undo(ctx, nil, func(ctx context.Context, name string) (ledger.Host, error) {
		config, err := how.Config(name)
		if err != nil {
			return nil, err
		}
		config.Password = c.Password
		h, err := host.Dial(ctx, config, c.Log)
		if err != nil {
			return nil, err
		}
		open = append(open, h)
		return h, nil
	}, undone)
}
