// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// queryName is a hook that executes a QMP command on one side, as vm.qmp does.
func queryName(role migration.Role) migration.Hook {
	return func(ctx context.Context, s *migration.Side) error {
		if s.Role != role {
			return nil
		}
		instance := s.Instance("vm1")
		return instance.BlameGone(ctx, instance.Execute(ctx, "query-name", nil, nil))
	}
}

// A QEMU whose process is stopped ends the migration within monitor_timeout or
// mig_timeout, and the verdict names it. TestScripted has this for all steps; here are
// some of them with real processes.
func TestFrozen(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	const (
		source, destination = migration.SourceRole, migration.DestinationRole
		exchange            = 3 * time.Second // not less: a loaded machine is slow
		overdue             = 4 * time.Second
		enough              = 45 * time.Second // for all until a timeout
	)
	var running errgroup.Group // test cases mostly wait: run more of them than there are CPUs
	running.SetLimit(12)
	defer func() { _ = running.Wait() }()
	for _, tt := range []struct {
		step    string
		side    migration.Role
		stopAt  string
		change  func(*migration.Plan)
		status  result.Status
		where   string // how the error begins
		late    bool   // mig_timeout ends it
		endless bool   // the script's migration does not complete
	}{
		{
			step: "start_work", side: source, stopAt: "query-name", status: result.Error, where: "migration 1, source host1, start_work: ",
			change: func(p *migration.Plan) { p.StartWork = queryName(source) },
		},
		{step: "migrate", side: source, stopAt: "migrate", status: result.Fail},
		{step: "migrating", side: destination, stopAt: "MIGRATION:active", status: result.Fail, late: true, endless: true},
		{step: "switchover", side: source, stopAt: "STOP", status: result.Fail, late: true},
		{step: "switchover", side: destination, stopAt: "load", status: result.Fail, late: true},
		{step: "memory_proof", side: source, stopAt: "pmemsave", status: result.Fail, change: func(p *migration.Plan) { p.Params["memory_proof"] = "yes" }},
		{step: "memory_proof", side: destination, stopAt: "pmemsave", status: result.Fail, change: func(p *migration.Plan) { p.Params["memory_proof"] = "yes" }},
		{step: "resume", side: destination, stopAt: "RESUME", status: result.Fail},
		{
			step: "login", side: destination, stopAt: "human-monitor-command", status: result.Fail,
			change: func(p *migration.Plan) { p.Params["not_login_after_mig"] = "no" },
		},
		{
			step: "check_work", side: destination, stopAt: "query-name", status: result.Fail, where: "migration 1, destination host2, check_work: ",
			change: func(p *migration.Plan) { p.CheckWork = queryName(destination) },
		},
		{
			step: "cancel", side: source, stopAt: "migrate_cancel", status: result.Fail, endless: true,
			change: func(p *migration.Plan) { p.Params["cancel_delay"] = "0.1" },
		},
		{step: "end", side: source, stopAt: "quit", status: result.Pass},
	} {
		run := func(t *testing.T) {
			scripts := map[migration.Role]qmptest.Script{source: {Endless: tt.endless}}
			script := scripts[tt.side]
			script.StopAt = tt.stopAt
			scripts[tt.side] = script
			params := bedtest.Scripted(t, scripts[source], scripts[destination])
			params["monitor_timeout"], params["mig_timeout"] = exchange.String(), "60"
			params["nics"] = "nic1"
			if tt.late {
				params["mig_timeout"] = overdue.String()
			}
			bed := prepared(t, params)
			p := plan(bed)
			if tt.change != nil {
				tt.change(&p)
			}
			m, err := migration.New(bed.Bed, 1, p)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			began := time.Now()
			err = runBoth(ctx, m)
			took := time.Since(began)
			if ctx.Err() != nil {
				t.Fatalf("it does not end: %v", err)
			}
			if tt.status == result.Pass {
				if err != nil {
					t.Errorf("got %v, want success", err)
				}
				return
			}
			name, where := "vm1@host1", "migration 1 of vm1: the source failed first (host1): "
			if tt.side == destination {
				name, where = "vm1@host2", "migration 1 of vm1: the destination failed first (host2): "
			}
			if tt.where != "" {
				where = tt.where
			}
			if err == nil || result.StatusOf(err) != tt.status || !strings.HasPrefix(err.Error(), where) ||
				!strings.Contains(err.Error(), name+": QEMU does not answer its monitor") {
				t.Errorf("got %v: %v\nwant %v: %s… %s: QEMU does not answer its monitor", result.StatusOf(err), err, tt.status, where, name)
			}
			if err == nil {
				return
			}
			if late := strings.Contains(err.Error(), "mig_timeout"); late != tt.late {
				t.Errorf("got %v, want mig_timeout in it: %t", err, tt.late)
			}
			if tt.late && took < overdue {
				t.Errorf("it took %v, want mig_timeout at least", took)
			}
		}
		running.Go(func() error {
			t.Run(tt.step+" "+string(tt.side), run)
			return nil
		})
	}
}
