// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// A lister writes the variants of a config in one of list's formats, at most
// limit of them unless that is negative, and tells whether there are any.
type lister func(ctx context.Context, c *cartesian.Config, out io.Writer, limit int, o cartesian.Options) (bool, error)

// listers are what the values of list's --format stand for.
var listers = map[string]lister{
	"names":      listLines(cartesian.Names),
	"shortnames": listLines(cartesian.ShortNames),
	"jsonl":      listLines(cartesian.JSON),
	"count":      listCount,
	"tree":       listTree,
}

func listLines(format cartesian.Format) lister {
	return func(ctx context.Context, c *cartesian.Config, out io.Writer, limit int, o cartesian.Options) (bool, error) {
		n, err := c.Write(ctx, out, format, limit, o)
		return n > 0, err
	}
}

// listCount does not go through all variants, but with a limit it need not look
// behind that.
func listCount(ctx context.Context, c *cartesian.Config, out io.Writer, limit int, o cartesian.Options) (bool, error) {
	if limit < 0 {
		n, err := c.Count(ctx, o)
		if err != nil {
			return false, err
		}
		_, err = fmt.Fprintln(out, n)
		return n.Sign() > 0, err
	}
	n, err := c.Write(ctx, io.Discard, cartesian.Names, limit, o)
	if err != nil {
		return false, err
	}
	_, err = fmt.Fprintln(out, n)
	return n > 0, err
}

func listTree(ctx context.Context, c *cartesian.Config, out io.Writer, limit int, o cartesian.Options) (bool, error) {
	n, err := c.WriteTree(ctx, out, limit, o)
	return n > 0, err
}

func newListCommand() *cobra.Command {
	var s selection
	var format string
	var limit int
	var defaults bool
	command := &cobra.Command{
		Use:   "list [CONFIG.cfg]",
		Short: "List the variants of a config",
		Long: `List the variants of a config, one per line: of CONFIG.cfg, or of the config
that mhmig brings. Nothing is run. A selection without variants is no error
here.`,
		Example: `  mhmig list
  mhmig list my.cfg --filter 'only RHEL.6.4.x86_64' --format jsonl --limit 1`,
		Args: arguments(0, 1),
		RunE: func(command *cobra.Command, args []string) error {
			write, known := listers[format]
			if !known {
				return fmt.Errorf("--format %s: want one of names, shortnames, jsonl, count, tree", format)
			}
			if command.Flags().Changed("limit") && limit < 0 {
				return fmt.Errorf("--limit %d: want 0 or more", limit)
			}
			if !command.Flags().Changed("limit") {
				limit = -1
			}
			if len(args) == 1 {
				s.config = args[0]
			}
			if filepath.Ext(s.config) == ".star" {
				return fmt.Errorf("%s is a scenario, want a config", s.config)
			}
			config, err := s.parse()
			if err != nil {
				return err
			}
			return list(command, config, cartesian.Options{Defaults: defaults || s.config == ""}, write, limit)
		},
	}
	s.flags(command.Flags())
	command.Flags().StringVar(&format, "format", "names", "what to print of each variant: names, shortnames, jsonl; or count, or tree")
	command.Flags().IntVar(&limit, "limit", 0, "stop after `N` variants")
	command.Flags().BoolVar(&defaults, "defaults", false, "of sets with a default, take only that")
	return command
}

// list writes the variants to stdout, and remarks about the config to stderr.
func list(command *cobra.Command, config *cartesian.Config, options cartesian.Options, write lister, limit int) error {
	out := bufio.NewWriter(command.OutOrStdout())
	some, err := write(command.Context(), config, out, limit, options)
	if err != nil {
		return flush(out, usageError(err))
	}
	remarks := config.Warnings()
	if !some && limit != 0 {
		remarks = whyEmpty(command.Context(), config, options)
	}
	if err := flush(out, nil); err != nil {
		return err
	}
	return diag.Render(command.ErrOrStderr(), remarks, colour(os.Stderr))
}

func flush(w *bufio.Writer, err error) error {
	if flushErr := w.Flush(); err == nil {
		return flushErr
	}
	return err
}
