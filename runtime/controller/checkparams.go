// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/run"
)

// placesLimit is how long the places of wrong params are looked for.
const placesLimit = 5 * time.Second

// mostChecked is of how many variants CheckParams looks at the params.
const mostChecked = 10_000

// CheckParams returns what a run in strict mode would refuse of the params of a config's variants, as far as no scenario
// and no hosts are needed to tell: wrong values, and params that mhmig does not support, each with the place where its
// first variant has it. It looks at the first variants only, up to limit if that is not negative. An error is that of a
// variant that cannot be built.
func CheckParams(ctx context.Context, config *cartesian.Config, options cartesian.Options, limit int) (*Faults, error) {
	most := mostChecked
	if limit >= 0 {
		most = min(limit, most)
	}
	search, cancel := context.WithTimeout(ctx, placesLimit)
	defer cancel()
	faults, placed := &Faults{}, map[string]string{}
	for v, err := range config.Variants(ctx, options) {
		switch {
		case most == 0:
			return faults, nil
		case err != nil:
			return nil, exit.Usage.Wrap(err)
		}
		most--
		var places map[string]string // computed on demand
		add := func(key, text string) {
			if _, known := placed[text]; !known {
				if places == nil {
					places = origins(search, config, v, options)
				}
				placed[text] = text
				if place := places[key]; place != "" {
					placed[text] = place + ": " + text
				}
			}
			faults.add(placed[text])
		}
		checkVariant(v.Params, add)
	}
	return faults, nil
}

// checkVariant adds what is wrong with a variant's params.
func checkVariant(params cartesian.Params, add func(key, text string)) {
	hosts := run.HostsNeeded(params, 0, run.DefaultHosts)
	for _, fault := range run.CheckAllParams(params, hosts) {
		add(fault.Key, fault.Error())
	}
	for _, u := range run.Unsupported(params, nil) {
		add(u.Key, u.Text)
	}
}
