// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// Images are the files that PrepareImages made for one VM.
type Images struct {
	// Kept are the names of the images that create_image has found there, and has
	// kept: the instances of the VM must know, see Place.
	Kept []string

	placement Placement
	made      []madeFile
}

type madeFile struct {
	path  string
	entry int // in the ledger
}

// Paths are the files that were made and that Remove will remove.
func (im *Images) Paths() []string {
	paths := make([]string, len(im.made))
	for i, m := range im.made {
		paths[i] = m.path
	}
	return paths
}

// Remove removes the files and strikes them from the ledger. Base images and
// images that a user asked to create under their own name stay.
func (im *Images) Remove(ctx context.Context) error {
	var all []error
	for _, m := range im.made {
		if err := im.placement.Host.RemoveAll(ctx, m.path); err != nil {
			all = append(all, fmt.Errorf("%s: remove image %s: %w", im.placement.Host.Name(), m.path, err))
			continue
		}
		all = append(all, im.placement.Ledger.Done(m.entry))
	}
	return errors.Join(all...)
}

// PrepareImages makes the disks of a VM before it starts anywhere.
// placement is on any one of the hosts; its image folder, which must exist, is on
// storage that all of them share. By default each image is an overlay over the
// installed guest that image_name names, which is never written to. ctx carries
// the limit disk_prepare_timeout. After an error nothing is left behind.
func PrepareImages(ctx context.Context, placement Placement, c Config) (*Images, error) {
	im := &Images{placement: placement}
	for _, device := range c.Devices {
		d, ok := device.(*disk)
		if !ok {
			continue
		}
		err := im.keep(ctx, d)
		if err == nil {
			err = im.make(ctx, d.files(c.Name, im.placement), c.QEMUImg)
		}
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: prepare %s on %s: %w", c.Name, d.name, placement.Host.Name(), err), im.Remove(undo))
		}
	}
	return im, nil
}

// keep notes an image that is to be made and is there: as in virt-test it stays
// what it is, and the guest gets it.
func (im *Images) keep(ctx context.Context, d *disk) error {
	where := d.named(im.placement)
	if !d.create || d.force || where == "" {
		return nil
	}
	exists, err := im.placement.Host.Exists(ctx, where)
	if err != nil || !exists {
		return err
	}
	im.Kept = append(im.Kept, d.name)
	im.placement.Kept = im.Kept
	im.placement.Log.Info("create_image keeps an image that is there", "image", d.name, "path", where)
	return nil
}

func (im *Images) make(ctx context.Context, d diskFiles, qemuImg string) error {
	h := im.placement.Host
	if d.base != "" {
		if err := checkFile(ctx, h, File{"image_name", d.base}); err != nil {
			return err
		}
	}
	switch {
	case d.base == "" && !d.create:
		return checkFile(ctx, h, File{"image_name", d.path})
	case d.keep: // it may be made anew, where it is one
		exists, err := h.Exists(ctx, d.path)
		if err == nil && exists {
			err = checkFile(ctx, h, File{"image_name", d.path})
		}
		if err != nil {
			return err
		}
	}

	if !d.keep {
		entry, err := im.placement.Ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.File, Path: d.path})
		if err != nil {
			return err
		}
		im.made = append(im.made, madeFile{d.path, entry})
	}
	args := []string{qemuImg, "create", "-q", "-f", d.format}
	if d.base != "" {
		args = append(args, "-F", d.baseFormat, "-b", backingPath(im.placement, d))
	}
	size := ""
	if d.size != 0 {
		size = fmt.Sprint(d.size)
	}
	if d.keep {
		return createImage(ctx, h, args, d.path, size)
	}
	made := false
	blank, err := im.placement.Cache.blanks.get(ctx, cacheKey(h, strings.Join(append(slices.Clip(args), size, im.placement.BaseDir), " ")), func(ctx context.Context) ([]byte, error) {
		made = true
		if err := checkBacking(ctx, h, qemuImg, d); err != nil {
			return nil, err
		}
		if err := createImage(ctx, h, args, d.path, size); err != nil {
			return nil, err
		}
		info, err := h.Stat(ctx, d.path)
		if err != nil || info.Size() > maxBlank {
			return nil, err
		}
		return h.ReadFile(ctx, d.path)
	})
	switch {
	case err != nil || made:
		return err
	case blank == nil:
		return createImage(ctx, h, args, d.path, size)
	default:
		return h.WriteFile(ctx, d.path, blank, 0o644)
	}
}

// maxBlank is the size of blank images that are worth keeping. A qcow2 has 192 KiB.
const maxBlank = 256 << 10

func createImage(ctx context.Context, h Host, args []string, path, size string) error {
	args = append(slices.Clip(args), path)
	if size != "" {
		args = append(args, size)
	}
	_, err := h.Run(ctx, host.Command{Args: args})
	exit, ok := errors.AsType[*host.ExitError](err)
	switch {
	case ok && (exit.Output.Status == 126 || exit.Output.Status == 127):
		return explainMissing(h, "qemu_img_binary", args[0], err)
	case ok:
		said := strings.TrimSpace(string(exit.Output.Stderr))
		if hint := lockHint(said); hint != "" {
			said += "; " + hint
		}
		return fmt.Errorf("%s: %s", strings.Join(args[:2], " "), said)
	default:
		return err
	}
}

// backingPath is relative where it can be, so that hosts may mount the shared
// storage at different places.
func backingPath(placement Placement, d diskFiles) string {
	inside := func(p string) bool { return strings.HasPrefix(p, path.Clean(placement.BaseDir)+"/") }
	if placement.BaseDir != "" && inside(d.base) && inside(d.path) {
		if relative, err := filepath.Rel(path.Dir(d.path), d.base); err == nil {
			return relative
		}
	}
	return d.base
}

// mostBackings bounds a chain of images.
const mostBackings = 100

// checkBacking looks through the images that an overlay's base stands on: qemu-img
// would open them all, and wait for ever at a named pipe.
func checkBacking(ctx context.Context, h Host, qemuImg string, d diskFiles) error {
	if d.baseFormat != "qcow2" {
		return nil
	}
	image := d.base
	for range mostBackings {
		out, err := h.Run(ctx, host.Command{Args: []string{qemuImg, "info", "-U", "--output=json", "--", image}, Timeout: askTimeout})
		var info struct {
			Backing string `json:"full-backing-filename"`
		}
		if err != nil || json.Unmarshal(out.Stdout, &info) != nil || !path.IsAbs(info.Backing) {
			return nil //nolint:nilerr // what is wrong with it, qemu-img create tells in its words
		}
		image = path.Clean(info.Backing)
		if err := checkFile(ctx, h, File{"image_name", image}); err != nil {
			return fmt.Errorf("%w, which %s stands on", err, d.base)
		}
	}
	return nil
}

// checkFile makes a missing file, or one that is none of the kind, an error that
// says which one, where, and which param names it. Who opens a named pipe may wait
// for ever.
func checkFile(ctx context.Context, h Host, f File) error {
	info, err := h.Stat(ctx, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no file %s (param %s)", h.Name(), f.Path, f.Param)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", h.Name(), f.Path, err)
	}
	image := strings.HasPrefix(f.Param, "image_name")
	mode := info.Mode()
	is := "a special file"
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		is = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		is = "a named pipe"
	case mode&fs.ModeSocket != 0:
		is = "a socket"
	case mode&fs.ModeCharDevice != 0:
		is = "a character device"
	case mode&fs.ModeDevice != 0 && image:
		return nil
	case mode&fs.ModeDevice != 0:
		is = "a block device"
	}
	want := "a file"
	if image {
		want = "an image file or a block device"
	}
	return fmt.Errorf("%s: %s is %s, want %s (param %s)", h.Name(), f.Path, is, want, f.Param)
}
