// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/api"
)

var update = flag.Bool("update", false, "rewrite the files that are compared with")

// The committed reference and builtins.json are up to date.
func TestReferencesAreCurrent(t *testing.T) {
	t.Parallel()
	for file, write := range map[string]func(io.Writer) error{
		"REFERENCE.md":              builtins.WriteReference,
		"../lang/api/builtins.json": builtins.Language().WriteJSON,
	} {
		var now bytes.Buffer
		if err := write(&now); err != nil {
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
			t.Errorf("%s is stale (- committed, + now); go test ./builtins -run Reference -update\n%s", file, diff)
		}
	}
}

// lang/api has the current language.
func TestAPI(t *testing.T) {
	t.Parallel()
	if *update {
		t.Skip("NOT TESTED: what is built in is that of before the update")
	}
	protocol, _ := api.Find("mig_protocol")
	embedded := api.Language{Functions: api.Functions(), Modules: api.Modules(), Classes: api.Classes(), Transports: protocol.Choices}
	if diff := cmp.Diff(builtins.Language(), embedded, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("- tables, + lang/api\n%s", diff)
	}
}
