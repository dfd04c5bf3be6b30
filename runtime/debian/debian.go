// SPDX-License-Identifier: Apache-2.0

// Package debian builds a guest that is a real distribution: a small Debian with
// systemd, OpenSSH and the distribution's kernel, for scenarios that are to be tried on
// another guest than JeOS. Its packages come from Debian's mirror by mmdebstrap, on this
// machine; root is not needed where mmdebstrap and unshare can make a user namespace.
//
//	$MHMIG_CACHE or ~/.cache/mhmig
//	  debian/lock        one builder at a time
//	  debian/<version>/  kernel, initrd, disk.qcow2, image.json
//	  debian/new-…       one that is being built
//
// The disk is one ext4 file system without a partition table or boot loader: QEMU boots
// the kernel and initrd, which are the disk's own, on any machine type and disk bus. The
// login is JeOS's, root with a public password, over SSH and on the serial console.
//
// A version is a hash over the recipe. An image is renamed into its place when it is
// complete. All functions may be called from any goroutine and from several processes at
// once.
package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the scripts
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/jeos"
)

const (
	// Suite is the release that is built: Debian 12.
	Suite = "bookworm"
	// Password is root's, and not secret: the guest runs in a lab.
	Password = jeos.Password
	// Label is the file system's, by which the kernel finds it on any bus.
	Label = "mhmig-debian"
)

// packages are what is installed besides the essential ones: what boots and is logged in
// to, and the commands that the shipped config and scenarios have a distribution run.
var packages = []string{
	"systemd-sysv", "udev", "kmod", "initramfs-tools", "linux-image-amd64",
	"openssh-server", "iproute2", "procps", "psmisc", "eject", "stress",
}

// excluded are files of packages that no VM needs: documentation, and drivers of devices
// that QEMU does not have. They are half of the image.
var excluded = []string{
	"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
	"/lib/modules/*/kernel/drivers/gpu/*", "/lib/modules/*/kernel/drivers/media/*",
	"/lib/modules/*/kernel/drivers/infiniband/*", "/lib/modules/*/kernel/drivers/iio/*",
	"/lib/modules/*/kernel/drivers/net/wireless/*", "/lib/modules/*/kernel/drivers/staging/*",
	"/lib/modules/*/kernel/sound/*",
}

// Hooks of mmdebstrap, and what makes the disk of what it has installed.
var (
	//go:embed setup.sh
	setupHook string
	//go:embed customize.sh
	customizeHook string
	//go:embed pack.sh
	packScript string
)

// Options are where to build. The zero value builds in the user's cache.
type Options struct {
	// CacheDir is mhmig's cache folder; empty means [jeos.DefaultCacheDir].
	CacheDir string
	// Logger gets each step; nil means no logging.
	Logger *slog.Logger
}

// Image is a guest that is ready to be booted: QEMU's -kernel and -initrd, and a qcow2
// image for overlays.
type Image struct {
	Version string `json:"version"` // hash over the recipe
	Kernel  string `json:"kernel"`  // path of the bzImage
	Initrd  string `json:"initrd"`
	Disk    string `json:"disk"`
}

// ErrNotBuilt is the error of Find when there is no image yet.
var ErrNotBuilt = errors.New("the Debian guest is not built; run: mhmig bootstrap --guest debian")

// Find returns the image. If it is not built the error is ErrNotBuilt.
func Find(o Options) (Image, error) {
	dir, err := o.folder()
	if err != nil {
		return Image{}, err
	}
	image := imageIn(filepath.Join(dir, version()))
	for _, file := range []string{"image.json", "kernel", "initrd", "disk.qcow2"} {
		if _, err := os.Stat(filepath.Join(dir, image.Version, file)); err != nil {
			return Image{}, ErrNotBuilt
		}
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, image.Version), now, now) // not to be pruned
	return image, nil
}

// Build makes the image, which takes a minute or two and the network, or finds an
// existing one. It blocks while another process builds. It needs mmdebstrap, mke2fs and
// qemu-img.
func Build(ctx context.Context, o Options) (Image, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := o.folder()
	if err != nil {
		return Image{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, fmt.Errorf("make the image cache: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return Image{}, fmt.Errorf("wait for another build in %s: %w", dir, err)
	}
	defer func() { _ = lock.Unlock() }()
	image, err := Find(o)
	if !errors.Is(err, ErrNotBuilt) {
		return image, err
	}
	if err := build(ctx, dir, o.Logger); err != nil {
		return Image{}, fmt.Errorf("build the Debian guest: %w", err)
	}
	prune(dir, version(), time.Now().Add(-24*time.Hour))
	return Find(o)
}

// folder is where images lie.
func (o Options) folder() (string, error) {
	dir := o.CacheDir
	if dir == "" {
		var err error
		if dir, err = jeos.DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "debian"), nil
}

// imageIn is the image whose folder is dir.
func imageIn(dir string) Image {
	return Image{
		Version: filepath.Base(dir),
		Kernel:  filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"), Disk: filepath.Join(dir, "disk.qcow2"),
	}
}

// version is a hash over all that decides what is built, but for the state of the mirror.
func version() string {
	h := sha256.New()
	for _, argument := range append(install(""), packScript, Label) {
		fmt.Fprintf(h, "%s\x00", argument)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// install is the command that installs the packages, into an archive.
func install(archive string) []string {
	args := []string{
		"mmdebstrap", "--variant=minbase", "--architectures=amd64", "--format=tar", "--skip=output/dev",
		"--include=" + strings.Join(packages, ","),
	}
	for _, pattern := range excluded {
		args = append(args, "--dpkgopt=path-exclude="+pattern)
	}
	set := fmt.Sprintf("label=%s password=%s\n", Label, Password)
	return append(args, "--setup-hook="+setupHook, "--customize-hook="+set+customizeHook, Suite, archive)
}

// build makes the image's folder under a temporary name and renames it.
func build(ctx context.Context, dir string, log *slog.Logger) error {
	began := time.Now()
	tmp, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	pack := []string{"sh", "-c", packScript, "pack", Label}
	if os.Geteuid() != 0 { // the files' owners are others
		pack = append([]string{"unshare", "--map-root-user", "--map-auto"}, pack...)
	}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"installing packages, which takes a minute or two", install("root.tar")},
		{"making the disk", pack},
		{"compressing the disk", []string{"qemu-img", "convert", "-q", "-c", "-O", "qcow2", "disk.raw", "disk.qcow2"}},
	} {
		log.Info("building the Debian guest", "step", step.what, "program", step.args[0])
		if err := run(ctx, tmp, step.args); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(tmp, "disk.raw")); err != nil {
		return err
	}
	final := filepath.Join(dir, version())
	data, err := json.MarshalIndent(imageIn(final), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "image.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil { // one that somebody has taken files out of
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	log.Info("guest image built", "folder", final, "took", time.Since(began).Round(time.Second))
	return nil
}

// endTimeout is how long a program may take to clean up when it is interrupted.
const endTimeout = 30 * time.Second

// run runs a program in dir. The error has the end of what it said.
func run(ctx context.Context, dir string, args []string) error {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C.UTF-8")
	// mmdebstrap waits for its children and then unmounts what they had mounted. It must
	// not be told alone: its children would go on, and it with them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = endTimeout
	err := cmd.Run()
	if err == nil || ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w: %s", args[0], err, strings.Join(excerpt.LastLines(said.String(), shownLines), "\n"))
}

// shownLines is how much of a program's output an error has.
const shownLines = 12

// prune removes images that were not used since the given time, and what is left of
// builds that were killed. Errors are ignored: the next prune tries again.
func prune(dir, keep string, before time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || e.Name() == keep || info.ModTime().After(before) {
			continue
		}
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
	}
}
