// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/run"
)

// TestTell: what a command ended with is said once, and what it means is told only
// where the person can do something about it.
func TestTell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, ""},
		{"a wrong argument", wrongArgument("--limit %d: want 1 or more", 0), "mhmig: --limit 0: want 1 or more\nsee mhmig --help\n"},
		{"an error in a file", exit.Usage.Wrap(errors.New("my.cfg:3: no such variant")), "mhmig: my.cfg:3: no such variant\n"},
		{"two errors", errors.Join(exit.Hosts.Wrap(errors.New("host1 is lost")), exit.Failed.Wrap(errors.New("results"))), "mhmig: host1 is lost\nmhmig: results\n"},
		{"all is said", &exit.Error{Code: exit.Failed}, ""},
		{"an interruption", run.ErrInterrupted, ""},
		{
			"an unknown error", errors.New("the ledger has no end"),
			"mhmig: the ledger has no end\nthis error is unexpected and may be a bug in mhmig: please report it\n",
		},
	} {
		path := filepath.Join(t.TempDir(), "stderr")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		printError(file, &cobra.Command{Use: "mhmig"}, c.err)
		got, err := os.ReadFile(path)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
