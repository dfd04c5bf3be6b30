// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
)

func TestNames(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	if got := host.Names(); len(got) != 0 {
		t.Errorf("without files: got %q", got)
	}
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"config":      "Host alpha *.example.com !beta\n  HostName 10.0.0.1\nhost = \"gamma\"\n# Host comment\n",
		"known_hosts": "delta,10.0.0.2 ssh-ed25519 AAAA\n@revoked alpha ssh-ed25519 AAAA\n|1|a|b ssh-ed25519 AAAA\n[port]:2222 ssh-ed25519 AAAA\n# a comment here\n",
	} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"10.0.0.2", "alpha", "delta", "gamma"}, host.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
