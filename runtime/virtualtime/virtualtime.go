// SPDX-License-Identifier: Apache-2.0

// Package virtualtime runs functions in virtual time: package time's clock stands still
// while any of their goroutines can run, and jumps to the next timer when all of them
// wait. Hours of waiting pass at once, and in the same order every time.
//
//	err := virtualtime.Run(ctx, 30*time.Second, func() { time.Sleep(time.Hour) })
//
// It is the bubble of package testing/synctest, in a program that is no test. What that
// package says about bubbles holds here: only waits for channels, timers, conditions and
// wait groups that were made in the bubble let the time pass, not those for mutexes,
// files and the network.
package virtualtime

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// StuckError says that a function did not end. Its goroutines were abandoned.
type StuckError struct {
	Limit time.Duration // of real time that has passed
	Stack string        // of the goroutines in bubbles, shortened
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("it did not end within %v of real time: it computes without end, or waits for something that virtual time does not end", e.Limit)
}

// PanicError is a panic of a function, with its stack.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// DeadlockError says that all goroutines of a function waited for each other, or that
// some still waited when it had returned.
type DeadlockError struct{ Reason string }

func (e *DeadlockError) Error() string { return e.Reason }

// Run calls f on a goroutine in a bubble of its own, and returns when it and all
// goroutines that it has started have ended; several may run at the same time. limit is
// how much real time that may take: after it, or when ctx ends, Run abandons them and
// returns a *StuckError, or ctx's cause. A panic of f is a *PanicError; one of another
// goroutine ends the program, as always.
//
// Nothing that belongs to a bubble, such as a channel that was made in it, can be used
// outside of it: f must pass results in variables.
func Run(ctx context.Context, limit time.Duration, f func()) error {
	ended := make(chan error, 1)
	go func() { ended <- bubble(f) }() // ends with f, or is abandoned
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return &StuckError{Limit: limit, Stack: bubbles()}
	}
}

// bubble runs f in a bubble. A synctest.Test needs a testing.T, of which it uses nothing
// but that it is there, as long as the function does not: the tests of this package hold
// that with the Go version of go.mod.
func bubble(f func()) (err error) {
	defer func() {
		if reason := recover(); reason != nil { // of synctest itself, whose panics have this text
			if err == nil {
				err = &DeadlockError{fmt.Sprint(reason)}
			}
		}
	}()
	synctest.Test(new(testing.T), func(*testing.T) {
		defer func() {
			if value := recover(); value != nil {
				err = &PanicError{value, string(debug.Stack())}
			}
		}()
		f()
	})
	return err
}

// maxStack is how many bytes of stacks are kept.
const maxStack = 64 << 10

// bubbles are the stacks of the goroutines in bubbles.
func bubbles() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var found strings.Builder
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if first, _, _ := strings.Cut(stack, "\n"); strings.Contains(first, "synctest bubble") && found.Len()+len(stack) < maxStack {
			found.WriteString(stack + "\n\n")
		}
	}
	return found.String()
}
