// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/builtins"
)

var update = flag.Bool("update", false, "rewrite the files that are compared with")

// The committed reference is what the tables say.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var now bytes.Buffer
	if err := builtins.WriteReference(&now); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("REFERENCE.md", now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), now.String()); diff != "" {
		t.Errorf("REFERENCE.md is stale (- committed, + now); go test ./builtins -run Reference -update\n%s", diff)
	}
}
