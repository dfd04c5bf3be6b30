// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/mhmig/mhmig/runtime/apt"
)

// A release of Debian has one version of QEMU.
type release struct {
	version string // as asked for; a longer one, such as 10.0.13, is of it
	suites  []apt.Suite
}

const (
	mirror  = "http://deb.debian.org/debian"
	archive = "http://archive.debian.org/debian" // where releases go that are no longer kept up
)

// releases are the versions that can be fetched, the oldest first.
var releases = []release{
	{"5.2", []apt.Suite{{Mirror: mirror, Name: "bullseye"}, {Mirror: archive, Name: "bullseye"}}},
	{"7.2", []apt.Suite{{Mirror: mirror, Name: "bookworm"}, {Mirror: archive, Name: "bookworm"}}},
	{"10.0", []apt.Suite{{Mirror: mirror, Name: "trixie"}}},
	{"11.1", []apt.Suite{{Mirror: mirror, Name: "sid"}}}, // what is in development has another one some day
}

// Versions returns the versions that [Fetch] knows, the oldest first.
func Versions() []string {
	var all []string
	for _, r := range releases {
		all = append(all, r.version)
	}
	return all
}

// unpackedSuffix ends the name of a folder that is not complete.
const unpackedSuffix = ".part"

// versionTimeout limits the first start of a QEMU that was fetched.
const versionTimeout = time.Minute

// Fetch puts the QEMU of a version into the folder dir, and returns it; one that is there
// is kept. It is made of a Debian release's packages with all the libraries that they
// need, about 150 MB, of which nothing is installed. It blocks while another process
// fetches one, and needs the network and apt's programs, but no root.
func Fetch(ctx context.Context, dir, version string, log *slog.Logger) (Program, error) {
	p, err := fetch(ctx, dir, version, log)
	if err != nil {
		return Program{}, fmt.Errorf("QEMU %s: %w", version, err)
	}
	return p, nil
}

func fetch(ctx context.Context, dir, version string, log *slog.Logger) (Program, error) {
	i := slices.IndexFunc(releases, func(r release) bool { return r.version == version })
	if i < 0 {
		return Program{}, &UnknownVersionError{version}
	}
	if runtime.GOARCH != "amd64" {
		return Program{}, fmt.Errorf("the packages, which are for amd64, do not run on %s", runtime.GOARCH)
	}
	if err := apt.Check(); err != nil {
		return Program{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Program{}, fmt.Errorf("make the folder of versions: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return Program{}, fmt.Errorf("wait for another process that fetches into %s: %w", dir, err)
	}
	defer func() { _ = lock.Unlock() }()
	root := filepath.Join(dir, version)
	if _, err := os.Stat(root); err == nil {
		log.Info("QEMU is there already", "version", version, "folder", root)
		return In(root, version), nil
	}
	part := root + unpackedSuffix
	if err := os.RemoveAll(part); err != nil { // of a process that was killed
		return Program{}, err
	}
	err := unpack(ctx, part, releases[i], log)
	if err == nil {
		err = os.Rename(part, root)
	}
	if err != nil {
		return Program{}, errors.Join(err, os.RemoveAll(part))
	}
	log.Info("QEMU is ready", "version", version, "folder", root)
	return In(root, version), nil
}

// UnknownVersionError means that no release of Debian is known to have this version.
type UnknownVersionError struct{ Version string }

// Error names those that can be fetched.
func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("not known where to get it; %s can be had, and others from a folder of your own by param qemu_binary", strings.Join(Versions(), ", "))
}

// unpack downloads a release's QEMU, unpacks it in the folder root, and tries it.
func unpack(ctx context.Context, root string, r release, log *slog.Logger) error {
	work := filepath.Join(root, "apt")
	lists, err := updated(ctx, work, r, log)
	if err != nil {
		return err
	}
	has, err := lists.Version(ctx, "qemu-system-x86")
	if err != nil {
		return err
	}
	if !isOf(has, r.version) {
		return fmt.Errorf("the suite has %s in its place now", has)
	}
	log.Info("downloading packages (unpacked, not installed)", "qemu", has)
	debs, err := lists.DownloadAll(ctx, "qemu-system-x86")
	if err != nil {
		return err
	}
	log.Info("unpacking", "packages", len(debs))
	if err := apt.Unpack(ctx, debs, root); err != nil {
		return err
	}
	if err := joinLibraries(root); err != nil {
		return err
	}
	for _, unneeded := range []string{"apt", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/icons"} {
		if err := os.RemoveAll(filepath.Join(root, unneeded)); err != nil {
			return err
		}
	}
	return try(ctx, In(root, r.version))
}

// joinLibraries moves the libraries that releases before 12 have in /lib to those in
// /usr/lib, so that all releases have them in one folder.
func joinLibraries(root string) error {
	from, to := filepath.Join(root, "lib", libraries), filepath.Join(root, "usr", "lib", libraries)
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue // none of the loader's
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// updated returns the lists of the first suite of the release that can be had.
func updated(ctx context.Context, dir string, r release, log *slog.Logger) (lists apt.Lists, err error) {
	var errs []error
	for _, s := range r.suites {
		log.Info("reading package lists", "suite", s.Name, "mirror", s.Mirror)
		lists, err := apt.OfSuite(ctx, dir, s)
		if err == nil || ctx.Err() != nil {
			return lists, err
		}
		errs = append(errs, err)
	}
	return apt.Lists{}, errors.Join(errs...)
}

// isOf says whether a version, such as 10.0.13+ds-0, is one of another, such as 10.0.
func isOf(version, of string) bool {
	rest, ok := strings.CutPrefix(version, of)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], ".+-~"))
}

var reported = regexp.MustCompile(`(?m)^QEMU emulator version (\S+)`)

// try starts a program to see that it is complete, and of its version.
func try(ctx context.Context, p Program) error {
	ctx, cancel := context.WithTimeoutCause(ctx, versionTimeout, fmt.Errorf("it has not said its version in %v", versionTimeout))
	defer cancel()
	words := append(p.Words(), "--version")
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	said := reported.FindSubmatch(out)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
	case said == nil || !isOf(string(said[1]), p.Version):
		return fmt.Errorf("%s: it says that it is %q", strings.Join(words, " "), bytes.TrimSpace(out))
	}
	return nil
}
