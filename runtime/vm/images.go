// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// Images are the files that PrepareImages made for one VM.
type Images struct {
	place Place
	made  []madeFile
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
		if err := im.place.Host.RemoveAll(ctx, m.path); err != nil {
			all = append(all, fmt.Errorf("%s: remove image %s: %w", im.place.Host.Name(), m.path, err))
			continue
		}
		all = append(all, im.place.Ledger.Done(m.entry))
	}
	return errors.Join(all...)
}

// PrepareImages makes the disks of a VM before it starts anywhere.
// place is on any one of the hosts; its image folder, which must exist, is on
// storage that all of them share. By default each image is an overlay over the
// installed guest that image_name names, which is never written to. ctx carries
// the limit disk_prepare_timeout. After an error nothing is left behind.
func PrepareImages(ctx context.Context, place Place, c Config) (*Images, error) {
	im := &Images{place: place}
	for _, device := range c.Devices {
		d, ok := device.(*disk)
		if !ok {
			continue
		}
		if err := im.make(ctx, d.files(c.Name, place), c.QEMUImg); err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: prepare %s on %s: %w", c.Name, d.name, place.Host.Name(), err), im.Remove(undo))
		}
	}
	return im, nil
}

func (im *Images) make(ctx context.Context, d diskFiles, qemuImg string) error {
	h := im.place.Host
	if d.base != "" {
		if err := checkFile(ctx, h, File{"image_name", d.base}); err != nil {
			return err
		}
	}
	if d.base == "" && d.size == 0 {
		return checkFile(ctx, h, File{"image_name", d.path})
	}
	if d.keep && !d.force {
		exists, err := h.Exists(ctx, d.path)
		if err != nil || exists {
			return err
		}
	}

	if !d.keep {
		entry, err := im.place.Ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.File, Path: d.path})
		if err != nil {
			return err
		}
		im.made = append(im.made, madeFile{d.path, entry})
	}
	args := []string{qemuImg, "create", "-q", "-f", d.format}
	if d.base != "" {
		args = append(args, "-F", d.baseFormat, "-b", backingPath(im.place, d))
	}
	size := ""
	if d.size != 0 {
		size = fmt.Sprint(d.size)
	}
	if d.keep {
		return createImage(ctx, h, args, d.path, size)
	}
	made := false
	blank, err := im.place.Cache.blanks.get(ctx, siteKey(h, strings.Join(append(slices.Clip(args), size, im.place.BaseDir), " ")), func(ctx context.Context) ([]byte, error) {
		made = true
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

func createImage(ctx context.Context, h *host.Host, args []string, path, size string) error {
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
		return fmt.Errorf("%s: %s", strings.Join(args[:2], " "), strings.TrimSpace(string(exit.Output.Stderr)))
	default:
		return err
	}
}

// backingPath is relative where it can be, so that hosts may mount the shared
// storage at different places.
func backingPath(place Place, d diskFiles) string {
	inside := func(p string) bool { return strings.HasPrefix(p, path.Clean(place.BaseDir)+"/") }
	if place.BaseDir != "" && inside(d.base) && inside(d.path) {
		if relative, err := filepath.Rel(path.Dir(d.path), d.base); err == nil {
			return relative
		}
	}
	return d.base
}

// checkFile makes a missing file an error that says which one, where, and which
// param names it.
func checkFile(ctx context.Context, h *host.Host, f File) error {
	exists, err := h.Exists(ctx, f.Path)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", h.Name(), f.Path, err)
	}
	if !exists {
		return fmt.Errorf("%s: no file %s (param %s)", h.Name(), f.Path, f.Param)
	}
	return nil
}
