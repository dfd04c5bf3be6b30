// SPDX-License-Identifier: Apache-2.0

// Package jeos builds JeOS, mhmig's small guest: the distribution's kernel, a
// userland of busybox and a small shell, and mhmig's own program with the SSH
// server and the workloads. That program is embedded, see package program; the rest
// comes from packages that are unpacked into mhmig's cache. Nothing is installed on
// the machine, and no root is needed.
//
//	$MHMIG_CACHE or ~/.cache/mhmig
//	  jeos/lock             one builder at a time
//	  jeos/parts-<recipe>/  kernel, modules, busybox, shell; unpacked
//	  jeos/<version>/       vmlinux, bzimage, initrd.cpio, image.json
//
// A version is a hash over the parts, the guest's program and the userland, so an
// mhmig with a different program builds a new image (a cpio archive) from the same
// downloaded parts.
//
// The guest's own side is in the packages guestd, workload, clockwork, cdrom and
// crashkernel.
//
// All functions may be called from any goroutine and from several processes at
// once: a lock file lets one build and the others use what it built.
package jeos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/mhmig/mhmig/runtime/jeos/program"
)

// The values that a config needs to run the guest and to log in.
const (
	// KernelParams puts the kernel's console on the first serial port, with
	// errors only, such as OOM kills. It switches off mitigations and checks that
	// emulated hardware does not need, and saves 13 MiB of the guest's memory: 9
	// for the inodes of tracefs, and 4 for per-CPU accounting of kernel memory to
	// control groups.
	KernelParams = "console=ttyS0 quiet mitigations=off no_timer_check tsc=reliable rcupdate.rcu_expedited=1 " +
		"initcall_blacklist=tracer_init_tracefs cgroup.memory=nokmem"
	// Username is the only account.
	Username = "root"
	// Password is not secret: the guest runs in a lab. mhmig.password=… on the
	// kernel command line sets another one.
	Password = "mhmig"
	// ShellPrompt is a regular expression for the end of the shell's prompt.
	ShellPrompt = `# $`
	// MemoryMiB is the guest's default memory: at least 60 MiB of it are free for
	// workloads.
	MemoryMiB = 128
	// LeastMemoryMiB is the minimum for boot and login; with less, the kernel
	// panics or does not start.
	LeastMemoryMiB = 76
)

// Options are what to build and where. The zero value builds from the
// distribution's packages, in the user's cache.
type Options struct {
	// CacheDir is mhmig's cache folder; empty means DefaultCacheDir.
	CacheDir string
	// Kernel, Modules, Busybox and Shell replace the distribution's packages:
	// a bzImage, the folder of its modules (lib/modules/<release>), a static
	// busybox, a POSIX shell without line editing such as dash (its shared
	// libraries are taken from this machine). All four or none.
	Kernel, Modules, Busybox, Shell string
	// Logger gets each step; nil means no logging.
	Logger *slog.Logger

	program []byte // the guest's; nil means that of package program
}

// Image is a guest ready to be booted with QEMU's -kernel and -initrd.
//
// Only with BzImage does the guest survive suspend to RAM: when it wakes up, QEMU
// writes an unpacked kernel to memory again, as at any reset, and so over the running
// one. And only a bzImage can be a crash kernel.
type Image struct {
	Version       string `json:"version"`        // hash over everything in it
	Kernel        string `json:"kernel"`         // path of the kernel
	BzImage       string `json:"bzimage"`        // path of the same kernel, packed: boots slower
	Initrd        string `json:"initrd"`         // path of the initramfs
	KernelParams  string `json:"kernel_params"`  // for -append, see the constant
	KernelRelease string `json:"kernel_release"` // uname -r in the guest
}

// ErrNotBuilt is the error of Find when there is no image yet.
var ErrNotBuilt = errors.New("the guest image is not built; run: mhmig bootstrap")

// DefaultCacheDir is $MHMIG_CACHE, or mhmig's folder in the user's cache.
func DefaultCacheDir() (string, error) {
	if dir := os.Getenv("MHMIG_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder (or set MHMIG_CACHE): %w", err)
	}
	return filepath.Join(dir, "mhmig"), nil
}

// Build makes the image, or finds an existing one, which is quick. It blocks while
// another process builds.
// Without network and without packages it fails with a *NoPackagesError.
func Build(ctx context.Context, o Options) (Image, error) {
	o, err := o.complete()
	if err != nil {
		return Image{}, err
	}
	if err := os.MkdirAll(o.CacheDir, 0o755); err != nil {
		return Image{}, fmt.Errorf("make the image cache: %w", err)
	}
	lock := flock.New(filepath.Join(o.CacheDir, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		if ctx.Err() != nil { // flock says only that it was
			err = context.Cause(ctx)
		}
		return Image{}, fmt.Errorf("wait for another build in %s: %w", o.CacheDir, err)
	}
	defer func() { _ = lock.Unlock() }()

	p, err := findParts(o.CacheDir)
	if err != nil || o.Kernel != "" {
		if p, err = makeParts(ctx, o); err != nil {
			return Image{}, err
		}
	}
	small, err := userland()
	if err != nil {
		return Image{}, err
	}
	version := imageVersion(p, o.program, small)
	dir := filepath.Join(o.CacheDir, version)
	if image, err := readImage(dir); err == nil {
		markUsed(dir)
		o.Logger.Debug("guest image is up to date", "folder", dir)
		return image, nil
	}
	image, err := assemble(o, p, small, version)
	if err != nil {
		return Image{}, fmt.Errorf("build the guest image: %w", err)
	}
	prune(o.CacheDir, version, time.Now().Add(-24*time.Hour))
	o.Logger.Info("guest image built", "folder", dir, "kernel", p.Release)
	return image, nil
}

// Find is Build without downloads: if the program has changed, the image is rebuilt
// from existing parts. Without parts the error is ErrNotBuilt.
func Find(ctx context.Context, o Options) (Image, error) {
	complete, err := o.complete()
	if err != nil {
		return Image{}, err
	}
	if _, err := findParts(complete.CacheDir); err != nil {
		return Image{}, ErrNotBuilt
	}
	return Build(ctx, o)
}

// complete fills in the defaults. CacheDir becomes the image's own
// folder inside of the cache.
func (o Options) complete() (Options, error) {
	if o.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return o, err
		}
		o.CacheDir = dir
	}
	o.CacheDir = filepath.Join(o.CacheDir, "jeos")
	if o.program == nil {
		var err error
		if o.program, err = program.Executable(); err != nil {
			return o, err
		}
	}
	given := 0
	for _, path := range []string{o.Kernel, o.Modules, o.Busybox, o.Shell} {
		if path != "" {
			given++
		}
	}
	if given != 0 && given != 4 {
		return o, errors.New("kernel, modules, busybox and shell: give all four or none")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// imageVersion is a hash over the image's inputs.
func imageVersion(p parts, guestd []byte, small []file) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%x\n", p.ID, KernelParams, sha256.Sum256(guestd))
	for _, f := range small {
		fmt.Fprintf(h, "%s %o %s\n", f.path, f.mode, f.content)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// assemble writes the image's folder under a temporary name and renames it.
func assemble(o Options, p parts, small []file, version string) (Image, error) {
	tmp, err := os.MkdirTemp(o.CacheDir, "new-")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Image{}, err
	}
	dir := filepath.Join(o.CacheDir, version)
	image := Image{
		Version:       version,
		Kernel:        filepath.Join(dir, "vmlinux"),
		BzImage:       filepath.Join(dir, "bzimage"),
		Initrd:        filepath.Join(dir, "initrd.cpio"),
		KernelParams:  KernelParams,
		KernelRelease: p.Release,
	}
	if err := linkOrCopy(p.kernel(), filepath.Join(tmp, "vmlinux")); err != nil {
		return Image{}, err
	}
	if err := linkOrCopy(p.bzImage(), filepath.Join(tmp, "bzimage")); err != nil {
		return Image{}, err
	}
	records, err := initramfs(p, o.program, small)
	if err != nil {
		return Image{}, err
	}
	if err := writeArchive(filepath.Join(tmp, "initrd.cpio"), records); err != nil {
		return Image{}, err
	}
	if err := writeJSON(filepath.Join(tmp, "image.json"), image); err != nil {
		return Image{}, err
	}
	// A folder without image.json is left by a killed build.
	if err := os.RemoveAll(dir); err != nil {
		return Image{}, err
	}
	return image, os.Rename(tmp, dir)
}

func readImage(dir string) (Image, error) {
	var image Image
	if err := readJSON(filepath.Join(dir, "image.json"), &image); err != nil {
		return Image{}, err
	}
	// An image in a moved or damaged cache is rebuilt.
	for _, path := range []string{image.Kernel, image.BzImage, image.Initrd} {
		if filepath.Dir(path) != dir {
			return Image{}, fmt.Errorf("%s was built in %s", dir, filepath.Dir(path))
		}
		if _, err := os.Stat(path); err != nil {
			return Image{}, err
		}
	}
	return image, nil
}

// markUsed keeps a folder from being pruned.
func markUsed(dir string) {
	now := time.Now()
	_ = os.Chtimes(dir, now, now)
}

// prune removes images and parts that were not used since the given time, and
// incomplete builds. Errors are ignored: the next prune tries again.
func prune(cacheDir, keep string, before time.Time) {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || e.Name() == keep || e.Name() == PartsDir || info.ModTime().After(before) {
			continue
		}
		_ = os.RemoveAll(filepath.Join(cacheDir, e.Name()))
	}
}

func linkOrCopy(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
