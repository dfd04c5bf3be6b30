// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// debugging has the state of --keep and pauses on failures.
type debugging struct {
	keep  bool
	pause func(ctx context.Context, text string) // may be nil

	folder string              // the run's results
	mask   func(string) string // hides the run's passwords

	mu   sync.Mutex            // guards what follows
	seen map[*testbed.Bed]bool // failed beds; the value is whether they are kept
	kept []string              // the kept variants, and the commands to access them
}

// scenarioFailed is failed for a scenario before its cleanups.
func (d *debugging) scenarioFailed(ctx context.Context, bed *testbed.Bed, failures []*task.Error) (keep bool) {
	err := error(failures[0])
	if errors.Is(err, run.ErrInterrupted) || result.StatusOf(err).OK() {
		return false
	}
	return d.failed(ctx, bed, result.Failure{Status: result.StatusOf(err), Message: err.Error(), Position: task.Position(err)})
}

// failed decides, once for each bed, whether it is kept, and pauses if requested.
func (d *debugging) failed(ctx context.Context, bed *testbed.Bed, f result.Failure) (keep bool) {
	if !d.keep && d.pause == nil {
		return false
	}
	d.mu.Lock()
	keep, seen := d.seen[bed]
	d.seen[bed] = d.keep
	d.mu.Unlock()
	if seen {
		return keep
	}
	what := fmt.Sprintf("%s %s: %s", bed.Variant(), f.Status, f.Message)
	if f.Position != "" {
		what = fmt.Sprintf("%s %s: %s: %s", bed.Variant(), f.Status, f.Position, f.Message)
	}
	what = printable.Line(d.mask(what))
	text := d.accessCommands(context.WithoutCancel(ctx), bed)
	if d.keep {
		d.mu.Lock()
		d.kept = append(d.kept, "kept: "+what+"\n"+text)
		d.mu.Unlock()
	}
	if d.pause != nil {
		resume := bed.Pause()
		d.pause(ctx, "paused: "+what+"\n"+text)
		resume()
		if !d.keep {
			bed.Log().Info("clean up", "step", "clean_up") // the scenario's cleanups run first
		}
	}
	return d.keep
}

// hasKept says whether a variant was kept.
func (d *debugging) hasKept() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kept) > 0
}

// queryTimeout is for reading the address of a guest from QEMU.
const queryTimeout = 5 * time.Second

// accessCommands are the command lines to access the hosts, VMs and guests of a bed.
func (d *debugging) accessCommands(ctx context.Context, bed *testbed.Bed) string {
	var b strings.Builder
	line := func(command, about string) { fmt.Fprintf(&b, "  %s   # %s\n", command, about) }
	for _, h := range bed.Hosts() {
		line(shellescape.QuoteCommand(h.Config().SSH()), h.Name()+", folder "+h.RunDir())
	}
	for _, instance := range bed.Instances() {
		target := shellescape.QuoteCommand([]string{instance.Name(), "--run", d.folder, "--host", instance.Host.Name(), "--variant", bed.Variant()})
		line("mhmig console "+target, instance.String())
		line("mhmig qmp "+target, instance.String())
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		address, err := instance.ShellAddress(ctx)
		cancel()
		if err == nil {
			user := instance.Params().Get("username", "root")
			line(shellescape.QuoteCommand(instance.Host.Config().SSHThrough(address, user)), "the guest of "+instance.String())
		}
	}
	return b.String()
}
