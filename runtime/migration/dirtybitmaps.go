// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/runtime/vm"
)

const (
	dirtyBitmapsCapability = "dirty-bitmaps"
	// ownBitmap is the name of the bitmap that a disk gets which has none.
	ownBitmap = "mhmig"
)

// dirtyBitmaps is the feature of mig_dirty_bitmaps: the disks' dirty bitmaps, by which a
// backup knows what the guest has written since the last one, move with the guest. A disk
// that has none gets one, which is persistent where its image can store it.
type dirtyBitmaps struct {
	switched
	noted []diskBitmap // of the source, before the move
}

func newDirtyBitmaps(o options, _ Traits) Feature {
	return &dirtyBitmaps{switched: switched{dirtyBitmapsCapability, o.dirtyBitmaps}}
}

// blockNode is a part of QMP's BlockDeviceInfo.
type blockNode struct {
	Name     string        `json:"node-name"`
	Driver   string        `json:"drv"`
	ReadOnly bool          `json:"ro"`
	Bitmaps  []dirtyBitmap `json:"dirty-bitmaps"`
}

// dirtyBitmap is a part of QMP's BlockDirtyInfo.
type dirtyBitmap struct {
	Name         string
	Recording    bool
	Persistent   bool
	Inconsistent bool
	Granularity  int64
	Count        int64 // bytes that are dirty
}

// diskBitmap is a bitmap and its disk's block node.
type diskBitmap struct {
	node string
	dirtyBitmap
}

// queryDisks asks a QEMU for the block nodes of the disks that the guest can write to.
func queryDisks(ask func(command string, arguments, reply any) error) ([]blockNode, error) {
	var all []blockNode
	if err := ask("query-named-block-nodes", nil, &all); err != nil {
		return nil, err
	}
	var disks []blockNode
	for _, node := range all {
		if strings.HasPrefix(node.Name, vm.DiskNode("")) && !node.ReadOnly {
			disks = append(disks, node)
		}
	}
	return disks, nil
}

// Set gives the source's disks bitmaps, and notes them.
func (f *dirtyBitmaps) Set(ctx context.Context, role Role, p Peer) error {
	if !f.on || role == DestinationRole {
		return nil
	}
	ask := func(command string, arguments, reply any) error { return p.Execute(ctx, command, arguments, reply) }
	disks, err := queryDisks(ask)
	if err != nil {
		return err
	}
	if len(disks) == 0 {
		return fmt.Errorf("param mig_dirty_bitmaps: %s has no disk that could have a bitmap", p)
	}
	for _, disk := range disks {
		if len(disk.Bitmaps) == 0 {
			bitmap := map[string]any{"node": disk.Name, "name": ownBitmap, "persistent": disk.Driver == "qcow2"}
			if err := ask("block-dirty-bitmap-add", bitmap, nil); err != nil {
				return err
			}
		}
	}
	if disks, err = queryDisks(ask); err != nil {
		return err
	}
	f.noted = nil
	for _, disk := range disks {
		for _, bitmap := range disk.Bitmaps {
			f.noted = append(f.noted, diskBitmap{disk.Name, bitmap})
		}
	}
	return nil
}

// Check checks that the destination has each bitmap of the source, with everything that
// was dirty in it, and that it records on if it did.
func (f *dirtyBitmaps) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	if len(f.noted) == 0 {
		return unused("dirty-bitmaps was on, but no disk of %s had a bitmap", o.End(SourceRole))
	}
	disks, err := queryDisks(func(command string, _, reply any) error { return o.Ask(ctx, DestinationRole, command, reply) })
	if err != nil {
		return err
	}
	for _, want := range f.noted {
		if err := want.arrived(disks); err != nil {
			return unused("dirty-bitmaps was on, but the bitmap %s of %s %w on %s", want.Name, want.node, err, o.End(DestinationRole))
		}
	}
	o.Used(dirtyBitmapsCapability, "the destination has the %d bitmaps of the source, with what was dirty in them", len(f.noted))
	return nil
}

// arrived says what is wrong with a bitmap on the destination.
func (b diskBitmap) arrived(disks []blockNode) error {
	for _, disk := range disks {
		for _, got := range disk.Bitmaps {
			if disk.Name != b.node || got.Name != b.Name {
				continue
			}
			switch {
			case got.Inconsistent:
				return errors.New("is inconsistent")
			case got.Persistent != b.Persistent:
				return fmt.Errorf("has persistent = %v, not %v,", got.Persistent, b.Persistent)
			case got.Granularity != b.Granularity:
				return fmt.Errorf("has a granularity of %d bytes, not %d,", got.Granularity, b.Granularity)
			case b.Recording && !got.Recording:
				return errors.New("does not record any more")
			case got.Count < b.Count:
				return fmt.Errorf("has lost dirty blocks: %d bytes were dirty before the move, and %d are", b.Count, got.Count)
			}
			return nil
		}
	}
	return errors.New("is missing")
}
