// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newLabCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "Make hosts on this machine and keep them between runs",
		Long: `Without --hosts, mhmig exec makes a lab for the run: hosts on this machine. A lab
that is up is used instead, and is kept.

An embedded lab needs no root: each host is an SSH server on a loopback address.
A netns lab (root) has a network namespace and a real sshd for each host.`,
		Example: `  mhmig lab up --lab-hosts 3
  mhmig lab ssh host2
  mhmig exec scenarios/multihost_migration.star
  mhmig lab down`,
		Args: usage.RequireSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLabUpCommand(), newLabStatusCommand(), newLabSSHCommand(), newLabDownCommand(), newLabServeCommand())
	return c
}

func newLabUpCommand() *cobra.Command {
	var wanted hostflags.Lab
	c := &cobra.Command{
		Use:     "up",
		Short:   "Start the lab",
		Example: "  mhmig lab up --lab-hosts 3\n  sudo mhmig lab up --lab netns",
		Args:    usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := wanted.Check(c.Flags()); err != nil {
				return wrongArguments(err)
			}
			self, err := os.Executable()
			if err != nil {
				return exit.Hosts.Wrap(err)
			}
			s, err := lab.Up(c.Context(), wanted.Options(), []string{self, "lab", "serve"})
			if err != nil {
				return exit.Hosts.Wrap(err)
			}
			return s.WriteText(c.OutOrStdout())
		},
	}
	wanted.Add(c.Flags())
	return c
}

func newLabStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Show whether the lab is up: exit status 0, else 1",
		Example: "  mhmig lab status",
		Args:    usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := findLab()
			if err != nil {
				return err
			}
			if err := s.WriteText(c.OutOrStdout()); err != nil {
				return err
			}
			if err := s.Check(c.Context()); err != nil {
				return exit.Failed.Wrap(fmt.Errorf("the lab is up, but not all of its hosts: %w", err))
			}
			return nil
		},
	}
}

func newLabSSHCommand() *cobra.Command {
	var run string
	c := &cobra.Command{
		Use:   "ssh HOST [COMMAND…]",
		Short: "Log in to a host of the lab, or run a command there",
		Long: `Log in to a host of the lab, or run a command there. As with ssh, the command's
words are joined and given to the host's shell, and its exit status is passed on.

The lab is the one that is up, else that of the latest run here, if it is still
running or paused. --run names the run.`,
		Example: "  mhmig lab ssh host2\n  mhmig lab ssh host2 'ps aux | grep qemu'",
		Args:    usage.Arguments(1, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := labForSSH(run)
			if err != nil {
				return err
			}
			status, err := s.LoginHere(c.Context(), args[0], strings.Join(args[1:], " "))
			switch {
			case err != nil:
				return exit.Hosts.Wrap(err)
			case status != 0:
				return &exit.Error{Code: exit.Code(status)}
			}
			return nil
		},
	}
	c.Flags().SetInterspersed(false) // what follows HOST is the command's
	c.Flags().StringVar(&run, "run", "", "the lab of the run with the results folder `DIR`")
	return c
}

func newLabDownCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "down",
		Short: "End the lab, with all processes on its hosts",
		Long: `End the lab, with all processes on its hosts. While a run uses it, this asks for
confirmation on a terminal; without a terminal it needs --force.`,
		Example: "  mhmig lab down",
		Args:    usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := lab.Down(c.Context(), force)
			used, inUse := errors.AsType[*lab.InUseError](err)
			if inUse && terminal.Confirm(c.ErrOrStderr(), fmt.Sprintf("%v\nEnd it anyway?", used)) {
				err = lab.Down(c.Context(), true)
			} else if inUse {
				return exit.Failed.Wrap(fmt.Errorf("%w; end it first, or use --force", err))
			}
			if errors.Is(err, lab.ErrDown) {
				fmt.Fprintln(c.ErrOrStderr(), err)
				return nil
			} else if err != nil {
				return exit.Hosts.Wrap(err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "end it even while runs use it")
	return c
}

// newLabServeCommand returns the command of the background process of lab up.
func newLabServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve",
		Hidden: true,
		Args:   usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := lab.Serve(c.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
				return exit.Hosts.Wrap(err)
			}
			return nil
		},
	}
}

// labForSSH returns the lab of a run, "" for the lab that is up, else the latest run's.
func labForSSH(run string) (*lab.State, error) {
	if run != "" {
		return hostsfile.FindLab(run)
	}
	up, err := findLab()
	if errors.Is(err, lab.ErrDown) {
		if latest, gone := hostsfile.FindLab(filepath.Join(resultsDir, result.LatestLink)); gone == nil {
			return latest, nil
		}
	}
	return up, err
}

// findLab returns the lab that is up, or an error with exit status 1.
func findLab() (*lab.State, error) {
	s, err := lab.Find()
	if errors.Is(err, lab.ErrDown) {
		return nil, exit.Failed.Wrap(fmt.Errorf("%w; `mhmig lab up` starts one", err))
	} else if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	return s, nil
}
