// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/mhmig/mhmig/runtime/result"
)

// guestLost is an error that knows its own verdict.
type guestLost struct{}

func (guestLost) Error() string         { return "guest lost" }
func (guestLost) Status() result.Status { return result.Fail }

func TestStatusOf(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	tests := []struct {
		name string
		err  error
		want result.Status
	}{
		{"nil", nil, result.Pass},
		{"unjudged", plain, result.Error},
		{"fail", result.Fail.Wrap(plain), result.Fail},
		{"wrapped", fmt.Errorf("vm1: %w", result.Skip.Wrap(plain)), result.Skip},
		{"formatted", result.Cancel.Errorf("no %s: %w", "KVM", io.EOF), result.Cancel},
		{"its own", fmt.Errorf("vm1: %w", guestLost{}), result.Fail},
		{"the outer verdict rules", result.Warn.Wrap(result.Fail.Wrap(plain)), result.Warn},
		{"joined with a cleanup's error", errors.Join(result.Fail.Wrap(plain), plain), result.Fail},
		{"wrapped nil", result.Fail.Wrap(nil), result.Pass},
	}
	for _, tt := range tests {
		if got := result.StatusOf(tt.err); got != tt.want {
			t.Errorf("%s: StatusOf(%v): got %s, want %s", tt.name, tt.err, got, tt.want)
		}
	}
}

func TestVerdictKeepsItsCause(t *testing.T) {
	t.Parallel()
	for _, err := range []error{result.Fail.Wrap(guestLost{}), result.Error.Errorf("migrate: %w", guestLost{})} {
		if _, ok := errors.AsType[guestLost](err); !ok || !errors.Is(err, guestLost{}) {
			t.Errorf("%v: the cause is lost", err)
		}
	}
	if got := result.Fail.Wrap(io.EOF).Error(); got != "EOF" {
		t.Errorf("text: got %q, want EOF", got)
	}
}

func TestWorst(t *testing.T) {
	t.Parallel()
	order := []result.Status{result.Running, result.Pass, result.Skip, result.Cancel, result.Warn, result.Fail, result.Error}
	for i, better := range order {
		for _, worse := range order[i:] {
			if got := result.Worst(worse, better); got != worse {
				t.Errorf("Worst(%s, %s): got %s", worse, better, got)
			}
		}
	}
	if got := result.Worst(); got != result.Running {
		t.Errorf("Worst(): got %s", got)
	}
}

func TestStatusText(t *testing.T) {
	t.Parallel()
	ok := map[result.Status]bool{result.Pass: true, result.Skip: true, result.Cancel: true, result.Warn: true}
	for s := result.Running; s <= result.Error; s++ {
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back result.Status
		if err := json.Unmarshal(data, &back); err != nil || back != s {
			t.Errorf("%s: got %s, %v", data, back, err)
		}
		if s.OK() != ok[s] {
			t.Errorf("%s.OK(): got %v", s, s.OK())
		}
	}
	var s result.Status
	if err := json.Unmarshal([]byte(`"fail"`), &s); err == nil {
		t.Error("unknown status: got no error")
	}
}
