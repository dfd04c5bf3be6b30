// SPDX-License-Identifier: Apache-2.0

package result

// Measure is one of the figures that a VM's move leaves.
type Measure struct {
	Name string `json:"name"` // with its unit, as JSON and databases have it
	Unit string `json:"unit"` // ms, Mbps, s
	More bool   `json:"more"` // the more, the better

	of func(MovedVM) (float64, bool)
}

// Measures are all there are, in the order of reports. A further figure of
// MovedVM is a row here; the comparison of runs and the history then have it.
var Measures = []Measure{
	{Name: "total_time_ms", Unit: "ms", of: queried("total-time")},
	{Name: "downtime_ms", Unit: "ms", of: queried("downtime")},
	{Name: "guest_downtime_ms", Unit: "ms", of: guestDowntime},
	{Name: "throughput_mbps", Unit: "Mbps", More: true, of: queried("ram", "mbps")},
}

// Of returns the figure of a move; false where there is none: a move that did
// not complete has none, as QEMU's figures then say when it broke off.
func (m Measure) Of(moved MovedVM) (float64, bool) {
	if moved.Status != "completed" {
		return 0, false
	}
	return m.of(moved)
}

// guestDowntime is known of guests whose stamps came from both hosts.
func guestDowntime(moved MovedVM) (float64, bool) {
	if moved.Guest == nil || !moved.Guest.Moved {
		return 0, false
	}
	return float64(moved.Guest.Downtime), true
}

// queried reads a number of query-migrate.
func queried(path ...string) func(MovedVM) (float64, bool) {
	return func(moved MovedVM) (float64, bool) {
		var at any = moved.Query
		for _, key := range path {
			object, _ := at.(map[string]any)
			at = object[key]
		}
		n, ok := at.(float64)
		return n, ok
	}
}
