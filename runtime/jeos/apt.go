// SPDX-License-Identifier: Apache-2.0

package jeos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mhmig/mhmig/runtime/apt"
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
	if err := apt.Check(); err != nil {
		return sources{}, &NoPackagesError{err}
	}
	src, err := fetch(ctx, apt.Lists{}, filepath.Join(dir, "system"), log)
	if err == nil || ctx.Err() != nil {
		return src, err
	}
	log.Info("updating package lists in mhmig's cache", "reason", firstLine(err))
	own, ownErr := apt.Updated(ctx, filepath.Join(dir, "lists"))
	if ownErr != nil {
		return sources{}, &NoPackagesError{errors.Join(err, ownErr)}
	}
	if src, err = fetch(ctx, own, filepath.Join(dir, "own"), log); err != nil {
		return sources{}, &NoPackagesError{err}
	}
	return src, nil
}

// fetch downloads the packages of lists, and unpacks them in dir.
func fetch(ctx context.Context, lists apt.Lists, dir string, log *slog.Logger) (sources, error) {
	kernel, err := currentKernel(ctx, lists)
	if err != nil {
		return sources{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return sources{}, err
	}
	packages := append([]string{kernel}, userlandPackages...)
	log.Info("downloading packages (unpacked, not installed)", "packages", strings.Join(packages, " "))
	debs, err := lists.Download(ctx, dir, packages...)
	if err != nil {
		return sources{}, err
	}
	root := filepath.Join(dir, "root")
	src := sources{root: root}
	for _, deb := range debs {
		log.Info("unpacking", "package", filepath.Base(deb))
		src.from = append(src.from, filepath.Base(deb))
	}
	if err := apt.Unpack(ctx, debs, root); err != nil {
		return sources{}, err
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
func currentKernel(ctx context.Context, lists apt.Lists) (string, error) {
	out, err := lists.Run(ctx, "", "apt-cache", "depends", kernelPackage)
	if err != nil {
		return "", err
	}
	m := kernelDependency.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("apt-cache depends %s names no kernel", kernelPackage)
	}
	return string(m[1]), nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
