// SPDX-License-Identifier: Apache-2.0

package jeos_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/jeos"
)

// fakeApt puts apt-get, apt-cache and dpkg-deb of the test's own into PATH.
// They know the packages whose files lie in the folder root, and append their
// arguments to the returned file. With stale, the machine's lists name a kernel
// that the mirror no longer has.
func fakeApt(t *testing.T, stale bool) (calls string) {
	t.Helper()
	o := parts(t)
	dir := t.TempDir()
	bin, root := filepath.Join(dir, "bin"), filepath.Join(dir, "root")
	calls = filepath.Join(dir, "calls")
	tool := `#!/bin/sh
echo "${0##*/} $*" >>` + calls + `
own=; case $* in *Dir::State::Lists=*) own=yes ;; esac
case "${0##*/} $*" in
apt-cache*) [ $own$STALE ] || { echo "E: No packages found" >&2; exit 100; }
	echo linux-image-cloud-amd64; echo "  Depends: linux-image-6.1.0-test"; echo "  Breaks: linux-image-5" ;;
apt-get*update) ;;
apt-get*download*) [ $own ] || [ "$STALE" = no ] || { echo "E: 404 Not Found" >&2; exit 100; }
	touch kernel.deb userland.deb ;;
dpkg-deb*kernel.deb*) mkdir -p "$3" && cp -a ` + root + `/. "$3" ;;
esac
`
	t.Setenv("STALE", map[bool]string{true: "yes", false: "no"}[stale])
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(tool), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))

	shell, err := os.ReadFile(o.Busybox) // static, as klibc's is nearly
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := os.ReadFile(o.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	builtin, err := os.ReadFile(filepath.Join(o.Modules, "modules.builtin"))
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{
		"boot/vmlinuz-6.1.0-test":                kernel,
		"lib/modules/6.1.0-test/modules.builtin": builtin,
		"lib/modules/6.1.0-test/kernel/none":     nil,
		"bin/busybox":                            shell,
		"usr/lib/klibc/bin/sh":                   shell,
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return calls
}

func TestPackagesAreFetchedOnce(t *testing.T) {
	for _, stale := range []bool{false, true} {
		t.Run(map[bool]string{false: "good lists", true: "stale lists"}[stale], func(t *testing.T) {
			calls := fakeApt(t, stale)
			o := jeos.Options{CacheDir: t.TempDir()}
			image, err := jeos.Build(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if image.KernelRelease != "6.1.0-test" {
				t.Errorf("got kernel %s, want that of the package", image.KernelRelease)
			}
			said, err := os.ReadFile(calls)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(said), " update\n"); got != stale {
				t.Errorf("lists were fetched: %t, want %t; calls:\n%s", got, stale, said)
			}
			for line := range strings.Lines(string(said)) {
				if strings.Contains(line, "install") || strings.HasSuffix(line, "update\n") && !strings.Contains(line, "Dir::State::Lists="+o.CacheDir) {
					t.Errorf("the machine is changed by %s", line)
				}
			}
			if _, err := jeos.Build(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if again, err := os.ReadFile(calls); err != nil || string(again) != string(said) {
				t.Errorf("the second Build called (%v):\n%s", err, strings.TrimPrefix(string(again), string(said)))
			}
		})
	}
}

func TestNoPackages(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := jeos.Build(t.Context(), jeos.Options{CacheDir: t.TempDir()})
	var missing *jeos.NoPackagesError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "apt-get is not installed") || !strings.Contains(err.Error(), "--busybox") {
		t.Errorf("got %v, want a NoPackagesError that says what to do", err)
	}
}
