// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"errors"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// checkParam is the parameter of every wait by which a scenario, which cannot catch
// errors, finds out whether the wait was met.
var checkParam = Param{"check", Bool, Value(true), "whether it ends the scenario when that does not come true; with False the result says so"}

// metReturn is the result of waits for a condition.
var metReturn = Return{"bool", "True; with check=False whether the condition was met"}

// unmetError is the error of a wait that was not met: its time is over, or what it waits
// for cannot come any more. Every other error ends the scenario, whatever check says.
type unmetError struct{ error }

func (e *unmetError) Unwrap() error { return e.error }

// isUnmet says whether err is that of the wait itself. Errors inside it may be those of
// other waits, such as of a task that was joined.
func isUnmet(err error) bool {
	switch err.(type) {
	case *unmetError, *migration.EndedFirstError, *task.UnfinishedError:
		return true
	}
	return false
}

// orUnmet is the result of a wait that has a value: None if it was not met, with
// check=False.
func orUnmet(a *Args, v starlark.Value, err error) (starlark.Value, error) {
	if isUnmet(err) && !arg[bool](a, "check") {
		return starlark.None, nil
	}
	return v, err
}

// met is the result of a wait for a condition.
func met(a *Args, err error) (starlark.Value, error) {
	if isUnmet(err) && !arg[bool](a, "check") {
		return starlark.False, nil
	}
	return starlark.True, err
}

// isAlive says whether a guest's QEMU runs and answers, as far as an error of
// [testbed.Instance.Blame] knows.
func isAlive(i *testbed.Instance, blamed error) bool {
	select {
	case <-i.Exited():
		return false
	default:
		return !errors.Is(blamed, qmp.ErrSilent) && i.Host.Err() == nil
	}
}
