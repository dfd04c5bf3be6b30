// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// countedHost is a host whose kernel's tables have these numbers of connections, one
// after the other, and then the last of them.
type countedHost struct {
	testbed.Remote

	takes time.Duration // each count

	mu      sync.Mutex
	numbers []int // -1: the tables cannot be read
}

func (h *countedHost) Run(ctx context.Context, c host.Command) (host.Output, error) {
	if !strings.Contains(c.Script, " /proc/net/") {
		return h.Remote.Run(ctx, c)
	}
	h.mu.Lock()
	n := h.numbers[0]
	h.numbers = h.numbers[min(1, len(h.numbers)-1):]
	h.mu.Unlock()
	select {
	case <-time.After(h.takes):
	case <-ctx.Done():
		return host.Output{}, context.Cause(ctx)
	}
	if n < 0 {
		return host.Output{}, errors.New("no /proc")
	}
	return host.Output{Stdout: fmt.Appendln(nil, n)}, nil
}

// A move has too few connections only if that is sure.
func TestConnections(t *testing.T) {
	t.Parallel()
	const tooFew = "multifd was on with 2 channels, but there were %d connections to the destination, not 3"
	multifd := cartesian.Params{"mig_multifd": "yes"}
	overUnix := cartesian.Params{"mig_multifd": "yes", "mig_protocol": "unix"}
	preempt := cartesian.Params{"mig_postcopy": "yes", "mig_postcopy_preempt": "yes"}
	const mib = 1 << 20
	// A guest whose memory takes 4 s.
	guest := qmptest.Script{Load: func() qmptest.Load { return qmptest.Load{RAM: 256 * mib, Used: 128 * mib} }}
	short := qmptest.Script{}
	toPostcopy := func(ctx context.Context, m *migration.Migration) error {
		return errors.Join(m.Wait(ctx, migration.Condition{Status: "active"}), m.StartPostcopy(ctx))
	}
	for _, tt := range []struct {
		testCase
		takes   time.Duration
		numbers []int
	}{
		{testCase{name: "all", source: guest, params: multifd, log: "there were 3 connections"}, 0, []int{3}},
		{testCase{name: "one too few", source: guest, params: multifd, fails: true, status: result.Fail, want: []string{srcFailed, fmt.Sprintf(tooFew, 2)}}, 0, []int{2}},
		{testCase{name: "one too few over a unix socket", source: guest, params: overUnix, fails: true, status: result.Fail, want: []string{srcFailed, fmt.Sprintf(tooFew, 2)}}, 0, []int{2}},
		{testCase{name: "a line is left out", source: guest, params: multifd, log: "there were 3 connections"}, 0, []int{2, 3}},
		{testCase{name: "counted when the destination closes them", source: short, params: multifd}, 10 * time.Millisecond, []int{1}},
		{testCase{name: "not counted before the end", source: guest, params: multifd}, time.Minute, []int{1}},
		{testCase{name: "tables that cannot be read", source: guest, params: multifd}, 0, []int{-1}},
		{testCase{name: "tables without the connections", source: guest, params: multifd}, 0, []int{0}},
		{testCase{name: "preempt", source: guest, params: preempt, concurrent: toPostcopy, log: "there were 2 connections"}, 0, []int{2}},
		{testCase{name: "preempt without a channel of its own", source: guest, params: preempt, concurrent: toPostcopy, fails: true, status: result.Fail, want: []string{srcFailed, "postcopy-preempt was on, but there was one connection to the destination, not two"}}, 0, []int{1}},
	} {
		tt.change = func(p *migration.Plan) {
			p.Destination.Remote = &countedHost{Remote: p.Destination.Remote, takes: tt.takes, numbers: tt.numbers}
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
}
