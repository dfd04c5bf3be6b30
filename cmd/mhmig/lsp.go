// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/lang/lsp"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/version"
)

func newLSPCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lsp",
		Short: "Serve an editor by the Language Server Protocol",
		Long: `Serve an editor by the Language Server Protocol, over standard input and output, for
scenarios (.star) and configs (.cfg): what is wrong while it is written, completion,
documentation, definitions, formatting and renaming. Editors start it themselves.`,
		Example: "  mhmig lsp",
		Args:    usage.Arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			cache, err := jeos.DefaultCacheDir()
			if err != nil {
				return exit.Hosts.Wrap(err)
			}
			return exit.Usage.Wrap(lsp.Serve(command.Context(), os.Stdin, os.Stdout, lsp.Options{
				Libraries: librariesOf, Copies: filepath.Join(cache, "shown"), Version: version.Module(),
			}))
		},
	}
}

// librariesOf returns the libraries of the project that a folder is in. With an error they are mhmig's own.
func librariesOf(folder string) (library.Set, error) {
	dir := project.Find(folder)
	if dir == "" {
		return shipped, nil
	}
	p, err := openProject(dir)
	if err != nil {
		return shipped, err
	}
	set, err := p.Libraries(shipped, nil)
	if err != nil {
		return shipped, exit.Usage.Wrap(err)
	}
	return set, nil
}
