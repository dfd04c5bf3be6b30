// SPDX-License-Identifier: Apache-2.0

package testbed_test

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// The presence after QEMU's events, in order, including late, repeated and unknown
// ones.
func TestPresence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, from, events, want string
	}{
		{"precopy, source", "leaving", "setup active STOP device completed", "gone"},
		{"precopy, destination", "awaited", "setup active RESUME completed", "here"},
		{"precopy, destination, before the end", "awaited", "setup active RESUME", "arriving"},
		{"the guest arrives stopped", "awaited", "setup active completed", "here"},
		{"the destination sends RESUME twice", "awaited", "RESUME RESUME completed", "here"},
		{"the destination never gets it", "awaited", "setup active failed", "awaited"},
		{"a destination is asked for a stop", "awaited", "STOP", "awaited"},
		{"cancelled", "leaving", "setup active cancelling cancelled", "here"},
		{"cancelled in pre-switchover", "leaving", "STOP pre-switchover cancelling RESUME cancelled", "here"},
		{"failed", "leaving", "setup failed", "here"},
		{"failing", "leaving", "active failing", "leaving"},
		{"failed after failing", "leaving", "active failing failed", "here"},
		{"by the scenario's own migrate", "here", "setup active STOP completed", "gone"},
		{"completed twice", "leaving", "completed completed", "gone"},
		{"a failure that comes late", "leaving", "completed failed", "gone"},
		{"stopped again where it has left", "leaving", "completed STOP", "gone"},
		{"runs where it has left", "leaving", "completed RESUME", "split-brain"},
		{"and is stopped there", "leaving", "completed RESUME STOP", "split-brain"},
		{"post-copy, source", "leaving", "active postcopy-active STOP", "in post-copy"},
		{"post-copy, source, over", "leaving", "active postcopy-active STOP completed", "gone"},
		{"post-copy, destination", "awaited", "active postcopy-active RESUME postcopy-paused postcopy-recover postcopy-active", "arriving"},
		{"post-copy, destination, over", "awaited", "postcopy-active RESUME completed", "here"},
		{"post-copy without postcopy-active", "leaving", "device postcopy-device completed", "gone"},
		{"post-copy that fails to begin", "leaving", "postcopy-active failed RESUME", "here"},
		{"post-copy that is cancelled", "leaving", "postcopy-active cancelled", "in post-copy"},
		{"post-copy that runs on the source again", "leaving", "postcopy-active STOP RESUME", "split-brain"},
		{"post-copy in recovery", "leaving", "postcopy-active postcopy-paused postcopy-recover-setup postcopy-recover", "in post-copy"},
		{"device state may come back", "leaving", "postcopy-device failing failed", "here"},
		{"a status of the future", "leaving", "active warp-drive", "leaving"},
		{"a status of the future at the destination", "awaited", "warp-drive", "awaited"},
		{"another event", "here", "RESET POWERDOWN STOP RESUME", "here"},
		{"the rest of QEMU's enum", "leaving", "none wait-unplug colo pre-switchover", "leaving"},
		{"a second move after the first", "awaited", "setup active RESUME completed setup active", "leaving"},
		{"the destination tells of the end twice", "awaited", "RESUME completed completed", "here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var events []qmp.Event
			for word := range strings.FieldsSeq(tt.events) {
				e := qmp.Event{Name: word}
				if strings.ToUpper(word) != word {
					e = qmp.Event{Name: "MIGRATION", Data: map[string]any{"status": word}}
				}
				events = append(events, e)
			}
			if got := testbed.Presence(tt.from, events); got != tt.want {
				t.Errorf("%s, then %s: got %s, want %s", tt.from, tt.events, got, tt.want)
			}
		})
	}
}
