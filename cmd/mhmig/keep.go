// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// debugFlags say what exec does for a person who debugs.
type debugFlags struct {
	keep, pause bool

	keyboard *terminal.Keyboard
	folder   string              // the run's results
	mask     func(string) string // hides the run's passwords

	mu   sync.Mutex            // guards what follows
	seen map[*testbed.Bed]bool // failed; the value is what was decided
	kept []string              // how to get in
}

func (d *debugFlags) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&d.keep, "keep", false, "leave VMs and hosts of a failed variant as they are; a lab made for the run stays up too")
	flags.BoolVar(&d.pause, "pause-on-failure", false, "wait for Enter before cleaning up behind a failed variant")
}

// check refuses what cannot be done, and looks for the person at the terminal.
func (d *debugFlags) check() error {
	d.seen = map[*testbed.Bed]bool{}
	d.keyboard = terminal.NewKeyboard(os.Stdin, os.Stderr)
	if d.pause && !d.keyboard.There() {
		return errors.New("--pause-on-failure: standard input or error is no terminal: use --keep there")
	}
	return nil
}

// scenario is what the builtins need to let a person debug on a bed.
func (d *debugFlags) scenario(ctx context.Context, bed *testbed.Bed) builtins.Debug {
	debug := builtins.Debug{Failed: func(failures []*task.Error) bool {
		err := error(failures[0])
		if errors.Is(err, run.ErrInterrupted) || result.StatusOf(err).OK() {
			return false
		}
		return d.failed(ctx, bed, result.Failure{Status: result.StatusOf(err), Message: err.Error(), Position: task.Position(err)})
	}}
	if d.keyboard.There() {
		debug.Prompt = func(ctx context.Context) (builtins.Prompt, error) { return d.keyboard.Prompt(ctx, d.mask) }
	}
	return debug
}

// failed decides, once for each bed, whether it is kept; with --pause-on-failure
// only after the person has looked.
func (d *debugFlags) failed(ctx context.Context, bed *testbed.Bed, f result.Failure) (keep bool) {
	if !d.keep && !d.pause {
		return false
	}
	d.mu.Lock()
	keep, again := d.seen[bed]
	d.seen[bed] = d.keep
	d.mu.Unlock()
	if again {
		return keep
	}
	what := fmt.Sprintf("%s %s: %s", bed.Variant(), f.Status, f.Message)
	if f.Position != "" {
		what = fmt.Sprintf("%s %s: %s: %s", bed.Variant(), f.Status, f.Position, f.Message)
	}
	what = printable.Line(d.mask(what))
	text := d.waysIn(context.WithoutCancel(ctx), bed)
	if d.keep {
		d.mu.Lock()
		d.kept = append(d.kept, "kept: "+what+"\n"+text)
		d.mu.Unlock()
	}
	if d.pause {
		resume := bed.Pause()
		if release, err := d.keyboard.Take(ctx, os.Stderr); err == nil {
			fmt.Fprintf(os.Stderr, "paused: %s\n%sEnter goes on and cleans up\n", what, text)
			_ = d.keyboard.Enter(ctx) // Ctrl-C and the end of input go on too
			release()
		}
		resume()
		if !d.keep {
			bed.Log().Info("clean up", "step", "clean_up") // the scenario's own comes first
		}
	}
	return d.keep
}

// stays says whether something was kept.
func (d *debugFlags) stays() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kept) > 0
}

// openLab opens the lab to run on. With --keep one that is made for this run is in
// a process of its own, so that it can outlive the run. Who is the run, for people.
func (e *execution) openLab(ctx context.Context, who string, log *slog.Logger) (*usedLab, error) {
	if !e.debug.keep {
		return e.lab.open(ctx, who, log)
	}
	if up, err := lab.Find(); err == nil && up != nil {
		if e.lab.asksForOwn() {
			return nil, exit.Usage.Wrap(errors.New("--keep with --lab or --lab-hosts: a lab is up already, and there can be only one that stays: mhmig lab down first, or leave them out"))
		}
		return use(ctx, up, who, log)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	made, err := lab.Up(ctx, e.lab.options(), []string{self, "lab", "serve"})
	if err != nil {
		return nil, exit.Hosts.Wrap(fmt.Errorf("--keep needs hosts that stay (mhmig lab up first, or --hosts): %w", err))
	}
	down := func() error { return lab.Down(context.WithoutCancel(ctx), false) }
	release, err := made.Use(ctx, who)
	if err != nil {
		return nil, errors.Join(exit.Hosts.Wrap(err), down())
	}
	return &usedLab{state: made, kept: true, close: func() error {
		release()
		if e.debug.stays() {
			return nil
		}
		return down()
	}}, nil
}

// tell says, at the run's end, what was kept and how to get in.
func (d *debugFlags) tell(w io.Writer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, text := range d.kept {
		fmt.Fprint(w, text)
	}
	if len(d.kept) > 0 {
		fmt.Fprintf(w, "to end it: mhmig cleanup %s\n", shellescape.Quote(d.folder))
	}
}

// askTimeout is for asking a VM where its guest is reached.
const askTimeout = 5 * time.Second

// waysIn are the command lines by which a person gets at a bed.
func (d *debugFlags) waysIn(ctx context.Context, bed *testbed.Bed) string {
	var b strings.Builder
	line := func(command, about string) { fmt.Fprintf(&b, "  %s   # %s\n", command, about) }
	for _, h := range bed.Hosts() {
		line(shellescape.QuoteCommand(h.Config().SSH()), h.Name()+", folder "+h.RunDir())
	}
	for _, m := range bed.Machines() {
		target := shellescape.QuoteCommand([]string{m.Name(), "--run", d.folder, "--host", m.Host.Name(), "--variant", bed.Variant()})
		line("mhmig console "+target, m.String())
		line("mhmig qmp "+target, m.String())
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		address, err := m.ShellAddress(ctx)
		cancel()
		if err == nil {
			user := m.Params().Get("username", "root")
			line(shellescape.QuoteCommand(m.Host.Config().SSHThrough(address, user)), "the guest of "+m.String())
		}
	}
	return b.String()
}
