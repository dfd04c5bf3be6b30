// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/lab"
)

// usedLab is the lab of a run.
type usedLab struct {
	state *lab.State
	own   bool // ends with the run
	kept  bool // was started for the run, and may stay
	close func() error
}

// open returns the lab of mhmig lab up, unless another is requested; else it starts one
// for the run. who is a description of the lab's user.
func (l Lab) open(ctx context.Context, who string, log *slog.Logger) (*usedLab, error) {
	if up := l.up(); up != nil {
		return use(ctx, up, who, log)
	}
	o := l.Options
	o.Logger = log
	made, err := lab.Start(ctx, o)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, exit.Hosts.Wrap(err)
	}
	return &usedLab{state: made.State(), own: true, close: made.Close}, nil
}

// up returns the lab of mhmig lab up, nil if there is none or another is requested.
func (l Lab) up() *lab.State {
	if l.Own {
		return nil
	}
	up, err := lab.Find()
	if err != nil {
		return nil
	}
	return up
}

// use uses the lab of mhmig lab up, which is locked as in use until close.
func use(ctx context.Context, up *lab.State, who string, log *slog.Logger) (*usedLab, error) {
	release, err := up.Use(ctx, who)
	if err != nil {
		return nil, exit.Hosts.Wrap(fmt.Errorf("use the lab that is up: %w", err))
	}
	log.Info("using the lab that is up", "hosts", len(up.Hosts))
	return &usedLab{state: up, close: func() error { release(); return nil }}, nil
}

// wouldUse returns the names of the hosts of the lab that open would return, and a
// description of them, without starting a lab.
func (l Lab) wouldUse() (hosts []string, what string) {
	if up := l.up(); up != nil {
		for _, c := range up.Configs() {
			hosts = append(hosts, c.Name)
		}
		return hosts, "of the lab that is up"
	}
	for i := range l.Hosts {
		hosts = append(hosts, fmt.Sprintf("host%d", i+1))
	}
	return hosts, "of a lab made for the run"
}

// wouldSet returns the params that the lab sets for its hosts, as far as they are known
// without starting it.
func (l Lab) wouldSet() (map[string]string, error) {
	if up := l.up(); up != nil {
		return up.Params(), nil
	}
	versions, err := lab.VersionsFolder()
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	return map[string]string{"qemu_versions_dir": versions}, nil
}

// openLab opens the lab of the run. With --keep, a lab for this run is a separate
// process, so that it can outlive the run. who is a description of the run.
func (r *controller) openLab(ctx context.Context, who string, log *slog.Logger) (*usedLab, error) {
	if !r.Keep {
		return r.Lab.open(ctx, who, log)
	}
	if up, err := lab.Find(); err == nil && up != nil {
		if r.Lab.Own {
			return nil, exit.Usage.Wrap(errors.New("--keep with --lab or --lab-hosts: a lab is up already, and there can be only one that stays: mhmig lab down first, or leave them out"))
		}
		return use(ctx, up, who, log)
	}
	made, err := lab.Up(ctx, r.Lab.Options, r.Lab.Serve)
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
		if r.debug.hasKept() {
			return nil
		}
		return down()
	}}, nil
}
