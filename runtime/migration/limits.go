// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"time"
)

// limits is the feature of mig_speed and mig_downtime. QEMU keeps them for all later
// migrations of a source.
type limits struct {
	speed    int64         // bytes per second, 0: QEMU's own
	downtime time.Duration // 0: QEMU's own

	before limitParameters // the source's parameters before this migration
}

type limitParameters struct {
	Bandwidth int64 `json:"max-bandwidth"`  // bytes per second
	Downtime  int64 `json:"downtime-limit"` // milliseconds
}

func (p limitParameters) downtime() time.Duration {
	return time.Duration(p.Downtime) * time.Millisecond
}

func (l *limits) Capabilities(Role) []string { return nil }

func (l *limits) Parameters(role Role) []string {
	var names []string
	if role == SourceRole && l.speed > 0 {
		names = append(names, "max-bandwidth")
	}
	if role == SourceRole && l.downtime > 0 {
		names = append(names, "downtime-limit")
	}
	return names
}

func (l *limits) Set(ctx context.Context, role Role, p Peer) error {
	if role != SourceRole {
		return nil
	}
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &l.before); err != nil {
		return err
	}
	wanted := l.before
	if l.speed > 0 {
		wanted.Bandwidth = l.speed
	}
	if l.downtime > 0 {
		wanted.Downtime = l.downtime.Milliseconds()
	}
	if wanted == l.before {
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", wanted, nil)
}

// Reset also reverts changes by SetSpeed and SetDowntime.
func (l *limits) Reset(ctx context.Context, role Role, p Peer) error {
	if role != SourceRole || l.before == (limitParameters{}) { // it was cancelled before Set
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", l.before, nil)
}
