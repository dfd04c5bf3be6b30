// SPDX-License-Identifier: Apache-2.0

package result

// Measure is a metric of a VM's migration.
type Measure struct {
	Name string `json:"name"` // with its unit, as in JSON and databases
	Unit string `json:"unit"` // ms, Mbps, s
	More bool   `json:"more"` // higher is better

	of func(MovedVM) (float64, bool)
}

// Measures are all metrics, in the order of reports. Add a row here for a new metric
// of MovedVM; the comparison of runs and the history then have it.
var Measures = []Measure{
	{Name: "total_time_ms", Unit: "ms", of: queried("total-time")},
	{Name: "downtime_ms", Unit: "ms", of: queried("downtime")},
	{Name: "guest_downtime_ms", Unit: "ms", of: guestDowntime},
	{Name: "memory_proof_ms", Unit: "ms", of: memoryProof},
	{Name: "throughput_mbps", Unit: "Mbps", More: true, of: queried("ram", "mbps")},
}

// Of returns the value of a migration; false if there is none: for a migration that
// did not complete, QEMU's values are those at its abort.
func (m Measure) Of(moved MovedVM) (float64, bool) {
	if moved.Status != "completed" {
		return 0, false
	}
	return m.of(moved)
}

// guestDowntime is known for guests whose stamps came from both hosts.
func guestDowntime(moved MovedVM) (float64, bool) {
	if moved.Guest == nil || !moved.Guest.Moved {
		return 0, false
	}
	return float64(moved.Guest.Downtime), true
}

// memoryProof is known for migrations whose memory was compared.
func memoryProof(moved MovedVM) (float64, bool) {
	if moved.Proof == nil || moved.Proof.Skipped != "" {
		return 0, false
	}
	return float64(moved.Proof.Milliseconds), true
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
