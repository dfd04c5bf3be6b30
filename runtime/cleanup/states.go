// SPDX-License-Identifier: Apache-2.0

package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/gueststate"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/lab"
)

// states removes the saved states of guests: those of labs, in mhmig's cache, and those
// on the hosts of runs. It reports whether there were any.
func (c *Cleanup) states(ctx context.Context, runs []string) (found bool, err error) {
	var errs []error
	remove := func(h gueststate.Host, dir string) {
		states, err := gueststate.Store{Host: h, Dir: dir}.Remove(ctx)
		errs = append(errs, err)
		for _, s := range states {
			found = true
			fmt.Fprintf(c.Out, "removed from %s: the saved state %s of a guest, %.1f MiB, last used %s\n",
				h.Name(), s.Key, float64(s.Bytes)/(1<<20), s.Used.Format(time.DateTime))
		}
	}
	dir, err := lab.StatesFolder()
	errs = append(errs, err)
	if err == nil {
		remove(thisMachine{}, dir)
	}
	done := map[string]bool{} // hosts of several runs
	for _, run := range runs {
		how, err := hostsfile.Load(run)
		if err != nil || how.Lab != nil { // what is wrong with the run is reported with the run
			continue
		}
		for i, config := range how.Hosts {
			id := fmt.Sprintf("%s@%s:%d", config.User, config.Address, config.Port)
			if i >= len(how.StateDirs) || done[id+how.StateDirs[i]] {
				continue
			}
			done[id+how.StateDirs[i]] = true
			errs = append(errs, c.statesOf(ctx, config, how.StateDirs[i], remove))
		}
	}
	return found, errors.Join(errs...)
}

// statesOf removes the states of one host of a run.
func (c *Cleanup) statesOf(ctx context.Context, config host.Config, stateDir string, remove func(gueststate.Host, string)) error {
	config.Password = c.Password
	h, err := host.Dial(ctx, config, c.Log)
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	facts, err := h.Facts(ctx)
	if err != nil {
		return err
	}
	remove(h, gueststate.Dir(stateDir, facts.User))
	return nil
}

// thisMachine is where labs keep their states.
type thisMachine struct{ lab.Local }

func (thisMachine) Name() string { return "this machine" }
