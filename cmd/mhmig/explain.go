// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
)

// explanation is one call of mhmig explain: its flags.
type explanation struct {
	selection
	whyNot   string
	defaults bool
	json     bool
}

func newExplainCommand() *cobra.Command {
	var e explanation
	command := &cobra.Command{
		Use:   "explain CONFIG.cfg VARIANT [KEY]",
		Short: "Show which statements made a param, or dropped a variant",
		Long: `Show where the params of a variant come from, or that of KEY alone: all
statements that made it, with their lines, what they made of the value, and the
variants and conditions that they stand in. VARIANT is a name or short name as
list prints them, or any filter that leaves exactly one variant.

With --why-not, show why no variant matches a filter: the statements that drop
those that would, the smallest sets first. If none could match, it says which
label does not exist, or which never follow each other.`,
		Example: `  mhmig explain my.cfg RHEL.6.4.x86_64 mem
  mhmig explain my.cfg 'RHEL.6.4..tcp' --filter 'only smp2' --json
  mhmig explain my.cfg --why-not 'Fedora.17..tcp'`,
		Args: func(command *cobra.Command, args []string) error {
			if !command.Flags().Changed("why-not") {
				return arguments(2, 3)(command, args)
			}
			if len(args) > 1 {
				return fmt.Errorf("unexpected argument %q: --why-not asks for no variant", args[1])
			}
			return arguments(1, 1)(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			e.config = args[0]
			if filepath.Ext(e.config) == ".star" {
				return fmt.Errorf("%s is a scenario, want a config", e.config)
			}
			config, err := e.parse()
			if err != nil {
				return err
			}
			if err := diag.Render(command.ErrOrStderr(), config.Warnings(), colour(os.Stderr)); err != nil {
				return err
			}
			if command.Flags().Changed("why-not") {
				return e.explainAbsence(command, config)
			}
			key := ""
			if len(args) == 3 {
				key = args[2]
			}
			return e.explainVariant(command, config, args[1], key, len(args) == 3)
		},
	}
	flags := command.Flags()
	e.flags(flags)
	flags.StringVar(&e.whyNot, "why-not", "", "show why no variant matches this `FILTER`")
	flags.BoolVar(&e.defaults, "defaults", false, "of sets with a default, take only that")
	flags.BoolVar(&e.json, "json", false, "write JSON")
	return command
}

func (e *explanation) options() cartesian.Options { return cartesian.Options{Defaults: e.defaults} }

func (e *explanation) explainVariant(command *cobra.Command, config *cartesian.Config, variant, key string, one bool) error {
	all, err := config.Explain(command.Context(), variant, e.options())
	if err != nil {
		return notOneVariant(err)
	}
	if one {
		story, near := all.Param(key)
		if story == nil {
			hint := ""
			if near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			return usageError(fmt.Errorf("variant %s has no param %q%s", all.Name, key, hint))
		}
		all.Params = []cartesian.ParamStory{*story}
	}
	return flushed(command, func(out io.Writer) error {
		if e.json {
			return writeJSON(out, all)
		}
		writeExplanation(out, all, one)
		return nil
	})
}

// notOneVariant says what to do when not exactly one variant is asked for.
func notOneVariant(err error) error {
	if several, ok := errors.AsType[*cartesian.SeveralError](err); ok {
		var b strings.Builder
		fmt.Fprintf(&b, "%v:\n", err)
		for _, name := range several.Names {
			fmt.Fprintf(&b, "  %s\n", printable.Line(name))
		}
		if several.More {
			b.WriteString("  ...\n")
		}
		b.WriteString("give one of these names, or add labels")
		if several.Hint != "" {
			fmt.Fprintf(&b, ", such as %q", several.Hint)
		}
		return usageError(errors.New(b.String()))
	}
	if none, ok := errors.AsType[*cartesian.NoneError](err); ok {
		var b strings.Builder
		writeAbsence(&b, none.Absence)
		return usageError(errors.New(strings.TrimRight(b.String(), "\n")))
	}
	return usageError(err)
}

func (e *explanation) explainAbsence(command *cobra.Command, config *cartesian.Config) error {
	absence, err := config.WhyNot(command.Context(), e.whyNot, e.options())
	if err != nil {
		return usageError(err)
	}
	return flushed(command, func(out io.Writer) error {
		if e.json {
			return writeJSON(out, absence)
		}
		writeAbsence(out, absence)
		return nil
	})
}

// flushed lets write write to stdout.
func flushed(command *cobra.Command, write func(io.Writer) error) error {
	out := bufio.NewWriterSize(command.OutOrStdout(), 1<<16)
	return flush(out, write(out))
}

func writeJSONLine(out io.Writer, x any) error { return encodeJSON(out, x, "") }

func writeJSON(out io.Writer, x any) error { return encodeJSON(out, x, "  ") }

func encodeJSON(out io.Writer, x any, indent string) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(x); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) {
		if _, err := out.Write(append(printable.JSON(bytes.TrimSuffix(line, []byte("\n"))), '\n')); err != nil {
			return err
		}
	}
	return nil
}
