// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/host"
)

// TestBootstrapInEachShell gives the command line to the shells that are here,
// as sshd does, once as the login shell and once in the place of /bin/sh.
func TestBootstrapInEachShell(t *testing.T) {
	t.Parallel()
	const script = "printf '%s\\n' \"it's \\\\ 100% \\$HOME !\"\ncat"
	const want = "it's \\ 100% $HOME !\nrest of the input\n"
	run := func(t *testing.T, login []string, line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), login[0], append(login[1:], "-c", line)...)
		cmd.Stdin = strings.NewReader(host.Encode(script) + "rest of the input\n")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v, stderr %q", login, err, &stderr)
		}
		first, rest, _ := strings.Cut(strings.TrimPrefix(string(stdout), "\n"), "\n")
		if !strings.HasPrefix(first, "MARK ") || rest != want {
			t.Errorf("stdout: got %q, want the mark and %q", stdout, want)
		}
		if stderr.String() != "\nMARK\n" {
			t.Errorf("stderr: got %q, want only the mark", &stderr)
		}
	}
	shells := [][]string{{"sh"}, {"dash"}, {"bash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"zsh"}, {"mksh"}, {"ksh93"}, {"tcsh"}, {"csh"}, {"fish"}}
	for _, shell := range shells {
		if _, err := exec.LookPath(shell[0]); err != nil {
			continue
		}
		name := strings.Join(shell, " ")
		t.Run("login shell "+name, func(t *testing.T) { run(t, shell, host.Bootstrap("MARK")) })
		if name == "tcsh" || name == "csh" || name == "fish" {
			continue // no POSIX shells
		}
		t.Run("in the place of sh "+name, func(t *testing.T) {
			path, err := exec.LookPath(shell[0])
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Replace(host.Bootstrap("MARK"), "/bin/sh", strings.Join(append([]string{path}, shell[1:]...), " "), 1)
			run(t, []string{"sh"}, line)
		})
	}
}
