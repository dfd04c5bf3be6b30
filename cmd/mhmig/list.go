// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

var formats = map[string]cartesian.Format{"names": cartesian.Names, "shortnames": cartesian.ShortNames, "jsonl": cartesian.JSON}

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
			_, known := formats[format]
			if !known {
				return fmt.Errorf("--format %s: want one of names, shortnames, jsonl, count", format)
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
			return list(command, config, cartesian.Options{Defaults: defaults || s.config == ""}, format, limit)
		},
	}
	s.flags(command.Flags())
	command.Flags().StringVar(&format, "format", "names", "what to print of each variant: names, shortnames, jsonl; or count")
	command.Flags().IntVar(&limit, "limit", 0, "stop after `N` variants")
	command.Flags().BoolVar(&defaults, "defaults", false, "of sets with a default, take only that")
	return command
}

// list writes the variants to stdout, at most limit of them unless it is
// negative.
func list(command *cobra.Command, config *cartesian.Config, options cartesian.Options, format string, limit int) error {
	out := bufio.NewWriter(command.OutOrStdout())
	count, err := config.Write(command.Context(), out, formats[format], limit, options)
	if err != nil {
		return flush(out, usageError(err))
	}
	remarks := config.Warnings()
	if count == 0 && limit != 0 {
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
