// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Subset is which variants run, and in which order.
type Subset struct {
	RerunFailed bool   // only those that did not pass in the latest run
	Shard       string // I/N, see [run.ParseShard]; "": all
	Shuffle     bool
	Seed        uint64 // of the order of Shuffle, and of the scenarios' random numbers
}

// Plan is the variants to run.
type Plan struct {
	Variants      run.Sequence
	Count         int
	NothingFailed bool // with RerunFailed: there is nothing to run

	request    *Request
	config     *cartesian.Config
	scenarios  *scenarios
	quarantine *run.Quarantine
	first      *cartesian.Variant // nil: there is nothing to do
	notes      []string           // messages for the user
}

// NewPlan reads the files of a request, and iterates once over all variants: it selects
// those that run, and checks them before anything is created.
func NewPlan(ctx context.Context, q Request, s Sinks) (*Plan, error) {
	p := &Plan{request: &q, scenarios: &scenarios{Request: &q, byType: map[string]*star.Scenario{}}}
	var err error
	if q.Scenario != "" {
		if p.scenarios.one, err = p.scenarios.load(ctx, q.Scenario); err != nil {
			return nil, err
		}
	}
	if err := p.readConfig(s); err != nil {
		return nil, err
	}
	if q.Quarantine != "" {
		if p.quarantine, err = run.ReadQuarantine(q.Quarantine); err != nil {
			return nil, exit.Usage.Wrap(err)
		}
	}
	if err := p.selectVariants(ctx, s); err != nil {
		return nil, err
	}
	if s.Warn != nil {
		s.Warn(api.Warnings(p.config, q.Extras))
	}
	s.note(p.quarantine.Expired(time.Now())...)
	s.note(p.notes...)
	return p, nil
}

// readConfig reads the request's config.
func (p *Plan) readConfig(s Sinks) (err error) {
	q := p.request
	if p.config, err = (cartesian.Reader{Libraries: q.Libraries}).Read(cmp.Or(q.Config, q.DefaultConfig), q.Extras...); err != nil {
		return exit.Usage.Wrap(err)
	}
	faults := p.config.Typos() // a typo must not run fewer variants and pass
	if q.Strict {
		done := s.busy("checking the config")
		faults = api.Faults(p.config, q.Extras)
		done()
	}
	if faults != nil {
		return exit.Usage.Wrap(faults)
	}
	return nil
}

// Scenario is the scenario of a variant with these params.
func (p *Plan) Scenario(params cartesian.Params) *star.Scenario { return p.scenarios.of(params) }

// origins returns where each param of a variant was set last, for the report. Params whose
// origin is unknown are left out.
func (p *Plan) origins(ctx context.Context, v *cartesian.Variant) map[string]string {
	return origins(ctx, p.config, v, p.request.Options)
}

func origins(ctx context.Context, config *cartesian.Config, v *cartesian.Variant, options cartesian.Options) map[string]string {
	places := map[string]string{}
	explanation, err := config.Explain(ctx, v.Name, options)
	if err != nil {
		return places
	}
	for _, param := range explanation.Params {
		for _, step := range param.Steps {
			if !step.Kept && step.File != "" {
				places[param.Key] = step.Location.String()
			}
		}
	}
	return places
}

// selectVariants selects the variants.
func (p *Plan) selectVariants(ctx context.Context, s Sinks) (err error) {
	q := p.request
	if err := p.checkCount(ctx, s); err != nil {
		return err
	}
	done := s.busy("planning the run")
	defer done()
	p.Variants = p.config.Variants(ctx, q.Options)
	if q.RerunFailed {
		failed, err := q.failedBefore()
		if err != nil {
			return err
		}
		if len(failed) == 0 {
			p.NothingFailed = true
			return nil
		}
		p.Variants = run.Only(p.Variants, failed)
		next, stop := iter.Pull2(p.Variants)
		_, _, some := next()
		stop()
		if !some {
			return exit.Usage.Wrap(fmt.Errorf("--rerun failed: no variant that failed in %s is among those of this config and these filters", q.latest()))
		}
	}
	if p.notes, err = run.MissingDependencies(p.Variants); err != nil {
		return exit.Usage.Wrap(err)
	}
	if q.Shard != "" {
		shard, err := run.ParseShard(q.Shard)
		if err != nil {
			return exit.Usage.Default(err)
		}
		p.Variants = shard.Of(p.Variants)
	}
	if q.Shuffle {
		p.Variants = run.Shuffle(p.Variants, q.Seed)
	}
	for v, err := range p.Variants {
		if err != nil {
			return exit.Usage.Wrap(err)
		}
		if err := p.scenarios.loadFor(ctx, v); err != nil {
			return exit.Usage.Default(err)
		}
		if err := run.CheckHostsNeeded(v.Params); err != nil {
			return exit.Usage.Wrap(fmt.Errorf("variant %s: %w", v.ShortName, err))
		}
		for _, name := range v.Params.Objects("vms") {
			if err := vm.CheckGuestMemory(name, v.Params.Object(name)); err != nil {
				return exit.Usage.Wrap(fmt.Errorf("variant %s: %w", v.ShortName, err))
			}
		}
		if p.first == nil {
			p.first = v
		}
		p.Count++
	}
	return nil
}

// checkCount checks that the config has variants, and not more than allowed.
func (p *Plan) checkCount(ctx context.Context, s Sinks) error {
	q := p.request
	done := s.busy("looking for the first variant")
	err := p.checkAny(ctx)
	done()
	if err != nil {
		return err
	}
	done = s.busy(fmt.Sprintf("checking whether there are more than %d variants", q.MaxVariants))
	err = CheckNumber(ctx, p.config, q.Options, q.MaxVariants)
	done()
	return err
}

// names yields the names of the plan's variants.
func (p *Plan) names(yield func(string) bool) {
	for v, err := range p.Variants {
		if err != nil || !yield(v.Name) { // NewPlan has returned errors
			return
		}
	}
}

// checkAny checks that the config has any variant: a typo must not run nothing and pass.
func (p *Plan) checkAny(ctx context.Context) error {
	next, stop := iter.Pull2(p.config.Variants(ctx, p.request.Options))
	defer stop()
	_, err, some := next()
	switch {
	case err != nil:
		return exit.Usage.Wrap(err)
	case some:
		return nil
	}
	why := p.config.WhyEmpty(ctx, p.request.Options)
	for _, remark := range api.Warnings(p.config, p.request.Extras) { // possible mistakes
		if !slices.ContainsFunc(why, remark.Same) {
			why = append(why, remark)
		}
	}
	why.Sort()
	return exit.Usage.Wrap(append(why, diag.Diagnostic{Message: "no variant is left to run: see mhmig list for all names"}))
}

// CheckNumber returns an error if a config has more variants than limit, which is
// --max-variants, or 1 for commands that run one. A mistake in a filter can result in
// millions.
func CheckNumber(ctx context.Context, config *cartesian.Config, options cartesian.Options, limit int) error {
	switch more, err := config.Exceeds(ctx, limit, options); {
	case err != nil:
		return exit.Usage.Wrap(err)
	case more && limit == 1:
		return exit.Usage.Wrap(errors.New("the config has more than one variant; narrow it with --filter, or --defaults"))
	case more:
		return exit.Usage.Wrap(fmt.Errorf(
			"--max-variants %d: the config has more variants than that; narrow it with --filter, or allow more with --max-variants", limit))
	}
	return nil
}
