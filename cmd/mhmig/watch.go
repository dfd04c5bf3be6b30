// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/live"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// view is the output of a run: drawn on a terminal, lines elsewhere, or JSON lines.
type view struct {
	*execFlags
	command *cobra.Command
	printer *terminal.Printer
	out     io.Writer // for messages
	close   func()    // clears what is drawn; may be called again
}

func (v *view) stderr() io.Writer { return v.command.ErrOrStderr() }

// sinks are the controller's outputs.
func (v *view) sinks() controller.Sinks {
	s := controller.Sinks{
		Warn:        func(l diag.List) { _ = diag.Render(v.stderr(), l, terminal.Coloured(os.Stderr)) },
		Note:        func(line string) { fmt.Fprintln(v.stderr(), "mhmig:", line) },
		Busy:        func(what string) func() { return waitFor(v.command, what).Done },
		Begin:       v.begin,
		WriteFailed: func(err error) { writeError(v.out, err) },
		Ended:       v.ended,
	}
	if v.pause {
		s.Pause = v.wait
	}
	return s
}

// begin prepares the output for the planned number of variants.
func (v *view) begin(planned int) slog.Handler {
	options := terminal.Options{
		Color: terminal.Coloured(os.Stderr), Width: func() int { return terminal.Width(os.Stderr) }, Verbose: v.verbose,
	}
	switch {
	case v.json:
		v.printer = terminal.New(v.out, options)
		return result.Lines(v.command.OutOrStdout())
	case !terminal.Drawable(os.Stderr):
		v.printer = terminal.New(v.out, options)
		return v.printer
	}
	drawn := live.New(os.Stderr, live.Options{Planned: planned, Color: options.Color})
	options.Brief = true
	v.out, v.close = drawn, drawn.Close
	v.printer = terminal.New(drawn, options)
	v.keyboard.Suspend = drawn.Suspend
	return slog.NewMultiHandler(drawn.Handler(), v.printer)
}

// wait shows the failure until Enter. Ctrl-C and the end of input also continue.
func (v *view) wait(ctx context.Context, text string) {
	release, err := v.keyboard.Take(ctx, os.Stderr)
	if err != nil {
		return
	}
	defer release()
	fmt.Fprintf(os.Stderr, "%spress Enter to clean up and continue\n", text)
	_ = v.keyboard.Enter(ctx)
}

// ended shows the variants' outcomes.
func (v *view) ended(o controller.Outcome) {
	v.close()
	if v.json {
		return
	}
	stderr := v.stderr()
	v.printer.Table(result.Outcomes(o.Dir))
	terminal.Failures(stderr, result.Outcomes(o.Dir), terminal.Width(os.Stderr))
	switch {
	case o.Summary.NotRun > 0:
		fmt.Fprintf(stderr, "%d of %d variants did not begin: %s\n", o.Summary.NotRun, o.Planned, printable.Lines(o.Summary.Reason))
	case o.Summary.Reason != "":
		fmt.Fprintln(stderr, printable.Lines(o.Summary.Reason))
	}
	fmt.Fprintf(stderr, "results: %s\n", o.Dir)
	for _, text := range o.Kept {
		fmt.Fprint(stderr, text)
	}
	if len(o.Kept) > 0 {
		fmt.Fprintf(stderr, "to end it: mhmig cleanup %s\n", shellescape.Quote(o.Dir))
	}
}
