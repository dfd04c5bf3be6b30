// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

// The time that a person looked at a variant is not the variant's.
func TestPaused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := create(t, result.Run{})
		v := start(t, f, "test", nil)
		time.Sleep(10 * time.Second)
		v.Paused(3 * time.Second)
		v.Paused(time.Second)
		if took := v.Took(); took != 6*time.Second {
			t.Errorf("Took: got %v, want 6s", took)
		}
		if err := v.Finish(result.Outcome{Failure: result.Failure{Status: result.Fail}}); err != nil {
			t.Fatal(err)
		}
		var o result.Outcome
		if err := json.Unmarshal([]byte(read(t, v.Dir(), result.OutcomeFile)), &o); err != nil || o.Seconds != 6 {
			t.Errorf("outcome's seconds: got %v, %v, want 6", o.Seconds, err)
		}
		if err := f.Finish(result.Fail); err != nil {
			t.Error(err)
		}
	})
}
