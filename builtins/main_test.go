// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

func TestMain(m *testing.M) {
	qmptest.Main() // does not return where this is a scripted QEMU
	goleak.VerifyTestMain(tests{m})
}

// tests runs all tests of the package and then closes the shared lab.
type tests struct{ *testing.M }

func (m tests) Run() int {
	status := m.M.Run()
	if err := closeLab(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests' lab:", err)
		return 1
	}
	return status
}
