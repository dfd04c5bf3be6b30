// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	// ledgerFile is where, in a results folder, all is noted that was made on hosts.
	ledgerFile = "ledger.jsonl"
	// reachFile is where, in a results folder, is noted how the hosts are reached.
	reachFile = "hosts.json"
)

// reachRecord is what reachFile holds.
type reachRecord struct {
	OwnLab  bool          `json:"own_lab"`            // a lab of the run's own, which dies with it
	KeptLab string        `json:"kept_lab,omitempty"` // a lab that exec --keep has made, which stays until mhmig cleanup
	Hosts   []host.Config `json:"hosts"`              // without passwords
}

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

// isUp says whether the lab that is up is this one.
func isUp(id string) bool {
	s, err := lab.Find()
	return err == nil && s.ID == id
}

func newCleanupCommand() *cobra.Command {
	var password string
	command := &cobra.Command{
		Use:   "cleanup [RESULTS-DIR]",
		Short: "Remove what a killed run left on its hosts",
		Long: `Remove what a run left on its hosts because it was killed, or because it was
told to leave its VMs: QEMU processes, folders, taps, firewall tables. Remains
of labs whose owner has died are removed too. The run is that of RESULTS-DIR,
else the latest one.`,
		Example: `  mhmig cleanup
  mhmig cleanup mhmig-results/20260102T030405Z-a1b2c3`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			folder := filepath.Join("mhmig-results", result.LatestLink)
			if len(args) == 1 {
				folder = args[0]
			}
			outliveReader()
			return cleanup(command, folder, host.Secret(password))
		},
	}
	command.Flags().StringVar(&password, "ssh-password", "", "the hosts' `PASSWORD`, where the run had it from a param")
	return command
}

func cleanup(command *cobra.Command, folder string, password host.Secret) (err error) {
	ctx := command.Context()
	log := slog.New(result.NewTerminal(command.ErrOrStderr(), result.TerminalOptions{
		Color: colour(os.Stderr), Width: func() int { return width(os.Stderr) },
	}))
	if err := lab.RemoveDead(ctx); err != nil {
		return hostsError(fmt.Errorf("remains of labs: %w", err))
	}
	path := filepath.Join(folder, ledgerFile)
	if _, err := os.Stat(path); err != nil {
		return usageError(fmt.Errorf("%s is no results folder of mhmig exec: %w", folder, err))
	}
	record, err := ledger.Open(path)
	if err != nil {
		return usageError(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	if len(record.Pending()) == 0 {
		fmt.Fprintf(command.OutOrStdout(), "%s: nothing is left\n", folder)
		return nil
	}
	how, err := loadReach(folder)
	if err != nil {
		return usageError(err)
	}
	count := len(record.Pending())
	labUp := how.KeptLab != "" && isUp(how.KeptLab)
	if how.OwnLab || how.KeptLab != "" && !labUp {
		err = strikeAll(record) // all of it went with the lab
	} else {
		err = undoAll(ctx, record, how.Hosts, password, log)
	}
	if err != nil {
		return hostsError(err)
	}
	fmt.Fprintf(command.OutOrStdout(), "%s: removed %d things\n", folder, count)
	if labUp {
		if err := lab.Down(ctx); err != nil {
			return hostsError(err)
		}
		fmt.Fprintln(command.OutOrStdout(), "the lab that was made for it is down")
	}
	return nil
}

func strikeAll(record *ledger.Ledger) error {
	for _, entry := range record.Pending() {
		if err := record.Done(entry.ID); err != nil {
			return err
		}
	}
	return nil
}

func undoAll(ctx context.Context, record *ledger.Ledger, configs []host.Config, password host.Secret, log *slog.Logger) error {
	var open []*host.Host
	defer func() {
		for _, h := range open {
			_ = h.Close()
		}
	}()
	return record.Undo(ctx, nil, func(ctx context.Context, name string) (ledger.Host, error) {
		for _, c := range configs {
			if c.Name != name {
				continue
			}
			c.Password = password
			h, err := host.Dial(ctx, c, log)
			if err != nil {
				return nil, err
			}
			open = append(open, h)
			return h, nil
		}
		return nil, fmt.Errorf("%s does not say how to reach it", reachFile)
	}, log)
}
