// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// reclaimTimeout limits the second attempt to clean up a lost host.
const reclaimTimeout = 60 * time.Second

// lost returns the error of the first of the lease's hosts whose connection is lost, nil
// if there is none.
func lost(l Lease) error {
	for _, h := range l.Hosts() {
		if err := h.Host.Err(); err != nil {
			return err
		}
	}
	return nil
}

// reclaim reconnects to lost hosts and removes what the ledger has of the owner there. It
// also runs after ctx has ended, within its own limit.
func (r *runner) reclaim(ctx context.Context, owns func(ledger.Entry) bool) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), reclaimTimeout, fmt.Errorf("not done after %v", reclaimTimeout))
	defer cancel()
	var opened []*host.Host
	defer func() {
		for _, h := range opened {
			_ = h.Close() // the commands on it have ended
		}
	}()
	return r.Ledger.Undo(ctx, owns, func(ctx context.Context, name string) (ledger.Host, error) {
		for _, h := range r.Pool.Hosts() {
			switch {
			case h.Name() != name:
				continue
			case h.Err() == nil:
				return h, nil
			}
			reconnected, err := host.Dial(ctx, h.Config(), r.Log)
			if err != nil {
				return nil, err
			}
			opened = append(opened, reconnected)
			return reconnected, nil
		}
		return nil, fmt.Errorf("no host %s in this run", name)
	}, func(e ledger.Entry, was []string) {
		r.Log.Info("undone", "host", e.Host, "kind", string(e.Kind), "path", e.Path, "was", strings.Join(was, "; "))
	})
}

// closeShared removes the files on the hosts that all variants share.
func (r *runner) closeShared(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), reclaimTimeout, fmt.Errorf("not done after %v", reclaimTimeout))
	defer cancel()
	err := r.shared.Close(ctx)
	if err != nil && r.lost() != nil {
		err = r.reclaim(ctx, r.shared.Owns)
	}
	if err != nil {
		return fmt.Errorf("remove shared files: %w; mhmig cleanup %s tries again", err, r.Results.Dir())
	}
	return nil
}
