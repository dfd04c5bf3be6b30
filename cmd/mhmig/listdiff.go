// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/explain"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// compare writes how the variants of two configs differ.
func (l *listFlags) compare(command *cobra.Command) error {
	older := l.configFlags
	older.config = l.diff
	before, errBefore := older.parse()
	after, errAfter := l.parse()
	if err := diag.Join(errBefore, errAfter); err != nil {
		return exit.Usage.Default(err)
	}
	var remarks diag.List
	if !l.strict {
		remarks = api.DiffWarnings(before, after, l.extras())
	} else if faults := api.DiffFaults(before, after, l.extras()); len(faults) > 0 {
		return exit.Usage.Wrap(faults)
	}
	if err := diag.Render(command.ErrOrStderr(), remarks, terminal.Coloured(os.Stderr)); err != nil {
		return err
	}
	d := &cartesian.Diff{Old: before, New: after, Options: l.options(), Limit: l.maxVariants}
	wait := waitFor(command, "comparing variants")
	defer wait.Done()
	return flushed(command, func(out io.Writer) error {
		out = wait.Writer(out)
		var changes explain.DiffSummary
		for difference, err := range d.All(command.Context()) {
			if limit, ok := errors.AsType[*cartesian.LimitError](err); ok {
				return exit.Usage.Wrap(fmt.Errorf("%w; compare parts of it with --filter, or allow more than %d with --max-variants", err, limit.Limit))
			}
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			if l.format != "jsonl" {
				changes.Add(difference)
			} else if err := printable.WriteJSONLine(out, difference); err != nil {
				return err
			}
		}
		if l.format != "jsonl" {
			changes.Write(out, d.Unchanged())
		}
		return nil
	})
}
