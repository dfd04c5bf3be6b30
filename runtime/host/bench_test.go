// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"path/filepath"
	"testing"

	"github.com/mhmig/mhmig/runtime/host"
)

func BenchmarkDial(b *testing.B) {
	s := startServer(b)
	for b.Loop() {
		h, err := host.Dial(b.Context(), s.config, quiet())
		if err != nil {
			b.Fatal(err)
		}
		h.Close()
	}
}

func BenchmarkRun(b *testing.B) {
	h := startServer(b).dial(b)
	for b.Loop() {
		if _, err := h.Run(b.Context(), host.Command{Args: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteFile(b *testing.B) {
	h := startServer(b).dial(b)
	data := make([]byte, 8<<20)
	name := filepath.Join(b.TempDir(), "file")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := h.WriteFile(b.Context(), name, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
