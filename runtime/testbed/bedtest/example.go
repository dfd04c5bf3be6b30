// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// Example is what a runnable example takes for the [testing.TB] that it does not
// have. What fails is told on standard output, where the example's own output is
// compared.
type Example struct {
	testing.TB // for the methods that this package does not call
	name       string
	cleanups   []func()
}

// NewExample returns the Example of that name. Its owner calls End.
func NewExample(name string) *Example { return &Example{name: name} }

// End does what a test's end does: its cleanups, the last first.
func (e *Example) End() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}

// Cleanup leaves a function for End.
func (e *Example) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

// Context returns a context that does not end.
func (e *Example) Context() context.Context { return context.Background() }

// Helper does nothing.
func (e *Example) Helper() {}

// Name returns the example's name.
func (e *Example) Name() string { return e.name }

// Error tells what is wrong.
func (e *Example) Error(args ...any) { fmt.Fprintln(os.Stdout, args...) }

// Errorf tells what is wrong.
func (e *Example) Errorf(format string, args ...any) { e.Error(fmt.Sprintf(format, args...)) }

// Fatal ends the test program.
func (e *Example) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// TempDir returns a new folder, which End removes.
func (e *Example) TempDir() string {
	dir, err := os.MkdirTemp("", "mhmig-")
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			e.Error(err)
		}
	})
	return dir
}
