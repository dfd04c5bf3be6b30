// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// withNode is a QEMU with a disk, whose bitmaps are as text says, in JSON; "" is a QEMU
// without disks.
func withNode(bitmaps string) qmptest.Script {
	return qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
		switch command {
		case "block-dirty-bitmap-add":
			return map[string]any{}, nil, true
		case "query-named-block-nodes":
			nodes := `[{"node-name": "file_image1", "drv": "file"}, {"node-name": "drive_cd1", "drv": "raw", "ro": true}`
			if bitmaps != "" {
				nodes += `, {"node-name": "drive_image1", "drv": "qcow2", "dirty-bitmaps": [` + bitmaps + `]}`
			}
			return json.RawMessage(nodes + "]"), nil, true
		}
		return nil, nil, false
	}}
}

// A bitmap that has not arrived as it was is found.
func TestDirtyBitmaps(t *testing.T) {
	t.Parallel()
	const good = `{"name": "b", "recording": true, "persistent": true, "granularity": 65536, "count": 131072}`
	const lost = "the source failed first (host1): dirty-bitmaps was on, but the bitmap b of drive_image1 "
	for _, tt := range []struct {
		name, source, destination string
		want                      string
		status                    result.Status
	}{
		{name: "success", source: good, destination: good},
		{name: "more is dirty", source: good, destination: `{"name": "b", "recording": true, "persistent": true, "granularity": 65536, "count": 196608}`},
		{name: "one of two is missing", source: good + "," + `{"name": "c"}`, destination: good, want: "the bitmap c of drive_image1 is missing on vm1@host2", status: result.Fail},
		{name: "another one", source: good, destination: `{"name": "c"}`, want: lost + "is missing on vm1@host2", status: result.Fail},
		{name: "inconsistent", source: good, destination: `{"name": "b", "inconsistent": true}`, want: lost + "is inconsistent", status: result.Fail},
		{name: "not persistent", source: good, destination: `{"name": "b", "recording": true, "granularity": 65536, "count": 131072}`, want: lost + "has persistent = false, not true", status: result.Fail},
		{name: "coarser", source: good, destination: `{"name": "b", "recording": true, "persistent": true, "granularity": 131072, "count": 131072}`, want: lost + "has a granularity of 131072 bytes, not 65536", status: result.Fail},
		{name: "stopped", source: good, destination: `{"name": "b", "persistent": true, "granularity": 65536, "count": 131072}`, want: lost + "does not record any more", status: result.Fail},
		{name: "emptied", source: good, destination: `{"name": "b", "recording": true, "persistent": true, "granularity": 65536, "count": 65536}`, want: lost + "has lost dirty blocks: 131072 bytes were dirty before the move, and 65536 are", status: result.Fail},
		{name: "no disks", want: "param mig_dirty_bitmaps: vm1@host1 has no disk that could have a bitmap", status: result.Error},
		{name: "QEMU adds none", source: " ", destination: " ", want: "dirty-bitmaps was on, but no disk of vm1@host1 had a bitmap", status: result.Fail},
	} {
		c := testCase{
			source: withNode(tt.source), destination: withNode(tt.destination), params: cartesian.Params{"mig_dirty_bitmaps": "yes"}, bed: scriptedDisks(),
			fails: tt.want != "", status: tt.status, want: []string{tt.want},
		}
		if c.fails {
			c.at = "-"
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, c.run)
		})
	}
}

// With QEMU itself, with disks that the hosts share and with such that move: a persistent
// bitmap and another one are on the destination, with what was written before, and record
// what is written there, there and back.
func TestDirtyBitmapsQEMU(t *testing.T) {
	t.Parallel()
	for _, storage := range []string{"none", "nbd"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			params := ownDisks(t)
			maps.Copy(params, cartesian.Params{"mig_storage": storage, "mig_dirty_bitmaps": "yes"})
			if storage == "none" {
				params["images_shared"] = "yes"
			}
			bed := prepared(t, params)
			ctx := t.Context()
			there, back := plan(bed), plan(bed)
			back.Source, back.Destination = back.Destination, back.Source
			dirty := map[string]float64{}
			for _, p := range []migration.Plan{there, back} {
				if err := runBoth(ctx, start(t, bed, p)); err != nil {
					t.Fatal(err)
				}
				i := bed.Current("vm1")
				if err := errors.Join(onDisk(ctx, i, "image1", fmt.Sprintf("write -q %dM 1M", 2+2*len(dirty))), wantBitmaps(ctx, i, dirty)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// wantBitmaps checks the bitmaps of both disks: of image1 that more is dirty than the last
// time.
func wantBitmaps(ctx context.Context, i *testbed.Instance, dirty map[string]float64) error {
	var nodes []struct {
		Name    string           `json:"node-name"`
		Bitmaps []map[string]any `json:"dirty-bitmaps"`
	}
	if err := i.Monitor().Execute(ctx, "query-named-block-nodes", nil, &nodes); err != nil {
		return err
	}
	found := 0
	for _, node := range nodes {
		for _, b := range node.Bitmaps {
			found++
			count, _ := b["count"].(float64)
			if persistent := node.Name == "drive_image1"; b["persistent"] != persistent || b["recording"] != true || persistent && count < dirty[node.Name]+(1<<20) {
				return fmt.Errorf("%s: %s has the bitmap %v, and had %v dirty bytes", i, node.Name, b, dirty[node.Name])
			}
			dirty[node.Name] = count
		}
	}
	if found != 2 {
		return fmt.Errorf("%s has %d bitmaps, want 2: %+v", i, found, nodes)
	}
	return nil
}
