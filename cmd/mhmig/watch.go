// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/runtime/live"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// watch is how a run shows what happens: drawn on a terminal, as lines elsewhere,
// or as JSON lines.
type watch struct {
	handler slog.Handler
	printer *terminal.Printer
	out     io.Writer // for other lines to a person
	close   func()    // takes down what is drawn; again is fine
}

func (e *execution) watch(command *cobra.Command, planned int) *watch {
	w := &watch{out: command.ErrOrStderr(), close: func() {}}
	options := terminal.Options{
		Color: terminal.Coloured(os.Stderr), Width: func() int { return terminal.Width(os.Stderr) }, Verbose: e.verbose,
	}
	if e.json {
		w.handler, w.printer = result.Lines(command.OutOrStdout()), terminal.New(w.out, options)
		return w
	}
	if !terminal.Drawable(os.Stderr) {
		w.printer = terminal.New(w.out, options)
		w.handler = w.printer
		return w
	}
	view := live.New(os.Stderr, live.Options{Planned: planned, Color: options.Color})
	options.Brief = true
	w.out, w.close = view, view.Close
	w.printer = terminal.New(view, options)
	w.handler = slog.NewMultiHandler(view.Handler(), w.printer)
	e.debug.keyboard.Suspend = view.Suspend
	return w
}
