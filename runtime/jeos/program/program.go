// SPDX-License-Identifier: Apache-2.0

// Package program is command guestd, built and packed: what mhmig puts into its
// guest. It is committed in this form so that every mhmig has the same one,
// whether made by make build, go build or go install, with cgo or without, on
// whatever machine: none of these can build a second program on the way.
//
//	guestd.gz       the executable, static, for x86_64
//	guestd.sources  what it was built from: a hash for each package
//
// make guest rebuilds both. The package's tests say when that is due, and that
// the executable is what its sources give: built again by the Go that built it,
// which its build information names, it is the same byte for byte.
//
// Executable may be called from any goroutine.
package program

import (
	"bytes"
	"compress/gzip"
	_ "embed" // for guestd.gz
	"fmt"
	"io"
	"sync"
)

//go:embed guestd.gz
var packed []byte

// Executable returns the program. The bytes are shared: they are not to be
// changed. An error means that mhmig was built from a damaged tree.
func Executable() ([]byte, error) { return unpacked() }

var unpacked = sync.OnceValues(func() ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the guest's program: %w", err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack the guest's program: %w", err)
	}
	return content, nil
})
