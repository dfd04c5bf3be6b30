// SPDX-License-Identifier: Apache-2.0

package memproof

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// Allowed is a page that differs by design: nothing of it differs but what a device of
// each end's QEMU has written there. Each device explains one page.
//
//	vmgenid   its GUID, which the destination's QEMU writes when it has loaded the guest,
//	          so that the guest learns that it was copied; QMP query-vm-generation-id
type Allowed struct {
	Address uint64
	Device  string // as in -device
}

// allowance is what a device writes into the guest's memory on each end.
type allowance struct {
	device              string
	source, destination []byte // equally long
}

// explains says whether the page differs in what the device writes, and nowhere else.
func (a allowance) explains(page Page) bool {
	first := firstDifference(page.Source, page.Destination)
	for at := max(0, first-len(a.source)+1); at <= first; at++ {
		end := at + len(a.source)
		if end > len(page.Source) {
			return false
		}
		if bytes.Equal(page.Source[at:end], a.source) && bytes.Equal(page.Destination[at:end], a.destination) &&
			bytes.Equal(page.Source[end:], page.Destination[end:]) {
			return true
		}
	}
	return false
}

// askAllowable asks both ends what may differ.
func (p *proof) askAllowable(ctx context.Context) error {
	guids, err := both(ctx, p, (*end).generationID)
	if err != nil {
		return err
	}
	p.asked = true
	if guids[0] != nil && guids[1] != nil {
		p.allowable = append(p.allowable, allowance{"vmgenid", guids[0], guids[1]})
	}
	return nil
}

// generationID is the GUID of the device vmgenid as it is in the guest's memory, nil if
// there is no such device.
func (e *end) generationID(ctx context.Context) ([]byte, error) {
	const command, doing = "query-vm-generation-id", "which pages may differ"
	supported, err := e.Supports(ctx, command)
	if err != nil || !supported {
		return nil, e.fail(doing, err)
	}
	var reply struct {
		GUID string `json:"guid"`
	}
	err = e.Execute(ctx, command, nil, &reply)
	if _, refused := errors.AsType[*qmp.Error](err); refused { // it has no such device
		return nil, nil
	}
	if err != nil {
		return nil, e.fail(doing, err)
	}
	guid, err := hex.DecodeString(strings.ReplaceAll(reply.GUID, "-", ""))
	if err == nil && len(guid) != 16 {
		err = fmt.Errorf("query-vm-generation-id: got %q, want a GUID", reply.GUID)
	}
	if err != nil {
		return nil, e.fail(doing, err)
	}
	for _, field := range [][]byte{guid[:4], guid[4:6], guid[6:8]} { // little-endian in memory
		slices.Reverse(field)
	}
	return guid, nil
}
