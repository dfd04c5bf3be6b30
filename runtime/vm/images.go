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

// Images are the image files that PrepareImages created for one VM.
type Images struct {
	// Kept are the names of the images that create_image has found and not replaced, for
	// [Placement.Kept].
	Kept []string

	placement Placement
	config    Config
	created   []createdFile
}

type createdFile struct {
	path  string
	entry int // in the ledger
}

// Paths are the created files, which Remove will remove.
func (im *Images) Paths() []string {
	paths := make([]string, len(im.created))
	for i, m := range im.created {
		paths[i] = m.path
	}
	return paths
}

// Remove removes the files and marks their ledger entries done. It does not remove base
// images, and images that create_image has created under image_name.
func (im *Images) Remove(ctx context.Context) error {
	var errs []error
	for _, m := range im.created {
		if err := im.placement.Host.RemoveAll(ctx, m.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: remove image %s: %w", im.placement.Host.Name(), m.path, err))
			continue
		}
		errs = append(errs, im.placement.Ledger.Done(m.entry))
	}
	return errors.Join(errs...)
}

// PrepareImages creates the disk images of a VM before it starts anywhere. placement is
// on any of the hosts; its image folder, which must exist, is on storage that all of
// them share. By default each image is an overlay on the installed guest image_name,
// which is never written to. ctx has the limit disk_prepare_timeout. After an error no
// files remain.
func PrepareImages(ctx context.Context, placement Placement, c Config) (*Images, error) {
	im := &Images{placement: placement, config: c}
	for _, d := range c.disks() {
		err := im.findExisting(ctx, d)
		if err == nil {
			err = im.create(ctx, d.files(c.Name, im.placement), c.QEMUImg)
		}
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
			defer cancel()
			return nil, errors.Join(fmt.Errorf("%s: prepare %s on %s: %w", c.Name, d.name, placement.Host.Name(), err), im.Remove(undo))
		}
	}
	return im, nil
}

// disks are the VM's disks.
func (c *Config) disks() (disks []*disk) {
	for _, device := range c.Devices {
		if d, ok := device.(*disk); ok {
			disks = append(disks, d)
		}
	}
	return disks
}

// Renew makes the files anew that PrepareImages created and Remove would remove, in place
// of what was written to them.
func (im *Images) Renew(ctx context.Context) error {
	for _, d := range im.config.disks() {
		if files := d.files(im.config.Name, im.placement); !files.persistent {
			if err := im.write(ctx, files, im.config.QEMUImg); err != nil {
				return fmt.Errorf("%s: make %s on %s anew: %w", im.config.Name, d.name, im.placement.Host.Name(), err)
			}
		}
	}
	return nil
}

// findExisting notes an image that create_image would create but that exists: as in
// virt-test it is used as it is.
func (im *Images) findExisting(ctx context.Context, d *disk) error {
	where := d.imagePath(im.placement)
	if !d.create || d.force || where == "" {
		return nil
	}
	exists, err := im.placement.Host.Exists(ctx, where)
	if err != nil || !exists {
		return err
	}
	im.Kept = append(im.Kept, d.name)
	im.placement.Kept = im.Kept
	im.placement.Log.Info("create_image keeps the existing image", "image", d.name, "path", where)
	return nil
}

func (im *Images) create(ctx context.Context, d diskFiles, qemuImg string) error {
	h := im.placement.Host
	if d.base != "" {
		if err := CheckFile(ctx, h, File{"image_name", d.base}); err != nil {
			return err
		}
	}
	switch {
	case d.base == "" && !d.create:
		if err := CheckFile(ctx, h, File{"image_name", d.path}); err != nil {
			return err
		}
		return checkFiles(ctx, h, qemuImg, d.path, d.format)
	case d.persistent: // only an image may be overwritten
		exists, err := h.Exists(ctx, d.path)
		if err == nil && exists {
			err = CheckFile(ctx, h, File{"image_name", d.path})
		}
		if err != nil {
			return err
		}
	}

	if !d.persistent {
		entry, err := im.placement.Ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.File, Path: d.path})
		if err != nil {
			return err
		}
		im.created = append(im.created, createdFile{d.path, entry})
	}
	return im.write(ctx, d, qemuImg)
}

// write makes the file.
func (im *Images) write(ctx context.Context, d diskFiles, qemuImg string) error {
	h := im.placement.Host
	args := []string{qemuImg, "create", "-q", "-f", d.format}
	if d.base != "" {
		args = append(args, "-F", d.baseFormat, "-b", backingPath(im.placement, d))
	}
	size := ""
	if d.size != 0 {
		size = fmt.Sprint(d.size)
	}
	if d.persistent {
		return createImage(ctx, h, args, d.path, size)
	}
	created := false
	blank, err := im.placement.Cache.blanks.get(ctx, cacheKey(h, strings.Join(append(slices.Clip(args), size, im.placement.BaseDir), " ")), func(ctx context.Context) ([]byte, error) {
		created = true
		if d.base != "" {
			if err := checkFiles(ctx, h, qemuImg, d.base, d.baseFormat); err != nil {
				return nil, err
			}
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
	case err != nil || created:
		return err
	case blank == nil:
		return createImage(ctx, h, args, d.path, size)
	default:
		return h.WriteFile(ctx, d.path, blank, 0o644)
	}
}

// maxBlank is the maximum size of new images in the cache. A qcow2 has 192 KiB.
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
		message := strings.TrimSpace(string(exit.Output.Stderr))
		if hint := lockHint(message); hint != "" {
			message += "; " + hint
		}
		return fmt.Errorf("%s: %s", strings.Join(args[:2], " "), message)
	default:
		return err
	}
}

// backingPath is relative if possible, so that hosts may mount the shared storage at
// different paths.
func backingPath(placement Placement, d diskFiles) string {
	inside := func(p string) bool { return strings.HasPrefix(p, path.Clean(placement.BaseDir)+"/") }
	if placement.BaseDir != "" && inside(d.base) && inside(d.path) {
		if relative, err := filepath.Rel(path.Dir(d.path), d.base); err == nil {
			return relative
		}
	}
	return d.base
}

// maxBackings is the maximum length of a backing chain.
const maxBackings = 100

// checkFiles checks the files of which an image is made, with its backing files: QEMU and
// qemu-img open all of them, and hang on a named pipe.
func checkFiles(ctx context.Context, h Host, qemuImg, image, format string) error {
	_, err := imageFiles(ctx, h, qemuImg, image, format)
	if errors.Is(err, errFilesUnknown) { // what opens the image reports it
		return nil
	}
	return err
}

// errFilesUnknown is the error of imageFiles when qemu-img cannot read an image, or its
// backing or data is not a file of the host.
var errFilesUnknown = errors.New("its backing file, or that of its data, is not known")

// imageFiles are the files of an image that exists: its own, that of its data if it is
// another one (qcow2's data_file), and those of its backing files. One that is missing, or
// not a file or block device, is an error. Only the image itself has been checked before.
func imageFiles(ctx context.Context, h Host, qemuImg, image, format string) ([]string, error) {
	files := []string{image}
	if format != "qcow2" {
		return files, nil
	}
	check := func(file, is string) error {
		if err := CheckFile(ctx, h, File{"image_name", file}); err != nil {
			return fmt.Errorf("%w, %s", err, is)
		}
		files = append(files, file)
		return nil
	}
	next := image
	for range maxBackings {
		backing, data, err := linkedFiles(ctx, h, qemuImg, next)
		if err != nil {
			return nil, err
		}
		for _, file := range data {
			if err := check(file, "the data file of "+next); err != nil {
				return nil, err
			}
		}
		if backing == "" {
			return files, nil
		}
		if err := check(backing, "a backing file of "+image); err != nil {
			return nil, err
		}
		next = backing
	}
	return nil, fmt.Errorf("%s: %s: %w: there are more than %d", h.Name(), image, errFilesUnknown, maxBackings)
}

// linkedFiles are the backing file of an image, "" if it has none, and what may be the file
// of its data. A relative name of the latter is one in the working folder of the QEMU or
// qemu-img that opens it; then those that exist there, and beside the image.
func linkedFiles(ctx context.Context, h Host, qemuImg, image string) (backing string, data []string, err error) {
	var info struct {
		Backing  string `json:"full-backing-filename"`
		Specific struct {
			Data struct {
				File string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	out, err := h.Run(ctx, host.Command{Args: []string{qemuImg, "info", "-U", "--output=json", "--", image}, Timeout: queryTimeout})
	if err == nil {
		err = json.Unmarshal(out.Stdout, &info)
	}
	name := strings.TrimPrefix(info.Specific.Data.File, "file:")
	protocol, _, _ := strings.Cut(name, "/")
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // an old qemu-img opens the data file
		return "", nil, fmt.Errorf("%s: %s info %s does not end; is one of the image's files a named pipe, or on storage that is down? %w", h.Name(), qemuImg, image, err)
	case err != nil || info.Backing != "" && !path.IsAbs(info.Backing) || strings.Contains(protocol, ":"):
		return "", nil, errors.Join(fmt.Errorf("%s: %s: %w", h.Name(), image, errFilesUnknown), err)
	case info.Backing != "":
		backing = path.Clean(info.Backing)
	}
	switch {
	case name == "":
	case path.IsAbs(name):
		data = []string{name}
	default:
		for _, file := range []string{name, path.Join(path.Dir(image), name)} {
			exists, err := h.Exists(ctx, file)
			if err != nil {
				return "", nil, err
			}
			if exists {
				data = append(data, file)
			}
		}
	}
	return backing, data, nil
}

// CheckFile returns an error for a missing file, or one of the wrong type, with the
// host, the path and the param that names it. Opening a named pipe could hang.
func CheckFile(ctx context.Context, h Host, f File) error {
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
