// SPDX-License-Identifier: Apache-2.0

package crashkernel

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/sys/kernel/kexec_crash_size": "117440512\n", "/proc/cmdline": "console=ttyS0 crashkernel=112M quiet\n"}
	none := map[string]string{"/sys/kernel/kexec_crash_size": "0\n", "/proc/cmdline": "quiet\n"}
	tests := []struct {
		name   string
		args   []string
		files  map[string]string
		fault  error
		status int
		loaded options
		want   string // in what it prints
	}{
		{
			name: "as the running kernel", args: []string{"load"}, files: files, want: "crashkernel: loaded: a panic boots /tmp/bzimage\n",
			loaded: options{"/tmp/bzimage", "/tmp/initrd", "console=ttyS0 quiet nr_cpus=1 reset_devices"},
		},
		{
			name: "another one", args: []string{"load", "--kernel=/k", "--initrd=/i", "--params=a b"}, files: files, want: "boots /k",
			loaded: options{"/k", "/i", "a b"},
		},
		{name: "no memory was kept", args: []string{"load"}, files: none, status: 1, want: "load /tmp/bzimage: the guest's kernel has kept no memory for it; boot it with crashkernel="},
		{name: "no such kernel", args: []string{"load"}, status: 1, want: "this kernel has no crash kernels"},
		{
			name: "refused", args: []string{"load"}, files: files, fault: errors.New("no"), status: 1, want: "crashkernel: load /tmp/bzimage: no\n",
			loaded: options{"/tmp/bzimage", "/tmp/initrd", "console=ttyS0 quiet nr_cpus=1 reset_devices"},
		},
		{name: "no verb", status: 2, want: "got [], want load"},
		{name: "wrong flag", args: []string{"load", "--fast"}, status: 2, want: "unknown flag: --fast"},
		{name: "help", args: []string{"--help"}, want: "crashkernel load "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var loaded options
			var out bytes.Buffer
			status := run(tt.args, &out, &out, system{
				read: func(file string) ([]byte, error) {
					content, ok := tt.files[file]
					if !ok {
						return nil, os.ErrNotExist
					}
					return []byte(content), nil
				},
				load: func(o options) error {
					loaded = o
					return tt.fault
				},
			})
			if status != tt.status || loaded != tt.loaded || !strings.Contains(out.String(), tt.want) {
				t.Errorf("got status %d, loaded %+v, printed %q; want %d, %+v, %q", status, loaded, out.String(), tt.status, tt.loaded, tt.want)
			}
		})
	}
}
