// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/stdlib"
)

// Each transport, each feature and each value of its params is in matrix.cfg.
func TestMatrixIsComplete(t *testing.T) {
	t.Parallel()
	c, err := cartesian.ParseFS(stdlib.FS, "cfg/matrix.cfg")
	if err != nil {
		t.Fatal(err)
	}
	transports, features := map[string]bool{}, map[string]bool{}
	values := map[string]map[string]bool{} // by param
	types := migration.TransportTypes()
	for v, err := range c.Variants(t.Context(), cartesian.Options{Defaults: true}) {
		if err != nil {
			t.Fatal(err)
		}
		transports[types[v.Params["mig_protocol"]]] = true
		on, err := migration.FeaturesOn(v.Params)
		if err != nil {
			t.Fatalf("%s: %v", v.ShortName, err)
		}
		for _, name := range on {
			features[name] = true
		}
		if v.Params["hold"] == "yes" {
			features["holding"] = true
		}
		for name, value := range v.Params {
			if values[name] == nil {
				values[name] = map[string]bool{}
			}
			values[name][value] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if !transports[types[name]] {
			t.Errorf("the transport %s is not in matrix.cfg", name)
		}
	}
	for name := range migration.FeatureTypes() {
		// It has nothing to switch on: memory_proof = yes, which all variants have.
		if name != "arrivesStopped" && !features[name] {
			t.Errorf("no variant of matrix.cfg switches the feature %s on", name)
		}
	}
	if !values["memory_proof"]["yes"] || len(values["memory_proof"]) != 1 {
		t.Errorf("memory_proof is %v, want yes in all variants", slices.Collect(maps.Keys(values["memory_proof"])))
	}
	for _, p := range featureParams() {
		choices := p.Choices
		if p.Kind == api.Bool {
			choices = []string{"yes"}
		}
		for _, value := range choices {
			if !values[p.Name][value] && value != p.Default {
				t.Errorf("no variant of matrix.cfg has %s = %s", p.Name, value)
			}
		}
	}
}
