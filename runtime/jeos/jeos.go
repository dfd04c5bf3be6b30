// SPDX-License-Identifier: Apache-2.0

// Package jeos builds JeOS, the guest that mhmig brings along: the
// distribution's kernel, a userland of busybox and a small shell, and mhmig's
// own executable, which inside the guest is the SSH server and the workloads
// that verify what they wrote. Nothing is installed on the machine, nothing needs root, and nothing
// is embedded: packages are unpacked into mhmig's cache.
//
//	$MHMIG_CACHE or ~/.cache/mhmig
//	  jeos/lock             one builder at a time
//	  jeos/parts/           kernel, modules, busybox, shell; ready for use
//	  jeos/<version>/       vmlinux, initrd.cpio, image.json
//
// A version is a hash over the parts, the guest's program and the userland, so
// a rebuilt mhmig gets a rebuilt image (a copy of one executable into a cpio
// archive) and keeps the downloaded parts.
//
// The guest's own side is in the packages guestd and workload.
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
)

// What a config needs to know to run and to log into the guest.
const (
	// KernelParams makes the kernel quiet, puts its console on the first
	// serial port and saves it the work that emulated hardware does not need.
	KernelParams = "console=ttyS0 quiet loglevel=3 mitigations=off no_timer_check tsc=reliable rcupdate.rcu_expedited=1"
	// Username is the only account.
	Username = "root"
	// Password is no secret: the guest lives in a lab. Another one is set by
	// mhmig.password=… on the kernel command line.
	Password = "mhmig"
	// ShellPrompt is a regular expression for the end of the shell's prompt.
	ShellPrompt = `# $`
	// MemoryMiB is enough for the guest and 32 MiB of workload.
	MemoryMiB = 128
)

// Options say what to build and where. The zero value builds for the running
// executable, from the distribution's packages, in the user's cache.
type Options struct {
	// CacheDir is mhmig's cache folder; empty means DefaultCacheDir.
	CacheDir string
	// Init is the executable that becomes the guest's SSH server and
	// workloads; its main must call IsGuest and Main first. Empty means the
	// running executable. A dynamic one takes its shared libraries along.
	Init string
	// Kernel, Modules, Busybox and Shell replace the distribution's packages:
	// a bzImage, the folder of its modules (lib/modules/<release>), a static
	// busybox, a POSIX shell without line editing such as dash (its shared
	// libraries are taken from this machine). All four or none.
	Kernel, Modules, Busybox, Shell string
	// Logger is told each step; nil means silence.
	Logger *slog.Logger
}

// Image is a guest ready to be booted with QEMU's -kernel and -initrd.
type Image struct {
	Version       string `json:"version"`        // hash over everything in it
	Kernel        string `json:"kernel"`         // path of the kernel
	Initrd        string `json:"initrd"`         // path of the initramfs
	KernelParams  string `json:"kernel_params"`  // what to append, see the constant
	KernelRelease string `json:"kernel_release"` // as uname -r says in the guest
}

// ErrNotBuilt is what Find fails with when there is no image yet.
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

// Build makes the image, or finds the one that is already there: then it takes
// as long as hashing the executable. It blocks while another process builds.
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
		return Image{}, fmt.Errorf("wait for another build in %s: %w", o.CacheDir, err)
	}
	defer func() { _ = lock.Unlock() }()

	p, err := findParts(o.CacheDir)
	if err != nil || o.Kernel != "" {
		if p, err = makeParts(ctx, o); err != nil {
			return Image{}, err
		}
	}
	prog, err := loadProgram(o.Init, "/")
	if err != nil {
		return Image{}, fmt.Errorf("the guest's program: %w; or build it static: CGO_ENABLED=0 go build", err)
	}
	small, err := userland()
	if err != nil {
		return Image{}, err
	}
	version := imageVersion(p, prog, small)
	dir := filepath.Join(o.CacheDir, version)
	if image, err := readImage(dir); err == nil {
		now := time.Now()
		_ = os.Chtimes(dir, now, now) // in use: prune leaves it
		o.Logger.Debug("guest image is up to date", "folder", dir)
		return image, nil
	}
	image, err := assemble(o, p, prog, small, version)
	if err != nil {
		return Image{}, fmt.Errorf("build the guest image: %w", err)
	}
	prune(o.CacheDir, version, time.Now().Add(-24*time.Hour))
	o.Logger.Info("guest image built", "folder", dir, "kernel", p.Release)
	return image, nil
}

// Find is Build for when nothing may be downloaded: an image for an executable
// that has changed is put together from the parts that are there. Without
// parts the error is ErrNotBuilt.
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

// complete fills in what was left empty. CacheDir becomes the image's own
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
	if o.Init == "" {
		path, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("find mhmig's own executable: %w", err)
		}
		o.Init = path
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

// imageVersion names the image by what goes into it.
func imageVersion(p parts, prog program, small []file) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%x\n", p.ID, KernelParams, sha256.Sum256(prog.content))
	for _, l := range prog.libraries {
		fmt.Fprintf(h, "%s %x\n", l.path, sha256.Sum256(l.content))
	}
	for _, f := range small {
		fmt.Fprintf(h, "%s %o %s\n", f.path, f.mode, f.content)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// assemble writes the image's folder beside its place and renames it.
func assemble(o Options, p parts, prog program, small []file, version string) (Image, error) {
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
		Initrd:        filepath.Join(dir, "initrd.cpio"),
		KernelParams:  KernelParams,
		KernelRelease: p.Release,
	}
	if err := linkOrCopy(p.kernel(), filepath.Join(tmp, "vmlinux")); err != nil {
		return Image{}, err
	}
	records, err := initramfs(p, prog, small)
	if err != nil {
		return Image{}, err
	}
	if err := writeArchive(filepath.Join(tmp, "initrd.cpio"), records); err != nil {
		return Image{}, err
	}
	if err := writeJSON(filepath.Join(tmp, "image.json"), image); err != nil {
		return Image{}, err
	}
	// A folder without image.json is what a killed build left.
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
	// A cache that was moved, or from which somebody deleted, is built anew.
	for _, path := range []string{image.Kernel, image.Initrd} {
		if filepath.Dir(path) != dir {
			return Image{}, fmt.Errorf("%s was built in %s", dir, filepath.Dir(path))
		}
		if _, err := os.Stat(path); err != nil {
			return Image{}, err
		}
	}
	return image, nil
}

// prune removes the images that nobody has used since the given time, and what
// killed builds left. An image that cannot be removed is left for next time.
func prune(cacheDir, keep string, before time.Time) {
	entries, err := os.ReadDir(cacheDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || e.Name() == keep || e.Name() == partsDir || info.ModTime().After(before) {
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
