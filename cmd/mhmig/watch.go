// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/runtime/live"
	"github.com/mhmig/mhmig/runtime/result"
)

// watch is how a run shows what happens: drawn on a terminal, as lines elsewhere,
// or as JSON lines.
type watch struct {
	handler  slog.Handler
	terminal *result.Terminal
	out      io.Writer // for other lines to a person
	close    func()    // takes down what is drawn; again is fine
}

func (e *execution) watch(command *cobra.Command, planned int) *watch {
	w := &watch{out: command.ErrOrStderr(), close: func() {}}
	options := result.TerminalOptions{
		Color: colour(os.Stderr), Width: func() int { return width(os.Stderr) }, Verbose: e.verbose,
	}
	if e.json {
		w.handler, w.terminal = result.Lines(command.OutOrStdout()), result.NewTerminal(w.out, options)
		return w
	}
	if !drawable(os.Stderr) {
		w.terminal = result.NewTerminal(w.out, options)
		w.handler = w.terminal
		return w
	}
	view := live.New(os.Stderr, live.Options{Planned: planned, Color: options.Color})
	options.Brief = true
	w.out, w.close = view, view.Close
	w.terminal = result.NewTerminal(view, options)
	w.handler = slog.NewMultiHandler(view.Handler(), w.terminal)
	e.debug.person.suspend = view.Suspend
	return w
}
