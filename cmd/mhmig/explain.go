// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/explain"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// explainFlags is one call of mhmig explain: its flags.
type explainFlags struct {
	configFlags
	whyNot string
	json   bool
}

func newExplainCommand() *cobra.Command {
	var e explainFlags
	command := &cobra.Command{
		Use:   "explain [CONFIG.cfg] VARIANT [KEY]",
		Short: "Show which statements set a param, or dropped a variant",
		Long: `Show where the params of a variant come from, or only that of KEY: all
statements that affect it, with their lines, the resulting values, and the
variants and conditions around them. VARIANT is a name or short name as printed
by list, or any filter that leaves exactly one variant. The config is CONFIG.cfg,
recognized by its extension, or mhmig's own.

With --why-not, show why no variant matches a filter: the statements that drop
those that would, the smallest sets first. If none could match, it shows which
label does not exist, or which never follow each other.`,
		Example: `  mhmig explain my.cfg RHEL.6.4.x86_64 mem
  mhmig explain my.cfg 'RHEL.6.4..tcp' --filter 'only smp2' --json
  mhmig explain my.cfg --why-not 'Fedora.17..tcp'
  mhmig explain JeOS mem`,
		Args: func(command *cobra.Command, args []string) error {
			_, asked := splitConfig(args)
			switch whyNot := command.Flags().Changed("why-not"); {
			case whyNot && len(asked) > 0:
				return wrongArgument("unexpected argument %q: --why-not asks for no variant", asked[0])
			case whyNot:
				return nil
			case len(asked) > 2:
				return wrongArgument("unexpected argument %q: %s", asked[2], command.UseLine())
			}
			return usage.Arguments(1, 2)(command, asked)
		},
		RunE: func(command *cobra.Command, args []string) error {
			var asked []string
			e.config, asked = splitConfig(args)
			if len(args) > 0 && filepath.Ext(args[0]) == star.Extension {
				return wrongArgument("%s is a scenario, want a config", args[0])
			}
			config, err := e.parse()
			if err != nil {
				return err
			}
			if err := diag.Render(command.ErrOrStderr(), api.Warnings(config, e.extras()), terminal.Coloured(os.Stderr)); err != nil {
				return err
			}
			if command.Flags().Changed("why-not") {
				return e.explainAbsence(command, config)
			}
			key := ""
			if len(asked) == 2 {
				key = asked[1]
			}
			return e.explainVariant(command, config, asked[0], key, len(asked) == 2)
		},
	}
	flags := command.Flags()
	e.flags(flags)
	flags.StringVar(&e.whyNot, "why-not", "", "show why no variant matches this `FILTER`")
	flags.BoolVar(&e.json, "json", false, "write JSON")
	return command
}

// splitConfig splits explain's arguments into the config, "" if there is none, and the rest.
func splitConfig(args []string) (config string, asked []string) {
	if len(args) > 0 && filepath.Ext(args[0]) == configExtension {
		return args[0], args[1:]
	}
	return "", args
}

func (e *explainFlags) explainVariant(command *cobra.Command, config *cartesian.Config, variant, key string, one bool) error {
	wait := waitFor(command, "looking for the variant")
	all, err := config.Explain(command.Context(), variant, e.options())
	if _, none := errors.AsType[*cartesian.NoneError](err); none && e.config == "" && !e.defaults {
		// A variant can be named without a filter that disables the defaults.
		all, err = config.Explain(command.Context(), variant, cartesian.Options{})
	}
	wait.Done()
	if err != nil {
		return exit.Usage.Wrap(explain.NotOne(err))
	}
	if one {
		history, near := all.Param(key)
		if history == nil {
			hint := ""
			if near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			return exit.Usage.Wrap(fmt.Errorf("variant %s has no param %q%s", all.Name, key, hint))
		}
		all.Params = []cartesian.ParamHistory{*history}
	}
	return flushed(command, func(out io.Writer) error {
		if e.json {
			return printable.WriteJSON(out, all)
		}
		explain.Params(out, all, one)
		return nil
	})
}

func (e *explainFlags) explainAbsence(command *cobra.Command, config *cartesian.Config) error {
	wait := waitFor(command, "searching why there is no such variant")
	absence, err := config.WhyNot(command.Context(), e.whyNot, e.options())
	wait.Done()
	if err != nil {
		return exit.Usage.Wrap(err)
	}
	return flushed(command, func(out io.Writer) error {
		if e.json {
			return printable.WriteJSON(out, absence)
		}
		explain.Absence(out, absence)
		return nil
	})
}

// flushed calls write with buffered stdout.
func flushed(command *cobra.Command, write func(io.Writer) error) error {
	out := bufio.NewWriterSize(command.OutOrStdout(), 1<<16)
	return flush(out, write(out))
}
