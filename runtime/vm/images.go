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

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// disk is one of a VM's images: what lies where, and how it comes to be.
//
//	image_overlay  create_image  the guest writes to           made by PrepareImages
//	yes (default)  no (default)  an overlay in the image dir   the overlay, on image_name
//	yes            yes           an image in the image dir     the image, empty
//	no             no            image_name itself             nothing
//	no             yes           image_name itself             the image, empty; force_create_image: anew
type disk struct {
	image  string // its name in the param images
	path   string // what the guest writes to
	format string // of path: qcow2 or raw

	base       string // what an overlay stands on, or ""
	baseFormat string
	size       int64 // bytes of an image to be made, or 0
	force      bool  // make it even if it is there
	keep       bool  // it outlives the variant
}

// disksOf reads the params of a VM's images.
func disksOf(vm string, p cartesian.Params, place Place) ([]disk, error) {
	var disks []disk
	for _, image := range p.Objects("images") {
		if !plainName.MatchString(image) {
			return nil, fmt.Errorf("param images: got %q, want names of at most 25 letters, digits and ._-, a letter first", image)
		}
		d, err := diskOf(vm, image, p.Object(image), place)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", image, err)
		}
		disks = append(disks, d)
	}
	return disks, nil
}

func diskOf(vm, image string, p cartesian.Params, place Place) (disk, error) {
	format, err := choice(p, "image_format", "qcow2", "qcow2", "raw")
	if err != nil {
		return disk{}, err
	}
	overlay, err := p.Bool("image_overlay", true)
	if err != nil {
		return disk{}, err
	}
	create, err := p.Bool("create_image", false)
	if err != nil {
		return disk{}, err
	}
	force, err := p.Bool("force_create_image", false)
	if err != nil {
		return disk{}, err
	}
	create = create || force

	own := path.Join(place.ImageDir, vm+"-"+image)
	named := ""
	if name := word(p, "image_name", ""); name != "" {
		named = under(place.BaseDir, name+"."+format)
	}
	if named == "" && (!create || !overlay) {
		return disk{}, errors.New("param image_name: missing")
	}

	d := disk{image: image, format: format, force: force}
	switch {
	case overlay && create:
		d.path = own + "." + format
	case overlay:
		d.path, d.format = own+".qcow2", "qcow2"
		d.base, d.baseFormat = named, format
	default:
		d.path, d.keep = named, true
	}
	if create {
		if d.size, err = p.Size("image_size", 0, 1); err != nil {
			return disk{}, err
		}
		if d.size == 0 {
			return disk{}, errors.New("param image_size: create_image needs it, as 10G")
		}
	}
	return d, nil
}

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

// PrepareImages makes the disks of the VM called name before it starts anywhere.
// place is on any one of the hosts; its image folder, which must exist, is on
// storage that all of them share. By default each image is an overlay over the
// installed guest that image_name names, which is never written to. ctx carries
// the limit disk_prepare_timeout. After an error nothing is left behind.
func PrepareImages(ctx context.Context, place Place, name string, p cartesian.Params) (*Images, error) {
	im := &Images{place: place}
	disks, err := disksOf(name, p, place)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, d := range disks {
		if err := im.make(ctx, d, word(p, "qemu_img_binary", "qemu-img")); err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: prepare %s on %s: %w", name, d.image, place.Host.Name(), err), im.Remove(undo))
		}
	}
	return im, nil
}

func (im *Images) make(ctx context.Context, d disk, qemuImg string) error {
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
	blank, err := blanks.get(ctx, siteKey(h, strings.Join(append(slices.Clip(args), size, im.place.BaseDir), " ")), func(ctx context.Context) ([]byte, error) {
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

// blanks are images in which nothing is yet, nil for those that are larger than
// maxBlank: for a run of many variants, writing one again is many times faster
// than qemu-img. Nothing in an image tells its own name.
var blanks memo[[]byte]

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
func backingPath(place Place, d disk) string {
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
