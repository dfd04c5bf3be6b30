// SPDX-License-Identifier: Apache-2.0

// Package jeostest gives tests a guest image. It is only for tests.
//
// All functions may be called from any goroutine.
package jeostest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mhmig/mhmig/runtime/jeos"
)

// Image returns a guest image whose program is the init command beside this
// file, so that it does not depend on mhmig's own. It is in the user's cache,
// built once per machine and version of the guest's code: the first call takes
// some ten seconds and downloads packages, later ones take the time of a go
// build of a small program.
func Image(tb testing.TB) jeos.Image {
	tb.Helper()
	image, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return image
}

var build = sync.OnceValues(func() (jeos.Image, error) {
	dir, err := os.MkdirTemp("", "mhmig-jeostest-")
	if err != nil {
		return jeos.Image{}, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "init")
	ctx := context.Background() // not a test's: others wait for it too
	// Without paths and symbols the same source gives the same program.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program,
		"github.com/mhmig/mhmig/runtime/jeos/jeostest/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return jeos.Image{}, fmt.Errorf("build the guest's program: %w\n%s", err, out)
	}
	return jeos.Build(ctx, jeos.Options{Init: program})
})
