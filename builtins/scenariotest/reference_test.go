// SPDX-License-Identifier: Apache-2.0

package scenariotest_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/builtins/scenariotest"
)

var update = flag.Bool("update", false, "rewrite the file that is compared with")

// lang/api has the current test language.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	const file = "../../lang/api/tests.json"
	var now bytes.Buffer
	if err := scenariotest.Language().WriteJSON(&now); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, now.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), now.String()); diff != "" {
		t.Errorf("%s is stale (- committed, + now); go test ./builtins/scenariotest -run Reference -update\n%s", file, diff)
	}
}
