// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// Example is a [testing.TB] for a runnable example, which has none. It prints errors on
// standard output, which makes the comparison of the example's output fail.
type Example struct {
	testing.TB // for the methods that this package does not call
	name       string
	cleanups   []func()
}

// NewExample returns the Example of that name. The caller must call End.
func NewExample(name string) *Example { return &Example{name: name} }

// End runs the cleanups, the last first.
func (e *Example) End() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}

// Cleanup registers a function for End.
func (e *Example) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

// Context returns a context that does not end.
func (e *Example) Context() context.Context { return context.Background() }

// Helper does nothing.
func (e *Example) Helper() {}

// Name returns the example's name.
func (e *Example) Name() string { return e.name }

// Error prints an error.
func (e *Example) Error(args ...any) { fmt.Fprintln(os.Stdout, args...) }

// Errorf prints an error.
func (e *Example) Errorf(format string, args ...any) { e.Error(fmt.Sprintf(format, args...)) }

// Fatal panics.
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
