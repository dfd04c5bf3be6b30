// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/host"
)

// Disks are the names of the VM's disks, as the param images has them. The block node of
// each is [DiskNode].
func (c *Config) Disks() []string {
	var names []string
	for _, d := range c.disks() {
		names = append(names, d.name)
	}
	return names
}

// DiskNode is the name of a disk's block node in QEMU: what the guest sees.
func DiskNode(disk string) string { return "drive_" + disk }

// CheckCopied returns the error of each disk that a migration with mig_storage cannot copy.
func (c *Config) CheckCopied() error {
	var errs []error
	for _, d := range c.disks() {
		if !d.overlay {
			errs = append(errs, fmt.Errorf("%s: %w", d.name, &api.ValueError{
				Param: "image_overlay", Objects: []string{d.name}, Unfit: "no, so that the disk is image_name itself: a migration with mig_storage cannot copy it to another place",
			}))
		}
	}
	return errors.Join(errs...)
}

// CheckUncopied returns the error of each floppy disk: the guest writes to it, and no
// migration copies it to a host that does not share its image.
func (c *Config) CheckUncopied() error {
	var errs []error
	for _, device := range c.Devices {
		if f, ok := device.(*floppy); ok && f.disk != "" {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, &api.ValueError{
				Param: "floppy_name", Objects: []string{f.name}, Unfit: "the hosts share no images (images_shared = no), and mig_storage does not copy a floppy disk, to which the guest may write: leave the drive empty",
			}))
		}
	}
	return errors.Join(errs...)
}

// CreateCopies creates an empty image for each of the VM's disks in the image folder of
// copies, which exists, of the size that the disk has in from: where a migration copies
// the disks to. The copies have no backing files. What CheckCopied returns is an error.
func CreateCopies(ctx context.Context, from, copies Placement, c Config) error {
	if err := c.CheckCopied(); err != nil {
		return named(c.Name, err)
	}
	for _, d := range c.disks() {
		size, err := diskSize(ctx, from.Host, c.QEMUImg, d.files(c.Name, from).path)
		if err != nil {
			return fmt.Errorf("%s: the size of disk %s: %w", c.Name, d.name, err)
		}
		f := d.files(c.Name, copies)
		args := []string{c.QEMUImg, "create", "-q", "-f", f.format}
		if err := createImage(ctx, copies.Host, args, f.path, fmt.Sprint(size)); err != nil {
			return fmt.Errorf("%s: create a copy of disk %s on %s: %w", c.Name, d.name, copies.Host.Name(), err)
		}
	}
	return nil
}

// diskSize is the size that the guest sees of an image, in bytes. QEMU may have it open.
func diskSize(ctx context.Context, h Host, qemuImg, image string) (int64, error) {
	out, err := h.Run(ctx, host.Command{Args: []string{qemuImg, "info", "-U", "--output=json", "--", image}, Timeout: queryTimeout})
	if err != nil {
		return 0, err
	}
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(out.Stdout, &info); err != nil {
		return 0, fmt.Errorf("%s: %s info %s: %w", h.Name(), qemuImg, image, err)
	}
	if info.Size <= 0 {
		return 0, errors.New(h.Name() + ": " + qemuImg + " reports no size of " + image)
	}
	return info.Size, nil
}
