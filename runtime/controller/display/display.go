// SPDX-License-Identifier: Apache-2.0

// Package display shows a run while it runs, and its outcome: drawn on a terminal, as
// lines elsewhere, or as lines of JSON for programs.
//
//	d := display.New(command.OutOrStdout(), command.ErrOrStderr(), keyboard)
//	outcome, err := controller.Run(ctx, request, d.Sinks())
//	d.Close()
//
// A Display is of one run, whose controller calls it.
package display

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/live"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// Display is the output of a run.
type Display struct {
	JSON    bool // lines of JSON to stdout
	Verbose bool // every remote command and QMP message
	Pause   bool // wait for Enter after a failure

	keyboard *terminal.Keyboard
	stdout   io.Writer
	stderr   io.Writer
	messages io.Writer // stderr, or above what is drawn there
	printer  *terminal.Printer
	close    func() // clears what is drawn; may be called again
}

// New returns a Display that writes to stdout and stderr. Standard error is drawn on if it
// is a terminal, except while the keyboard's dialogs have it.
func New(stdout, stderr io.Writer, keyboard *terminal.Keyboard) *Display {
	return &Display{keyboard: keyboard, stdout: stdout, stderr: stderr, messages: stderr, close: func() {}}
}

// Messages returns the outputs of commands that run nothing: to stderr.
func Messages(stderr io.Writer) controller.Sinks {
	return controller.Sinks{
		Warn: func(l diag.List) { _ = diag.Render(stderr, l, terminal.Coloured(os.Stderr)) },
		Note: func(line string) { fmt.Fprintln(stderr, "mhmig:", line) },
		Busy: func(what string) func() { return terminal.NewWait(stderr, terminal.Drawable(os.Stderr), what).Done },
	}
}

// Sinks returns the controller's outputs.
func (d *Display) Sinks() controller.Sinks {
	s := Messages(d.stderr)
	s.Begin = d.begin
	s.WriteFailed = func(err error) { terminal.WriteError(d.messages, err) }
	s.Ended = d.ended
	if d.Pause {
		s.Pause = d.wait
	}
	return s
}

// Close clears what is drawn. It may be called again.
func (d *Display) Close() { d.close() }

// begin prepares the output for the planned number of variants.
func (d *Display) begin(planned int) slog.Handler {
	options := terminal.Options{
		Color: terminal.Coloured(os.Stderr), Width: func() int { return terminal.Width(os.Stderr) }, Verbose: d.Verbose,
	}
	switch {
	case d.JSON:
		d.printer = terminal.New(d.messages, options)
		return result.Lines(d.stdout)
	case !terminal.Drawable(os.Stderr):
		d.printer = terminal.New(d.messages, options)
		return d.printer
	}
	drawn := live.New(os.Stderr, live.Options{Planned: planned, Color: options.Color})
	options.Brief = true
	d.messages, d.close = drawn, drawn.Close
	d.printer = terminal.New(drawn, options)
	d.keyboard.Suspend = drawn.Suspend
	return slog.NewMultiHandler(drawn.Handler(), d.printer)
}

// wait shows the failure until Enter. Ctrl-C and the end of input also continue.
func (d *Display) wait(ctx context.Context, text string) {
	release, err := d.keyboard.Take(ctx, os.Stderr)
	if err != nil {
		return
	}
	defer release()
	fmt.Fprintf(os.Stderr, "%spress Enter to clean up and continue\n", text)
	_ = d.keyboard.Enter(ctx)
}

// ended shows the variants' outcomes.
func (d *Display) ended(o controller.Outcome) {
	d.close()
	if d.JSON {
		return
	}
	d.printer.Table(result.Outcomes(o.Dir))
	terminal.Failures(d.stderr, result.Outcomes(o.Dir), terminal.Width(os.Stderr))
	switch {
	case o.Summary.NotRun > 0:
		fmt.Fprintf(d.stderr, "%d of %d variants did not begin: %s\n", o.Summary.NotRun, o.Planned, printable.Lines(o.Summary.Reason))
	case o.Summary.Reason != "":
		fmt.Fprintln(d.stderr, printable.Lines(o.Summary.Reason))
	}
	fmt.Fprintf(d.stderr, "results: %s\n", o.Dir)
	for _, text := range o.Kept {
		fmt.Fprint(d.stderr, text)
	}
	if len(o.Kept) > 0 {
		fmt.Fprintf(d.stderr, "to end it: mhmig cleanup %s\n", shellescape.Quote(o.Dir))
	}
}

// Report writes the outcomes of the run with a results folder, as shown at its end, in
// that many columns.
func Report(w io.Writer, dir string, columns int, color bool) error {
	problem, err := report.RunProblem(dir)
	if err != nil {
		return err
	}
	printer := terminal.New(w, terminal.Options{Color: color, Width: func() int { return columns }})
	printer.Table(result.Outcomes(dir))
	terminal.Failures(w, result.Outcomes(dir), columns)
	if problem != "" {
		fmt.Fprintln(w, printable.Lines(problem))
	}
	return nil
}
