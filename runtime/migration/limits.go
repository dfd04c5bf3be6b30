// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"time"
)

// limits is the feature of mig_speed and mig_downtime. QEMU keeps them for all
// migrations of a source to come.
type limits struct {
	speed    int64         // bytes per second, 0: QEMU's own
	downtime time.Duration // 0: QEMU's own

	found, asked limitParameters // the source's before this migration, and for it
}

type limitParameters struct {
	Bandwidth int64 `json:"max-bandwidth"`  // bytes per second
	Downtime  int64 `json:"downtime-limit"` // milliseconds
}

func (l *limits) Capabilities() []string { return nil }

func (l *limits) Set(ctx context.Context, role Role, p Peer) error {
	if role != SourceRole {
		return nil
	}
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &l.found); err != nil {
		return err
	}
	l.asked = l.found
	if l.speed > 0 {
		l.asked.Bandwidth = l.speed
	}
	if l.downtime > 0 {
		l.asked.Downtime = l.downtime.Milliseconds()
	}
	if l.asked == l.found {
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", l.asked, nil)
}

// Reset also takes back what SetSpeed and SetDowntime have changed meanwhile.
func (l *limits) Reset(ctx context.Context, source Peer) error {
	if l.found == (limitParameters{}) { // it was cancelled before
		return nil
	}
	return source.Execute(ctx, "migrate-set-parameters", l.found, nil)
}
