// SPDX-License-Identifier: Apache-2.0

// Package program embeds the compressed executable of command guestd, which mhmig
// puts into its guest. It is committed in this form so that every mhmig has the same
// one, whether built by make build, go build or go install, with cgo or without, on
// any machine: these cannot build a second program.
//
//	guestd.gz       the executable, static, for x86_64
//	guestd.sources  what it was built from: a hash for each package
//
// make guest rebuilds both. The package's tests fail when that is due, and check that
// the build is reproducible: built by the Go version in its build information, the
// executable is byte for byte the same.
//
// Executable may be called from any goroutine.
package program

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for guestd.gz
	"fmt"
	"io"
)

//go:embed guestd.gz
var packed []byte

// Executable unpacks the program, which takes some tens of milliseconds. An error means
// that mhmig was built from a damaged tree.
func Executable() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the guest's program: %w", err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack the guest's program: %w", err)
	}
	return content, nil
}
