// SPDX-License-Identifier: Apache-2.0

package interrupt_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/interrupt"
)

// TestWatch sends two signals, one soon or late after the other. A closed terminal and
// coreutils' timeout send two for one interrupt.
func TestWatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		later     []time.Duration // of further signals, after the first
		wantAgain time.Duration   // when it is ended at once; 0: never
	}{
		{"one", nil, 0},
		{"two within a millisecond", []time.Duration{time.Millisecond}, 0},
		{"three at once", []time.Duration{0, 0}, 0},
		{"another after 0.7 s", []time.Duration{700 * time.Millisecond}, 700 * time.Millisecond},
		{"three at once, another after 0.7 s", []time.Duration{0, 0, 700 * time.Millisecond}, 700 * time.Millisecond},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				var told strings.Builder
				var ended []time.Duration
				cause, began := errors.New("interrupted"), time.Now()
				ctx, stop := interrupt.Watch(signals, cause, &told, "cleaning up", func() { ended = append(ended, time.Since(began)) })
				defer stop()
				synctest.Wait()
				if ctx.Err() != nil {
					t.Errorf("before a signal the context has ended: %v", ctx.Err())
				}
				signals <- syscall.SIGTERM
				for _, after := range test.later {
					time.Sleep(after - time.Since(began))
					signals <- syscall.SIGTERM
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := context.Cause(ctx); !errors.Is(got, cause) {
					t.Errorf("cause of the context: got %v, want %v", got, cause)
				}
				if told.String() != "cleaning up\n" {
					t.Errorf("it says %q, want the message once", told.String())
				}
				want := test.wantAgain != 0
				if got := len(ended) == 1; got != want || want && ended[0] != test.wantAgain {
					t.Errorf("it was ended at once after %v, want after %v", ended, test.wantAgain)
				}
			})
		})
	}
}
