// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/cmd/explore"
	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/controller/display"
	"github.com/mhmig/mhmig/runtime/interrupt"
)

func newExploreCommand() *cobra.Command { return explore.NewCommand(&exploreRuns{}) }

// exploreRuns are the runs of mhmig explore.
type exploreRuns struct{ execFlags }

func (r *exploreRuns) AddFlags(flags *pflag.FlagSet) {
	r.configFlags.flags(flags)
	flags.StringVar(&r.config, "config", "", "config `FILE` (default: mhmig's own)")
	flags.Uint64Var(&r.execFlags.Seed, "seed", 0, "the `NUMBER` that the steps depend on (default: random, and printed)")
	hostflags.AddHosts(flags, &r.Hosts)
	r.lab.Add(flags)
	flags.StringVar(&r.execFlags.Results, "results", resultsDir, "`DIR` for the folders of results")
	flags.DurationVar(&r.Timeout, "timeout", 0, "end a walk after this `TIME`, such as 30m (default: no limit)")
	flags.BoolVar(&r.json, "json", false, "write the events of the walk to stdout as JSON lines instead of text")
	flags.BoolVarP(&r.verbose, "verbose", "v", false, "show every remote command and QMP message of the walk")
	r.format, r.Repeat, r.MaxVariants, r.limits = textFormat, 1, 1, star.DefaultLimits
}

func (r *exploreRuns) CheckFlags(flags *pflag.FlagSet) error { return r.check(flags) }

func (r *exploreRuns) Seed() uint64 { return r.execFlags.Seed }

func (r *exploreRuns) Results() string { return r.execFlags.Results }

func (r *exploreRuns) Run(c *cobra.Command, scenario string, params []string, shown bool) (controller.Outcome, error) {
	interrupt.IgnoreBrokenPipe()
	one := r.execFlags
	one.Scenario, one.params = scenario, append(append([]string{}, r.params...), params...)
	q, err := one.request()
	if err != nil {
		return controller.Outcome{}, err
	}
	if !shown {
		return controller.Run(c.Context(), q, controller.Sinks{WriteFailed: display.Messages(c.ErrOrStderr()).WriteFailed})
	}
	view := display.New(c.OutOrStdout(), c.ErrOrStderr(), r.keyboard)
	view.JSON, view.Verbose = r.json, r.verbose
	defer view.Close()
	return controller.Run(c.Context(), q, view.Sinks())
}
