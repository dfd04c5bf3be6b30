// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The Debian packages that the guest is made of: kernelPackage's dependency, which
// is the current kernel, and userlandPackages, whose last two are a shell and its
// library, 140 kB together.
const kernelPackage = "linux-image-cloud-amd64"

var userlandPackages = []string{"busybox-static", "klibc-utils", "libklibc"}

// NoPackagesError means that this machine cannot fetch the guest's packages.
type NoPackagesError struct {
	Reason error
}

// Error says why, and what to do instead.
func (e *NoPackagesError) Error() string {
	return fmt.Sprintf("%v\nhint: on a machine without Debian's packages, give the guest's parts by path: "+
		"mhmig bootstrap --kernel /boot/vmlinuz-R --modules /lib/modules/R --busybox /path/to/static/busybox --shell /bin/dash", e.Reason)
}

// Unwrap returns the reason.
func (e *NoPackagesError) Unwrap() error { return e.Reason }

// fetchPackages downloads the kernel and busybox and unpacks them in dir. It
// needs no root: if the machine's package lists are missing or too old, it fetches
// its own.
func fetchPackages(ctx context.Context, dir string, log *slog.Logger) (sources, error) {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return sources{}, &NoPackagesError{fmt.Errorf("%s is not installed", tool)}
		}
	}
	src, err := aptLists{}.fetch(ctx, filepath.Join(dir, "system"), log)
	if err == nil || ctx.Err() != nil {
		return src, err
	}
	log.Info("updating package lists in mhmig's cache", "reason", firstLine(err))
	own, ownErr := updateLists(ctx, filepath.Join(dir, "lists"))
	if ownErr != nil {
		return sources{}, &NoPackagesError{errors.Join(err, ownErr)}
	}
	if src, err = own.fetch(ctx, filepath.Join(dir, "own"), log); err != nil {
		return sources{}, &NoPackagesError{err}
	}
	return src, nil
}

// aptLists are the options that select apt's package lists; none are the
// machine's.
type aptLists []string

// updateLists fetches package lists into dir.
func updateLists(ctx context.Context, dir string) (aptLists, error) {
	lists := aptLists{"-o", "Dir::State::Lists=" + dir, "-o", "Dir::Cache=" + filepath.Join(dir, "cache")}
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o755); err != nil {
		return nil, err
	}
	_, err := lists.run(ctx, "", "apt-get", "update")
	return lists, err
}

func (l aptLists) fetch(ctx context.Context, dir string, log *slog.Logger) (sources, error) {
	kernel, err := l.currentKernel(ctx)
	if err != nil {
		return sources{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return sources{}, err
	}
	packages := append([]string{kernel}, userlandPackages...)
	log.Info("downloading packages (unpacked, not installed)", "packages", strings.Join(packages, " "))
	if _, err := l.run(ctx, dir, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return sources{}, err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return sources{}, err
	}
	root := filepath.Join(dir, "root")
	src := sources{root: root}
	for _, deb := range debs {
		log.Info("unpacking", "package", filepath.Base(deb))
		if _, err := l.run(ctx, dir, "dpkg-deb", "-x", deb, root); err != nil {
			return sources{}, err
		}
		src.from = append(src.from, filepath.Base(deb))
	}
	release := strings.TrimPrefix(kernel, "linux-image-")
	src.kernel = filepath.Join(root, "boot", "vmlinuz-"+release)
	// Releases after 12 have everything below /usr.
	for path, places := range map[*string][]string{
		&src.modules: {"lib/modules/" + release, "usr/lib/modules/" + release},
		&src.busybox: {"bin/busybox", "usr/bin/busybox"},
		&src.shell:   {"usr/lib/klibc/bin/sh"},
	} {
		for _, place := range places {
			if _, err := os.Stat(filepath.Join(root, place)); err == nil {
				*path = filepath.Join(root, place)
			}
		}
		if *path == "" {
			return sources{}, fmt.Errorf("the packages %s have no %s", strings.Join(src.from, " "), places[0])
		}
	}
	return src, nil
}

var kernelDependency = regexp.MustCompile(`(?m)^\s*Depends: (linux-image-\d\S*)`)

// currentKernel returns the kernel package that the metapackage depends on.
func (l aptLists) currentKernel(ctx context.Context) (string, error) {
	out, err := l.run(ctx, "", "apt-cache", "depends", kernelPackage)
	if err != nil {
		return "", err
	}
	m := kernelDependency.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("apt-cache depends %s names no kernel", kernelPackage)
	}
	return string(m[1]), nil
}

// run returns a command's output. The error includes its stderr.
func (l aptLists) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name)
	if name != "dpkg-deb" {
		// Root's apt drops to a user that may not write to our folders.
		cmd.Args = append(cmd.Args, "-o", "APT::Sandbox::User=root")
		cmd.Args = append(cmd.Args, l...)
	}
	cmd.Args = append(cmd.Args, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
