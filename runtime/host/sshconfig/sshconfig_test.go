// SPDX-License-Identifier: Apache-2.0

package sshconfig_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/host/sshconfig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestHangingCommandEnds: a command of Match exec that never ends is ended with
// ssh, when the context ends.
func TestHangingCommandEnds(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no OpenSSH client here (package openssh-client): %v", err)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	config := write(t, "config", "Match exec \"echo $$ >"+pid+"; sleep 1000\"\n  User never\n", 0o600)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cause := errors.New("interrupted")
	done := make(chan error, 1)
	go func() {
		_, err := sshconfig.Read(ctx, sshconfig.Files{User: config}, sshconfig.Target{Name: "target"})
		done <- err
	}()
	text := ""
	for !strings.HasSuffix(text, "\n") {
		select {
		case err := <-done:
			t.Fatalf("Read returned before the command ran: %v", err)
		case <-time.After(5 * time.Millisecond):
			read, _ := os.ReadFile(pid)
			text = string(read)
		}
	}
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("Read: got %v, want the cause", err)
	}
	for deadline := time.Now().Add(time.Minute); runs(strings.TrimSpace(text)); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the command of Match exec, process %s, still runs", text)
		}
	}
}

// runs reports whether a process runs; one that is dead may wait to be noticed.
func runs(pid string) bool {
	state, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	return err == nil && !strings.Contains(string(state), "State:\tZ")
}

// TestOtherProgramIsNoJudge: a program called ssh that knows no -G is passed over.
func TestOtherProgramIsNoJudge(t *testing.T) {
	other := write(t, "ssh", "#!/bin/sh\necho 'usage: dbclient' >&2\nexit 1\n", 0o700)
	t.Setenv("PATH", filepath.Dir(other)+":/bin")
	config := write(t, "config", "Host target\n  User me\n  ServerAliveInterval 1m30s\n", 0o600)
	o, err := sshconfig.Read(t.Context(), sshconfig.Files{User: config}, sshconfig.Target{Name: "target"})
	if err != nil || o.Get("user") != "me" || o.Get("serveraliveinterval") != "90" {
		t.Errorf("Read: got user %q, interval %q, error %v; want me, 90", o.Get("user"), o.Get("serveraliveinterval"), err)
	}
}

// TestOptionsAreTold: an option that a later ssh may print is told of, and one
// that only mhmig lacks, too.
func TestOptionsAreTold(t *testing.T) {
	text := `case "$*" in
*/dev/null*) echo hostname target ;;
*) printf 'hostname target\nnewoption yes\npkcs11provider /lib/x.so\nverifyhostkeydns false\n' ;;
esac
`
	program := write(t, "ssh", "#!/bin/sh\n"+text, 0o700)
	t.Setenv("PATH", filepath.Dir(program)+":/bin")
	config := write(t, "config", "", 0o600)
	o, err := sshconfig.Read(t.Context(), sshconfig.Files{User: config}, sshconfig.Target{Name: "target"})
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Join(o.Notices, "\n")
	if len(o.Notices) != 2 || !strings.Contains(told, "newoption: mhmig does not know this option") || !strings.Contains(told, "pkcs11provider /lib/x.so: mhmig does not support PKCS#11") {
		t.Errorf("notices: got %q, want one on newoption and one on pkcs11provider", o.Notices)
	}
}

// TestWritableConfigIsRefused: without ssh, too, a ~/.ssh/config that others may
// write is refused.
func TestWritableConfigIsRefused(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	home := t.TempDir()
	config := filepath.Join(home, ".ssh", "config")
	if err := errors.Join(os.Mkdir(filepath.Dir(config), 0o700), os.WriteFile(config, nil, 0o600), os.Chmod(config, 0o666)); err != nil {
		t.Fatal(err)
	}
	_, err := sshconfig.Read(t.Context(), sshconfig.Files{User: config, Home: home}, sshconfig.Target{Name: "target"})
	if err == nil || !strings.Contains(err.Error(), "chmod go-w "+config) {
		t.Errorf("Read: got %v, want a refusal", err)
	}
}
