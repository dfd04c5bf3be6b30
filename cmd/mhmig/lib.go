// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

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
		Args: requireSubcommand,
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

func newLibInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [NAME]",
		Short:   "Make the manifest of a library or project, mhmig.toml",
		Example: "  mhmig lib init acme_net",
		Args:    arguments(0, 1),
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
		Args: arguments(0, 2),
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
				changes, err = p.Add(c.Context(), args[0], fromHere(p, args[1]), review)
			}
			return showChanges(c, changes, err)
		},
	}
	breakingFlag(c, &review)
	return c
}

// fromHere is a source relative to the project's folder, if it was a folder relative to the working directory.
func fromHere(p *project.Project, source string) string {
	if path, _ := project.SplitSource(source); project.IsFolder(path) && !filepath.IsAbs(path) {
		here, err := os.Getwd()
		if err != nil {
			return source
		}
		if inner, err := filepath.Rel(p.Dir, here); err == nil && inner != "." {
			return filepath.ToSlash(inner) + "/" + source
		}
	}
	return source
}

// showChanges reports what an operation has done.
func showChanges(c *cobra.Command, changes []project.Change, err error) error {
	if err != nil {
		if _, breaks := errors.AsType[*project.BreakingError](err); breaks {
			return exit.Failed.Wrap(err)
		}
		return exit.Usage.Default(err)
	}
	out := c.OutOrStdout()
	for _, change := range changes {
		switch {
		case change.From == "":
			fmt.Fprintf(out, "added @%s %s", change.Name, change.To)
		case change.To == "":
			fmt.Fprintf(out, "removed @%s %s", change.Name, change.From)
		case change.From == change.To:
			fmt.Fprintf(out, "changed @%s %s", change.Name, change.To)
		default:
			fmt.Fprintf(out, "changed @%s %s -> %s", change.Name, change.From, change.To)
		}
		if change.By != "" {
			fmt.Fprintf(out, ", which %s needs", change.By)
		}
		fmt.Fprintln(out)
		for _, line := range change.Breaks {
			fmt.Fprintln(out, "  "+line)
		}
	}
	if len(changes) == 0 {
		fmt.Fprintln(out, "nothing to change")
	}
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
		Args:    arguments(0, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			changes, err := p.Update(c.Context(), args, review)
			return showChanges(c, changes, err)
		},
	}
	breakingFlag(c, &review)
	return c
}

func newLibRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME…",
		Short:   "Remove libraries from the needs of the project",
		Example: "  mhmig lib remove net",
		Args:    arguments(1, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			changes, err := p.Remove(c.Context(), args)
			return showChanges(c, changes, err)
		},
	}
}

func newLibListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the libraries: those that are locked, and folders in place of others",
		Example: "  mhmig lib list",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			return listLibraries(c.OutOrStdout(), p)
		},
	}
}

func listLibraries(w io.Writer, p *project.Project) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LIBRARY\tVERSION\tCOMMIT\tSOURCE\tSIGNER")
	for _, l := range p.Locked() {
		signer, _, _ := strings.Cut(l.Signer, " ")
		fmt.Fprintf(t, "@%s\t%s\t%s\t%s\t%s\n", l.Name, l.Version, cmp.Or(short(l.Commit), "-"), l.Source, cmp.Or(signer, "-"))
	}
	replaced := p.Replaced()
	for _, name := range slices.Sorted(maps.Keys(replaced)) {
		fmt.Fprintf(t, "@%s\t-\t-\t%s (replaced, not verified)\t-\n", name, replaced[name])
	}
	return t.Flush()
}

// short is the beginning of a commit, or of a digest.
func short(commit string) string {
	commit = strings.TrimPrefix(commit, "sha256:")
	return commit[:min(12, len(commit))]
}

func newLibWhyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "why NAME",
		Short:   "Show who needs a library, and which version",
		Example: "  mhmig lib why base",
		Args:    arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			chains, err := p.Why(args[0])
			if err != nil {
				return exit.Usage.Default(err)
			}
			for _, chain := range chains {
				fmt.Fprintln(c.OutOrStdout(), chain)
			}
			return nil
		},
	}
}

func newLibVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Fetch what is locked, and verify all files of all libraries",
		Long: `Fetch the libraries of mhmig.lock that this machine does not have, and verify all
files of all of them. Those in mhmig-vendor are verified if there is that folder.

Exit status: 0 all files are what is locked, 1 some are not, 2 something else is wrong.`,
		Example: "  mhmig lib verify",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
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
		},
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
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			if err := p.Vendor(c.Context()); err != nil {
				return exit.Usage.Default(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "libraries copied to %s: %d\n", project.VendorDir, len(p.Locked()))
			return nil
		},
	}
}
