// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"testing"
	"time"
)

// A guest's clock that is this machine's differs by no more than the uncertainty.
func TestClock(t *testing.T) {
	t.Parallel()
	forEachShell(t, func(t *testing.T, g *fakeGuest, transport string) {
		s := open(t, g, transport)
		read, err := s.Clock(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		const resolution = time.Microsecond
		if off := read.Guest.Sub(read.Host).Abs(); off > read.Uncertainty+resolution || read.Uncertainty <= 0 {
			t.Errorf("got %+v: it is off by %v", read, off)
		}
		if age := time.Since(read.Host); age < 0 || age > time.Minute {
			t.Errorf("got %v, which is %v ago", read.Host, age)
		}
	})
}
