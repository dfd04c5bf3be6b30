// SPDX-License-Identifier: Apache-2.0

package qemu_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/apt"
	"github.com/mhmig/mhmig/runtime/qemu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWords(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		program qemu.Program
		want    string
	}{
		"installed": {qemu.Program{Binary: "qemu-system-x86_64"}, "qemu-system-x86_64"},
		"firmware":  {qemu.Program{Binary: "/opt/qemu", Data: "/opt/a:/opt/b c"}, "/opt/qemu -L /opt/a -L '/opt/b c'"},
		"loader": {
			qemu.Program{Binary: "/opt/qemu", Loader: "/opt/ld.so", Libraries: "/opt/lib:/opt/usr/lib"},
			"/opt/ld.so --library-path /opt/lib:/opt/usr/lib /opt/qemu",
		},
		"a version": {
			qemu.In("/q/5.2", "5.2"),
			"env QEMU_MODULE_DIR=/q/5.2/usr/lib/x86_64-linux-gnu/qemu /q/5.2/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /q/5.2/usr/lib/x86_64-linux-gnu " +
				"/q/5.2/usr/bin/qemu-system-x86_64 -L /q/5.2/usr/share/qemu -L /q/5.2/usr/share/seabios -L /q/5.2/usr/lib/ipxe/qemu",
		},
	} {
		if got := tt.program.Command(); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, tt.want)
		}
	}
}

// fakeApt puts apt's programs of the test's own into PATH. Each suite but those in missing
// has the QEMU of that version; it says that it is version says.
func fakeApt(t *testing.T, missing, version, says string) {
	t.Helper()
	if _, err := os.Stat(apt.Keyring); err != nil {
		t.Skipf("NOT TESTED: no %s; it is in package debian-archive-keyring", apt.Keyring)
	}
	bin := t.TempDir()
	tool := `#!/bin/sh
for option; do case $option in Dir::Cache=*) cache=${option#*=} ;; Dir::State=*) state=${option#*=} ;; esac; done
case "${0##*/} $*" in
*' update --error-on=any') ! grep -q '` + missing + `' "$state/sources.list" || { echo "E: no Release file" >&2; exit 100; } ;;
apt-cache*' show --no-all-versions qemu-system-x86') printf 'Package: qemu-system-x86\nVersion: 1:` + version + `\n' ;;
apt-get*' install --download-only '*) touch "$cache/archives/qemu.deb" ;;
dpkg-deb*) root=$3
	mkdir -p "$root/usr/bin" "$root/lib/x86_64-linux-gnu/security" "$root/usr/lib/x86_64-linux-gnu" "$root/usr/share/doc/qemu"
	printf '#!/bin/sh\necho QEMU emulator version ` + says + ` "(Debian)"\n' >"$root/lib/x86_64-linux-gnu/ld-2.31.so"
	chmod +x "$root/lib/x86_64-linux-gnu/ld-2.31.so"
	ln -s ld-2.31.so "$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" ;;
*) echo "unexpected: ${0##*/} $*" >&2; exit 1 ;;
esac
`
	for _, name := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(tool), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// A QEMU is unpacked with all libraries in one folder, and tried; another process's
// remains are no hindrance, and the next call keeps what is there.
func TestFetch(t *testing.T) {
	fakeApt(t, "none", "5.2+dfsg-11", "5.2.0")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "5.2.part", "usr"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		program, err := qemu.Fetch(t.Context(), dir, "5.2", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(qemu.In(filepath.Join(dir, "5.2"), "5.2"), program); diff != "" {
			t.Error(diff)
		}
		t.Setenv("PATH", "/usr/bin:/bin") // without the fake apt: it is not asked again
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := []string{filepath.Join(dir, "5.2"), filepath.Join(dir, "lock")}; err != nil || !cmp.Equal(left, want) {
		t.Errorf("left: %v, %v; want %v", left, err, want)
	}
	for _, gone := range []string{"apt", "usr/share/doc"} {
		if _, err := os.Stat(filepath.Join(dir, "5.2", gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
}

// What is not complete is not kept.
func TestFetchFails(t *testing.T) {
	for name, tt := range map[string]struct{ missing, version, says, want string }{
		"no suite":             {"debian bullseye", "5.2+dfsg-11", "5.2.0", "E: no Release file"},
		"another in its place": {"none", "6.0.1", "5.2.0", "QEMU 5.2: the suite has 6.0.1 in its place now"},
		"not even near":        {"none", "5.20", "5.2.0", "QEMU 5.2: the suite has 5.20 in its place now"},
		"it says another":      {"none", "5.2+dfsg-11", "7.2.0", `it says that it is "QEMU emulator version 7.2.0 (Debian)"`},
		"it does not start":    {"none", "5.2+dfsg-11", "5.2; exit 3 #", "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeApt(t, tt.missing, tt.version, tt.says)
			dir := t.TempDir()
			if _, err := qemu.Fetch(t.Context(), dir, "5.2", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "5.2*")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A suite that has left the mirror is in the archive.
func TestFetchFromArchive(t *testing.T) {
	fakeApt(t, "deb.debian.org", "5.2+dfsg-11", "5.2.0")
	if _, err := qemu.Fetch(t.Context(), t.TempDir(), "5.2", slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestUnknownVersion(t *testing.T) {
	t.Parallel()
	_, err := qemu.Fetch(t.Context(), t.TempDir(), "../5.2", slog.New(slog.DiscardHandler))
	if unknown, ok := errors.AsType[*qemu.UnknownVersionError](err); !ok || !strings.Contains(unknown.Error(), "5.2, 7.2, 10.0, 11.1 can be had") {
		t.Errorf("got %v", err)
	}
	for text, want := range map[string]bool{"10.0": true, "11.0-rc1": true, "upstream": true, "": false, "../x": false, ".5": false, "a/b": false} {
		if got := qemu.IsVersion(text); got != want {
			t.Errorf("IsVersion(%q) = %v", text, got)
		}
	}
}
