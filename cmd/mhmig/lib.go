// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/version"
)

func newLibCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lib",
		Short: "Share libraries of scenarios and configs, and use those of others",
		Long: `A library is a folder with .star and .cfg files and a manifest, mhmig.toml. Once a
project needs it, scenarios load its files, configs include them, and mhmig exec
runs them:

  load("@net//checks.star", "ping")
  include @net//guests.cfg
  mhmig exec @net//soak.star

A library comes from a folder; from a git repository: https, ssh or file, with a tag
such as v1.2.0, a branch or a commit, and "REPOSITORY//FOLDER" is a folder of one,
whose tags are FOLDER/v1.2.0; or from an OCI registry, oci://REGISTRY/NAME, to which
"oras push REGISTRY/NAME:v1.2.0 ." has pushed it.

mhmig.toml, in the working directory or above it, says what the project needs, each
library the oldest version that will do; of all that is asked for, the newest one is
taken. mhmig.lock pins versions and contents. Every file is verified against it when
it is read, and only the commands here fetch anything.`,
		Example: `  mhmig lib init
  mhmig lib add net https://git.example.com/team/net.git
  mhmig lib add guests 'ssh://git@git.example.com/all.git//guests@v1.2.0'
  mhmig lib update
  mhmig exec @net//soak.star`,
		Args: usage.RequireSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newLibInitCommand(), newLibAddCommand(), newLibUpdateCommand(), newLibRemoveCommand(), newLibListCommand(),
		newLibWhyCommand(), newLibVerifyCommand(), newLibVendorCommand())
	return c
}

// wantProject opens the project that the working directory is in, which there must be.
func wantProject(c *cobra.Command) (*project.Project, error) {
	p, err := openProject("")
	if err == nil && p == nil {
		err = exit.Usage.Wrap(fmt.Errorf("there is no %s here or above; mhmig lib init makes one", project.ManifestName))
	}
	if p != nil {
		p.Working = func(what string) func() { return waitFor(c, what).Done }
	}
	return p, err
}

// ofProject is the RunE of a command about the project that the working directory is in.
func ofProject(run func(c *cobra.Command, p *project.Project, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		p, err := wantProject(c)
		if err != nil {
			return err
		}
		return run(c, p, args)
	}
}

func newLibInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [NAME]",
		Short:   "Make the manifest of a library or project, mhmig.toml",
		Example: "  mhmig lib init acme_net",
		Args:    usage.Arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			here, err := os.Getwd()
			if err != nil {
				return exit.Hosts.Wrap(err)
			}
			name := project.NameOf(here)
			if len(args) > 0 {
				name = args[0]
			}
			if err := project.Init(here, name, version.Module()); err != nil {
				return exit.Usage.Wrap(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "made %s of @%s\n", project.ManifestName, name)
			return nil
		},
	}
}

// breakingFlag adds the flag of commands that may raise versions.
func breakingFlag(c *cobra.Command, review *project.Review) {
	review.Compare = star.Breaks
	c.Flags().BoolVar(&review.AllowBreaks, "breaking", false, "accept functions that were removed or take other parameters, within a major version")
}

func newLibAddCommand() *cobra.Command {
	var review project.Review
	c := &cobra.Command{
		Use:   "add [NAME SOURCE[@VERSION]]",
		Short: "Add a library to the needs of the project, or change its version",
		Long: `Add a library to the needs of the project, or change its version. NAME is the name
in its own mhmig.toml. Without a version it is the latest release.

Without arguments, mhmig.lock is made to agree with mhmig.toml after that was edited
by hand.`,
		Example: `  mhmig lib add net https://git.example.com/team/net.git@v1.2.0
  mhmig lib add net ../net`,
		Args: usage.Arguments(0, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return wrongArgument("an argument is missing: %s", c.UseLine())
			}
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			var changes []project.Change
			if len(args) == 0 {
				changes, err = p.Sync(c.Context(), review)
			} else {
				changes, err = p.Add(c.Context(), args[0], p.SourceFromHere(args[1]), review)
			}
			return showChanges(c, changes, err)
		},
	}
	breakingFlag(c, &review)
	return c
}

// showChanges reports what an operation has done.
func showChanges(c *cobra.Command, changes []project.Change, err error) error {
	if err != nil {
		if _, breaks := errors.AsType[*project.BreakingError](err); breaks {
			return exit.Failed.Wrap(err)
		}
		return exit.Usage.Default(err)
	}
	project.WriteChanges(c.OutOrStdout(), changes)
	return nil
}

func newLibUpdateCommand() *cobra.Command {
	var review project.Review
	c := &cobra.Command{
		Use:   "update [NAME[@VERSION]…]",
		Short: "Raise libraries to their latest releases, or to a version",
		Long: `Raise libraries that the project needs, all of them without arguments, to their
latest release with the same major version, or to the version that is named.
Libraries in folders are read anew.

Functions that were removed or whose parameters have changed are shown. Within a
major version, from v1 on, they are an error: nothing is changed without --breaking.

Exit status: 0 done, 1 a library breaks its users, 2 something else is wrong.`,
		Example: "  mhmig lib update\n  mhmig lib update net@v2.0.0",
		Args:    usage.Arguments(0, math.MaxInt),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, args []string) error {
			changes, err := p.Update(c.Context(), args, review)
			return showChanges(c, changes, err)
		}),
	}
	breakingFlag(c, &review)
	return c
}

func newLibRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME…",
		Short:   "Remove libraries from the needs of the project",
		Example: "  mhmig lib remove net",
		Args:    usage.Arguments(1, math.MaxInt),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, args []string) error {
			changes, err := p.Remove(c.Context(), args)
			return showChanges(c, changes, err)
		}),
	}
}

func newLibListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the libraries: those that are locked, and folders in place of others",
		Example: "  mhmig lib list",
		Args:    usage.Arguments(0, 0),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, _ []string) error {
			return p.WriteList(c.OutOrStdout())
		}),
	}
}

func newLibWhyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "why NAME",
		Short:   "Show who needs a library, and which version",
		Example: "  mhmig lib why base",
		Args:    usage.Arguments(1, 1),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, args []string) error {
			chains, err := p.Why(args[0])
			if err != nil {
				return exit.Usage.Default(err)
			}
			for _, chain := range chains {
				fmt.Fprintln(c.OutOrStdout(), chain)
			}
			return nil
		}),
	}
}

func newLibVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Fetch what is locked, and verify all files of all libraries",
		Long: `Fetch the libraries of mhmig.lock that this machine does not have, and verify all
files of all of them. Those in mhmig-vendor are verified if there is that folder.
With allowed signers in mhmig.toml, it is verified again who has signed each of them.

Exit status: 0 all files are what is locked, 1 some are not, 2 something else is wrong.`,
		Example: "  mhmig lib verify",
		Args:    usage.Arguments(0, 0),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, _ []string) error {
			faults, err := p.Verify(c.Context())
			if err != nil {
				return exit.Usage.Default(err)
			}
			errs := make([]error, len(faults))
			for i, fault := range faults {
				errs[i] = errors.New(fault)
			}
			if err := errors.Join(errs...); err != nil {
				return exit.Failed.Wrap(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "libraries verified: %d\n", len(p.Locked()))
			return nil
		}),
	}
}

func newLibVendorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "vendor",
		Short: "Copy all libraries into the project, to run without a network",
		Long: `Copy all libraries of mhmig.lock into the folder mhmig-vendor of the project. From
then on they are read there, and verified as before. Without the folder, the cache
is used again.`,
		Example: "  mhmig lib vendor",
		Args:    usage.Arguments(0, 0),
		RunE: ofProject(func(c *cobra.Command, p *project.Project, _ []string) error {
			if err := p.Vendor(c.Context()); err != nil {
				return exit.Usage.Default(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "libraries copied to %s: %d\n", project.VendorDir, len(p.Locked()))
			return nil
		}),
	}
}
