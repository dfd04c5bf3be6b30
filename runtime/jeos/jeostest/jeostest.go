// SPDX-License-Identifier: Apache-2.0

// Package jeostest gives tests a guest image. It is only for tests.
//
// All functions may be called from any goroutine.
package jeostest

import (
	"context"
	"sync"
	"testing"

	"github.com/mhmig/mhmig/runtime/jeos"
)

// Image returns the guest image. It is in the user's cache, built once per
// machine and version of the guest: the first call takes some ten seconds and
// downloads packages, later ones are quick.
func Image(tb testing.TB) jeos.Image {
	tb.Helper()
	image, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return image
}

var build = sync.OnceValues(func() (jeos.Image, error) {
	return jeos.Build(context.Background(), jeos.Options{}) // not a test's context: other tests share the result
})
