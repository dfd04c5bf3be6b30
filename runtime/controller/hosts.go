// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// reach connects to all hosts at the same time: those of the request, else those of a
// lab, which it returns too. It records how they are reached in the results folder.
func (r *controller) reach(ctx context.Context, folder string, log *slog.Logger) (_ []*host.Host, of *usedLab, closeAll func() error, err error) {
	first := r.plan.first
	var configs []host.Config
	var record hostsfile.Record
	closeLab := func() error { return nil }
	if len(r.Hosts) > 0 {
		if configs, err = r.resolveHosts(ctx, first.Params); err != nil {
			return nil, nil, nil, err
		}
	} else {
		used, err := r.openLab(ctx, folder, log)
		if err != nil {
			return nil, nil, nil, err
		}
		of = used
		configs, closeLab = used.state.Configs(), used.close
		record.Lab = hostsfile.NewLab(used.state)
		record.Lab.Own, record.Lab.Kept = used.own, used.kept
	}
	if r.endVMs = record.EndsWithRun() && keepsVMs(first.Params); r.endVMs {
		log.Warn("VMs cannot be kept running on a lab that ends with the run; mhmig lab up starts one that stays")
	}
	record.Hosts = configs
	if record.Lab == nil {
		record.StateDirs = stateDirs(first.Params, len(configs))
	}
	if err := record.Save(folder); err != nil {
		return nil, nil, nil, errors.Join(exit.Usage.Wrap(err), closeLab())
	}
	hosts := make([]*host.Host, len(configs))
	closeAll = func() error {
		var errs []error
		for _, h := range hosts {
			if h != nil {
				errs = append(errs, h.Close())
			}
		}
		return errors.Join(append(errs, closeLab())...)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	errs := make([]error, len(configs)) // of each host: all are reported at once
	for i, c := range configs {
		group.Go(func() error {
			hosts[i], errs[i] = host.Dial(groupCtx, c, log)
			return nil
		})
	}
	_ = group.Wait()
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, nil, errors.Join(exit.Hosts.Wrap(err), closeAll())
	}
	return hosts, of, closeAll, nil
}

// resolveHosts returns how the request's hosts are reached.
func (q *Request) resolveHosts(ctx context.Context, params cartesian.Params) (configs []host.Config, err error) {
	for i, name := range q.Hosts {
		c, err := host.Resolve(ctx, name, params, i+1)
		if err != nil {
			return nil, exit.Hosts.Wrap(err)
		}
		configs = append(configs, c)
	}
	return configs, nil
}

// keepsVMs says whether the params may keep VMs after the scenario.
func keepsVMs(p cartesian.Params) bool {
	for _, key := range []string{"kill_vm", "kill_vm_on_error"} {
		if kill, err := p.Bool(key, true); err == nil && !kill {
			return true
		}
	}
	return false
}

// stateDirs are the param state_dir of the first hosts of a run, as a variant has it.
func stateDirs(p cartesian.Params, hosts int) []string {
	dirs := make([]string, hosts)
	for i := range dirs {
		dirs[i] = api.Read(p.Object(fmt.Sprintf("host%d", i+1))).Word("state_dir")
	}
	return dirs
}

// states says where the hosts keep saved states of guests: those of a lab in mhmig's
// cache.
func (l *usedLab) states() *testbed.States {
	if l == nil {
		return &testbed.States{}
	}
	if l.state.States == "" { // a lab that an older mhmig has made
		return nil
	}
	return &testbed.States{Dir: l.state.States}
}

// params are those that the lab sets.
func (l *usedLab) params() map[string]string {
	if l == nil {
		return nil
	}
	return l.state.Params()
}

// labParams are the params that a lab sets, except those that the request sets. On a lab
// that ends with the run, VMs are not kept.
func (r *controller) labParams(all map[string]string) cartesian.Params {
	params := r.unsetParams(all)
	if r.endVMs {
		params["kill_vm"], params["kill_vm_on_error"] = "yes", "yes"
	}
	return params
}

// unsetParams are those of a lab's params that the request does not set.
func (q *Request) unsetParams(all map[string]string) cartesian.Params {
	params := cartesian.Params{}
	for key, value := range all {
		if !q.sets(key) {
			params[key] = value
		}
	}
	return params
}

// sets says whether one of the request's assignments sets this key.
func (q *Request) sets(key string) bool {
	return slices.ContainsFunc(q.Extras, func(e cartesian.Extra) bool { return e.Param && cartesian.ParamKey(e.Text) == key })
}
