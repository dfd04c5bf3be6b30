// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/exit"
)

// TestBootstrapInstall runs bootstrap on a machine without QEMU, where an
// apt-get of the test's own installs it, or not.
func TestBootstrapInstall(t *testing.T) {
	tests := []struct {
		name string
		args []string
		apt  string // script
		code int
		want []string // in the output or the error
		not  string
	}{
		{
			name: "missing", apt: "exit 1", code: int(exit.Hosts),
			want: []string{"package=qemu-system-x86", "apt-get install --yes --no-install-recommends qemu-system-x86 qemu-utils"}, not: "running",
		},
		{
			name: "installed at once", args: []string{"--install"}, code: int(exit.Hosts), // then the image has no packages
			apt:  `case $* in install*) echo '#!/bin/sh' >$BIN/qemu-system-x86_64; echo '#!/bin/sh' >$BIN/qemu-img; chmod +x $BIN/* ;; *) exit 1 ;; esac`,
			want: []string{"program=", "apt-cache is not installed"}, not: "apt-get update",
		},
		{
			name: "installed after an update", args: []string{"--install"}, code: int(exit.Hosts),
			apt: `case $* in update) >$BIN/updated ;; install*) [ -e $BIN/updated ] || exit 100
echo '#!/bin/sh' >$BIN/qemu-system-x86_64; echo '#!/bin/sh' >$BIN/qemu-img; chmod +x $BIN/* ;; esac`,
			want: []string{"apt-get update", "program=", "apt-cache is not installed"},
		},
		{
			name: "cannot be installed", args: []string{"--install"}, apt: "exit 100", code: int(exit.Hosts),
			want: []string{"apt-get update", "install qemu-system-x86 qemu-utils: ", "exit status 100"}, not: "downloading",
		},
		{
			name: "no apt-get", args: []string{"--install"}, code: int(exit.Hosts),
			want: []string{"is not installed; install these packages: qemu-system-x86 qemu-utils"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bin := t.TempDir()
			for name, script := range map[string]string{"apt-get": tt.apt, "sudo": `exec "$@"`} {
				if script == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nPATH=$PATH:/bin\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
			t.Setenv("BIN", bin)
			t.Setenv("MHMIG_CACHE", t.TempDir())
			var out bytes.Buffer
			command := newBootstrapCommand()
			command.SilenceErrors, command.SilenceUsage = true, true
			command.SetOut(&out)
			command.SetErr(&out)
			command.SetArgs(tt.args)
			err := command.ExecuteContext(t.Context())
			if int(exit.Of(err)) != tt.code {
				t.Errorf("got exit code %d (%v), want %d", int(exit.Of(err)), err, tt.code)
			}
			if err != nil {
				out.WriteString(err.Error())
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want %q in it", out.String(), want)
				}
			}
			if tt.not != "" && strings.Contains(out.String(), tt.not) {
				t.Errorf("got %q, want no %q", out.String(), tt.not)
			}
		})
	}
}
