// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/explain"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// compare writes how the variants of two configs differ.
func (l *listFlags) compare(command *cobra.Command) error {
	older := l.configFlags
	older.config = l.diff
	configs := make([]*cartesian.Config, 2)
	faults := make([]diag.List, 2) // of each config
	var remarks diag.List
	var errs []error
	for i, s := range []configFlags{older, l.configFlags} {
		config, err := s.parse()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		configs[i] = config
		if l.strict {
			faults[i] = api.Faults(config, s.extras())
		} else {
			remarks = append(remarks, api.Warnings(config, s.extras())...)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, asError(l.mergeFaults(faults[0], faults[1])))
	}
	if err := oneError(errs); err != nil {
		return err
	}
	remarks.Sort()
	remarks = slices.Compact(remarks) // --filter is of both
	if err := diag.Render(command.ErrOrStderr(), remarks, terminal.Coloured(os.Stderr)); err != nil {
		return err
	}
	d := &cartesian.Diff{Old: configs[0], New: configs[1], Options: l.options(), Limit: l.maxVariants}
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
			} else if err := writeJSONLine(out, difference); err != nil {
				return err
			}
		}
		if l.format != "jsonl" {
			changes.Write(out, d.Unchanged())
		}
		return nil
	})
}

// mergeFaults merges the faults of two configs. A fault of a filter that only one config
// has is no fault: the difference is what is compared.
func (l *listFlags) mergeFaults(older, newer diag.List) diag.List {
	both := slices.Clone(newer)
	for _, d := range older {
		if !slices.ContainsFunc(newer, d.Same) {
			both = append(both, d)
		}
	}
	both = slices.DeleteFunc(both, func(d diag.Diagnostic) bool {
		ofBoth := slices.ContainsFunc(older, d.Same) && slices.ContainsFunc(newer, d.Same)
		return l.isFlag(d.Pos.File) && !ofBoth
	})
	both.Sort()
	return both
}

// asError is l as an error, nil if it is empty.
func asError(l diag.List) error {
	if len(l) == 0 {
		return nil
	}
	return exit.Usage.Wrap(l)
}

// oneError joins errors; diagnostics are sorted by position.
func oneError(errs []error) error {
	var all diag.List
	for _, err := range errs {
		if list := diag.Of(err); err != nil && list == nil {
			return err
		} else if list != nil {
			all = append(all, list...)
		}
	}
	all.Sort()
	return asError(slices.Compact(all))
}
