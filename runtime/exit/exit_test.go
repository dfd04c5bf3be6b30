// SPDX-License-Identifier: Apache-2.0

package exit_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/mhmig/mhmig/runtime/exit"
)

type interruption struct{}

func (interruption) Error() string       { return "interrupted" }
func (interruption) ExitCode() exit.Code { return exit.Interrupted }

func TestOf(t *testing.T) {
	t.Parallel()
	plain := errors.New("what nobody expects")
	full := &fs.PathError{Op: "write", Path: "events.jsonl", Err: syscall.ENOSPC}
	missing := &fs.PathError{Op: "open", Path: "my.cfg", Err: syscall.ENOENT}
	for _, c := range []struct {
		name string
		err  error
		want exit.Code
	}{
		{"nothing", nil, exit.OK},
		{"nothing wrapped", exit.Usage.Wrap(nil), exit.OK},
		{"an unknown error", plain, exit.Internal},
		{"an unknown error with words around it", fmt.Errorf("open the ledger: %w", plain), exit.Internal},
		{"a judged one", fmt.Errorf("exec: %w", exit.Hosts.Wrap(plain)), exit.Hosts},
		{"the first of two", errors.Join(exit.Failed.Wrap(plain), exit.Hosts.Wrap(plain)), exit.Failed},
		{"an unknown one before a judged one", errors.Join(plain, exit.Hosts.Wrap(plain)), exit.Hosts},
		{"the outermost", exit.Failed.Wrap(exit.Hosts.Wrap(plain)), exit.Failed},
		{"an interruption", interruption{}, exit.Interrupted},
		{"an interruption after another", errors.Join(exit.Hosts.Wrap(plain), interruption{}), exit.Interrupted},
		{"an interruption inside", exit.Hosts.Wrap(fmt.Errorf("dial: %w", interruption{})), exit.Interrupted},
		{"a missing file that the user names", exit.Usage.Wrap(missing), exit.Usage},
		{"a full disk", full, exit.Hosts},
		{"a full disk where usage was meant", exit.Usage.Wrap(fmt.Errorf("results: %w", full)), exit.Hosts},
		{"a full disk that is a failure", exit.Failed.Wrap(full), exit.Failed},
		{"all is said", &exit.Error{Code: exit.Failed}, exit.Failed},
	} {
		if got := exit.Of(c.err); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
