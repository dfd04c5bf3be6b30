// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/result"
)

func TestMeasures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, moved string
		want        map[string]float64
	}{
		{
			"completed", `{"status": "completed", "query": {"total-time": 2310, "downtime": 0, "ram": {"mbps": 902.5}}}`,
			map[string]float64{"total_time_ms": 2310, "downtime_ms": 0, "throughput_mbps": 902.5},
		},
		{
			"stamped", `{"status": "completed", "query": {"downtime": 40}, "guest": {"moved": true, "downtime": 52, "clock_stop": 41}}`,
			map[string]float64{"downtime_ms": 40, "guest_downtime_ms": 52},
		},
		{
			"stamped on the source alone", `{"status": "completed", "query": {"downtime": 40}, "guest": {"moved": false, "downtime": 0}}`,
			map[string]float64{"downtime_ms": 40},
		},
		{
			"proved", `{"status": "completed", "query": {"downtime": 40}, "memory_proof": {"pages": 512, "ms": 700}}`,
			map[string]float64{"downtime_ms": 40, "memory_proof_ms": 700},
		},
		{
			"not proved", `{"status": "completed", "query": {"downtime": 40}, "memory_proof": {"skipped": "post-copy"}}`,
			map[string]float64{"downtime_ms": 40},
		},
		{"without RAM", `{"status": "completed", "query": {"total-time": 7}}`, map[string]float64{"total_time_ms": 7}},
		{"broken off", `{"status": "failed", "query": {"total-time": 7, "ram": {"mbps": 1}}}`, map[string]float64{}},
		{"unknown", `{"status": "completed", "query": {"ram": 3}}`, map[string]float64{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var moved result.MovedVM
			if err := json.Unmarshal([]byte(test.moved), &moved); err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, m := range result.Measures {
				if v, ok := m.Of(moved); ok {
					got[m.Name] = v
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("measures of %s (-want +got):\n%s", test.moved, diff)
			}
		})
	}
}
