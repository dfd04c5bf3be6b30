// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// diskPlace is where the disks of a VM are: a folder in the bed's image folder of a host,
// which is on storage that all hosts share, unless images_shared = no.
type diskPlace struct {
	host   *Host
	folder string // below the host's image folder; "": that itself
	entry  int    // of the folder in the ledger; 0: it is removed with the image folder
}

// path is the folder as a path on host h.
func (p diskPlace) path(h *Host) string { return path.Join(h.imageDir, p.folder) }

// SharesImages says whether the hosts share the disks: the param images_shared.
func (b *Bed) SharesImages() bool { return !b.localImages }

// disksOf is where a VM's disks are.
func (b *Bed) disksOf(name string) diskPlace {
	b.mu.Lock()
	defer b.mu.Unlock()
	if place, moved := b.disks[name]; moved {
		return place
	}
	return diskPlace{host: b.hosts[0]}
}

func (b *Bed) setDisks(name string, place diskPlace) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disks[name] = place
}

// PlaceDisks makes sure that a VM whose guest is to start on host h has its disks there.
// If hosts share no images, and the disks are elsewhere, it gets new ones, with a warning
// if a guest has written to the others. A guest that runs keeps its own.
func (b *Bed) PlaceDisks(ctx context.Context, name string, h *Host, params cartesian.Params) error {
	if old := b.disksOf(name); b.SharesImages() || old.host == h || b.Current(name) != nil {
		return nil
	}
	b.mu.Lock()
	ran := b.ran[name]
	b.mu.Unlock()
	if ran {
		b.log.Warn("the guest gets new disks: the hosts share no images (param images_shared)", "vm", name, "host", h.Name())
	}
	hostConfig, err := h.vmConfig(name, params)
	if err != nil {
		return err
	}
	place := diskPlace{host: h}
	placement := b.placement(name, h, 1)
	placement.ImageDir = place.path(h)
	images, err := vm.PrepareImages(ctx, placement, hostConfig.Config)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disks[name] = place
	b.images = append(b.images, images)
	b.kept[name] = images.Kept
	return nil
}

// copyDisks makes a folder on host h with empty images for the disks of a VM that a
// migration copies there.
func (b *Bed) copyDisks(ctx context.Context, name string, h *Host, c vm.Config) (*diskPlace, error) {
	place := diskPlace{host: h, folder: fmt.Sprintf("%s-%s-copy%d", name, h.label, h.NextNumber())}
	dir := place.path(h)
	var err error
	if place.entry, err = b.ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Dir, Path: dir}); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.copies = append(b.copies, place)
	b.mu.Unlock()
	if err := h.MkdirAll(ctx, dir, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: make folder %s: %w", h.Name(), dir, err), b.removeCopies(ctx, place))
	}
	now := b.disksOf(name)
	from, copies := b.placement(name, now.host, 1), b.placement(name, h, 1)
	from.ImageDir, copies.ImageDir = now.path(now.host), dir
	if err := vm.CreateCopies(ctx, from, copies, c); err != nil {
		return nil, errors.Join(err, b.removeCopies(ctx, place))
	}
	return &place, nil
}

// removeCopies removes a folder that copyDisks has made; also when ctx has ended.
func (b *Bed) removeCopies(ctx context.Context, place diskPlace) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	if err := place.host.RemoveAll(ctx, place.path(place.host)); err != nil {
		return fmt.Errorf("%s: remove the copies of disks in %s: %w", place.host.Name(), place.path(place.host), err)
	}
	return b.ledger.Done(place.entry)
}

// arriveDisks makes an instance's copies of the disks the VM's. A VM without disks, which
// needs none where hosts share no images, has its next one where its guest is.
func (i *Instance) arriveDisks() {
	switch b := i.Host.bed; {
	case i.copies != nil:
		b.setDisks(i.Name(), *i.copies)
	case !b.SharesImages() && b.disksOf(i.Name()).host != i.Host:
		b.setDisks(i.Name(), diskPlace{host: i.Host})
	}
}

// leaveDisks removes the copies of the disks that an instance had which has ended, unless
// they are the VM's: its guest has left them, or has never come.
func (b *Bed) leaveDisks(ctx context.Context, i *Instance) error {
	if i.copies == nil || b.disksOf(i.Name()) == *i.copies {
		return nil
	}
	return b.removeCopies(ctx, *i.copies)
}
