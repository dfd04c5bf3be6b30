// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/fake"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

// test is a test that runs, on the goroutine of its Starlark thread. While run waits, that
// is the fake world's: the functions that answer commands run on others, one at a time.
type test struct {
	*suite
	testCase
	thread *starlark.Thread

	faults   []*declared
	settings map[string]*fake.Guest
	answers  map[string][]fake.Answer
	replies  map[string][]*fake.Reply
	recorded map[string][][]qmptest.Moment
	files    map[string]map[string]string
	named    []mention     // of VMs and hosts
	turn     chan struct{} // held by who runs Starlark, see begin
	end      func()        // of the turn, of who holds it

	mu    sync.Mutex // guards what follows
	wrong error      // of a function that answers a command

	output []string
	runs   []RunSummary
	last   string // the last run, if it did not pass
	err    error
}

// declared is a fault, and where the test has it.
type declared struct {
	*fake.Fault
	at string
}

// mention is a name of a VM or host, and where the test has it.
type mention struct {
	kind, name, at string
}

const localKey = "mhmig.test"

// testOf returns the test that a thread runs, nil while a file is loaded.
func testOf(thread *starlark.Thread) *test {
	t, _ := thread.Local(localKey).(*test)
	return t
}

// run calls the test function.
func (t *test) run() {
	t.settings, t.answers = map[string]*fake.Guest{}, map[string][]fake.Answer{}
	t.replies, t.files = map[string][]*fake.Reply{}, map[string]map[string]string{}
	t.recorded = map[string][][]qmptest.Moment{}
	t.turn = make(chan struct{}, 1)
	var args starlark.Tuple
	if t.fn.NumParams() == 1 {
		args = starlark.Tuple{t.value()}
	}
	t.begin(t.thread)
	_, t.err = starlark.Call(t.thread, t.fn, args, nil)
	t.end()
	if unused := t.unused(); t.err == nil && unused != nil {
		t.err = unused
	}
}

func (t *test) newThread(name string) *starlark.Thread {
	thread := &starlark.Thread{Name: name, Print: func(_ *starlark.Thread, message string) { t.output = append(t.output, message) }}
	thread.SetLocal(localKey, t)
	if limit := t.Limits.Steps; limit > 0 {
		thread.SetMaxExecutionSteps(limit)
		thread.OnMaxSteps = func(thread *starlark.Thread) {
			thread.Cancel(fmt.Sprintf("it took more than %d Starlark steps", limit))
		}
	}
	return thread
}

// unused is an error where a test says what goes wrong, and runs nothing.
func (t *test) unused() error {
	if len(t.runs) > 0 || len(t.faults) == 0 {
		return nil
	}
	return &positioned{t.faults[0].at, fmt.Errorf("%s: the test runs no scenario: call run", t.faults[0])}
}

// begin begins a turn of a thread, which is stopped if too much memory is in use until t.end.
func (t *test) begin(thread *starlark.Thread) {
	t.turn <- struct{}{}
	watched := t.Limits.WatchMemory(func() bool { return true }, func(err *star.LimitError) { thread.Cancel(err.Error()) })
	t.end = func() {
		watched()
		<-t.turn
	}
}

// wait runs f while others may run Starlark of the test.
func (t *test) wait(thread *starlark.Thread, f func()) {
	t.end()
	defer t.begin(thread)
	f()
}

// call calls a function of the test on the goroutine of a fake guest or host.
func (t *test) call(fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	thread := t.newThread(fn.Name())
	t.begin(thread)
	defer func() { t.end() }()
	return starlark.Call(thread, fn, args, nil)
}

// wrongAnswer records the first error of a function that answers commands.
func (t *test) wrongAnswer(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wrong == nil {
		t.wrong = err
	}
}

func (t *test) answerError() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wrong
}

// position is where the builtin that runs was called.
func position(thread *starlark.Thread) string {
	if thread.CallStackDepth() < 2 {
		return ""
	}
	return thread.CallFrame(1).Pos.String()
}

// lifetime is the context of a run: it ends with the test.
func lifetime(virtual time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), virtual, fmt.Errorf("the run took longer than its timeout, %v", virtual)) // the bubble's, not that of the command
}
