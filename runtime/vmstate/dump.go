// SPDX-License-Identifier: Apache-2.0

package vmstate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// dumpMachine is the key of the machine type, beside the kinds of devices.
const dumpMachine = "vmschkmachine"

type dumpedDevice struct {
	Name        string       `json:"Name"`
	Version     int64        `json:"version_id"`
	MinVersion  int64        `json:"minimum_version_id"`
	Description *dumpedState `json:"Description"`
}

type dumpedState struct {
	Name        string        `json:"name"`
	Version     int64         `json:"version_id"`
	MinVersion  int64         `json:"minimum_version_id"`
	Fields      []dumpedField `json:"Fields"`
	Subsections []dumpedState `json:"Subsections"`
}

type dumpedField struct {
	Name        string       `json:"field"`
	Version     int64        `json:"version_id"`
	Num         *int64       `json:"num"` // of the elements of an array
	Size        int64        `json:"size"`
	Description *dumpedState `json:"Description"`
}

// readDump reads what -dump-vmstate wrote: an object with a member for each kind of
// device.
func readDump(r io.ReaderAt, size int64) (*Stream, error) {
	if size > maxDescription {
		return nil, faultAt(0, "the JSON has %d bytes, want at most %d", size, maxDescription)
	}
	text := make([]byte, size)
	if _, err := r.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, jsonFault(0, "-dump-vmstate's JSON", err)
	}
	if all[dumpMachine] == nil {
		return nil, faultAt(0, "the JSON is not of -dump-vmstate: it has no %q", dumpMachine)
	}
	s := &Stream{Kind: Dumped, Size: size}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var device dumpedDevice
		if err := json.Unmarshal(all[name], &device); err != nil {
			return nil, faultAt(int64(max(bytes.Index(text, all[name]), 0)), "%s: %w", name, err)
		}
		if name == dumpMachine {
			s.Machine = device.Name
			continue
		}
		state := &State{}
		if device.Description != nil {
			var err error
			if state, err = device.Description.state(); err != nil {
				return nil, faultAt(int64(max(bytes.Index(text, all[name]), 0)), "%s: %w", name, err)
			}
		}
		state.Version, state.MinVersion = device.Version, device.MinVersion
		s.Devices = append(s.Devices, &Device{Name: name, State: *state})
	}
	return s, nil
}

func (d *dumpedState) state() (*State, error) {
	state := &State{Type: d.Name, Version: d.Version, MinVersion: d.MinVersion}
	for _, described := range d.Fields {
		f := Field{Name: described.Name, Size: described.Size, Count: 1, Version: described.Version}
		if described.Num != nil {
			f.Count = *described.Num
		}
		if f.Size < 0 || f.Count < 0 {
			return nil, fmt.Errorf("field %s: size %d, num %d: want no negative numbers", f.Name, f.Size, f.Count)
		}
		if described.Description != nil {
			var err error
			if f.Struct, err = described.Description.state(); err != nil {
				return nil, fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
		state.Fields = append(state.Fields, f)
	}
	for _, below := range d.Subsections {
		sub, err := below.state()
		if err != nil {
			return nil, fmt.Errorf("subsection %s: %w", below.Name, err)
		}
		state.Subsections = append(state.Subsections, sub)
	}
	return state, nil
}
