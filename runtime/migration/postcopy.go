// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
)

const postcopyRAM = "postcopy-ram"

// postcopy is the feature of mig_postcopy: the migration can be switched to post-copy.
type postcopy struct{ enabled bool }

func newPostcopy(o options, _ Traits) Feature { return postcopy{o.postcopy} }

func (f postcopy) Capabilities(Role) []string {
	if f.enabled {
		return []string{postcopyRAM}
	}
	return nil
}

func (postcopy) Parameters(Role) []string                { return nil }
func (postcopy) Set(context.Context, Role, Peer) error   { return nil }
func (postcopy) Reset(context.Context, Role, Peer) error { return nil }

// StartPostcopy switches the migration of every VM to post-copy: migrate-start-postcopy
// on the source, while the VMs move. Wait tells when they are in it.
func (m *Migration) StartPostcopy(ctx context.Context) error {
	if !m.options.postcopy {
		return errors.New("start_postcopy: the migration was started without: use migrate(postcopy=True), or the param mig_postcopy")
	}
	for _, mv := range m.moves {
		m.mu.Lock()
		src, state := mv.source, mv.state
		m.mu.Unlock()
		if src == nil || !state.Begun() || state.Terminal() {
			return fmt.Errorf("start_postcopy: %s does not move now, its status is %s: wait for the status active first", mv.vm, state)
		}
		if err := src.Monitor().Execute(ctx, "migrate-start-postcopy", nil, nil); err != nil {
			return blame(ctx, mv, src, SourceRole, err)
		}
	}
	return nil
}
