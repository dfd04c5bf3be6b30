// SPDX-License-Identifier: Apache-2.0

// Package apt downloads packages of Debian and of systems like it, and unpacks them in a
// folder. Nothing is installed, and no root is needed.
//
//	lists, err := apt.OfSuite(ctx, dir, apt.Suite{Mirror: "http://deb.debian.org/debian", Name: "trixie"})
//	debs, err := lists.DownloadAll(ctx, "qemu-system-x86")
//	err = apt.Unpack(ctx, debs, root)
package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Keyring has the keys of Debian's archive; it is in the package debian-archive-keyring.
const Keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Check returns an error that names the first program of apt's that is not installed.
func Check() error {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed", tool)
		}
	}
	return nil
}

// Lists are package lists; the zero value is the machine's own.
type Lists struct {
	options []string
	dir     string // of those that are not the machine's own
}

// Updated returns lists of the machine's sources that are fetched into dir, for a machine
// whose own ones are missing or old.
func Updated(ctx context.Context, dir string) (Lists, error) {
	l := Lists{dir: dir, options: []string{"-o", "Dir::State::Lists=" + dir, "-o", "Dir::Cache=" + filepath.Join(dir, "cache")}}
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o755); err != nil {
		return Lists{}, err
	}
	_, err := l.Run(ctx, "", "apt-get", "update")
	return l, err
}

// Suite is a release of Debian on a mirror.
type Suite struct {
	Mirror string // such as http://deb.debian.org/debian
	Name   string // such as trixie
}

// OfSuite returns the lists of one suite, fetched into dir, whatever the machine's own
// sources are. No package counts as installed. The suite's signature is checked by the
// keys of [Keyring].
func OfSuite(ctx context.Context, dir string, s Suite) (Lists, error) {
	if _, err := os.Stat(Keyring); err != nil {
		return Lists{}, fmt.Errorf("%w; install package debian-archive-keyring", err)
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return Lists{}, err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	for file, text := range map[string]string{
		sources:                      fmt.Sprintf("deb [signed-by=%s] %s %s main\n", Keyring, s.Mirror, s.Name),
		filepath.Join(dir, "status"): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return Lists{}, err
		}
	}
	l := Lists{dir: dir}
	for key, value := range map[string]string{
		"Dir::State": dir, "Dir::State::status": filepath.Join(dir, "status"), "Dir::Cache": filepath.Join(dir, "cache"),
		"Dir::Etc::SourceList": sources, "Dir::Etc::SourceParts": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
		"APT::Get::List-Cleanup": "false", "Acquire::Languages": "none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
		"Acquire::Check-Valid-Until": "false", // an old release is signed no more
	} {
		l.options = append(l.options, "-o", key+"="+value)
	}
	_, err := l.Run(ctx, "", "apt-get", "update", "--error-on=any")
	return l, err
}

// Version returns the version of a package that would be installed, without its epoch.
func (l Lists) Version(ctx context.Context, name string) (string, error) {
	out, err := l.Run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if version, ok := strings.CutPrefix(line, "Version: "); ok {
			version = strings.TrimSpace(version)
			if _, rest, hasEpoch := strings.Cut(version, ":"); hasEpoch {
				version = rest
			}
			return version, nil
		}
	}
	return "", fmt.Errorf("apt-cache show %s says no version", name)
}

// Download downloads packages into dir, without what they need, and returns the files.
func (l Lists) Download(ctx context.Context, dir string, packages ...string) (debs []string, err error) {
	if _, err := l.Run(ctx, dir, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// DownloadAll downloads packages of a suite with all that they need, and returns the files.
func (l Lists) DownloadAll(ctx context.Context, packages ...string) (debs []string, err error) {
	if l.dir == "" {
		return nil, errors.New("the machine's own lists: what they need may be installed")
	}
	args := append([]string{"install", "--download-only", "--no-install-recommends", "--yes"}, packages...)
	if _, err := l.Run(ctx, "", "apt-get", args...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(l.dir, "cache", "archives", "*.deb"))
}

// Unpack unpacks packages in the folder root.
func Unpack(ctx context.Context, debs []string, root string) error {
	for _, deb := range debs {
		if _, err := run(ctx, "", "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	return nil
}

// Run returns the output of apt-get or apt-cache, called in dir. The error includes its
// stderr.
func (l Lists) Run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	// Root's apt drops to a user that may not write to our folders.
	all := append([]string{"-o", "APT::Sandbox::User=root"}, l.options...)
	return run(ctx, dir, name, append(all, args...)...)
}

func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
