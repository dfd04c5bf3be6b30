// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/vm"
)

// choice is what the flags say of which variants run, and in which order.
type choice struct {
	rerun   string
	shard   string
	shuffle bool
	seed    uint64
}

func (c *choice) flags(flags *pflag.FlagSet) {
	flags.StringVar(&c.rerun, "rerun", "", "run only those variants of the latest run that are `WHICH`: failed")
	flags.StringVar(&c.shard, "shard", "", "run only part `I/N` of the variants; which one a variant is in depends on its name alone")
	flags.BoolVar(&c.shuffle, "shuffle", false, "run the variants in random order")
	flags.Uint64Var(&c.seed, "seed", 0, "the order of --shuffle: `NUMBER` (default: a random one, which the run tells)")
}

func (c *choice) check(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("rerun") && c.rerun != "failed":
		return fmt.Errorf("--rerun %s: want failed", c.rerun)
	case flags.Changed("seed") && !c.shuffle:
		return errors.New("--seed is for --shuffle, which is not given")
	case c.shard != "" || flags.Changed("shard"):
		if _, err := run.ParseShard(c.shard); err != nil {
			return fmt.Errorf("--shard: %w", err)
		}
	}
	if c.shuffle && !flags.Changed("seed") {
		c.seed = rand.Uint64()
	}
	return nil
}

// plan is the variants that are to run.
type plan struct {
	variants run.Sequence
	first    *cartesian.Variant // nil: there is nothing to do
	count    int
	notes    []string // what a person should know of it

	nothingFailed bool // so that nothing is to run again
}

// plan goes once through all variants: it picks those that are wanted and finds
// what is wrong before anything is made.
func (e *execution) plan(command *cobra.Command, config *cartesian.Config, options cartesian.Options, scenes *repertoire) (*plan, error) {
	ctx := command.Context()
	wait := waitFor(command, "looking for the first variant")
	_, err := e.firstVariant(ctx, config, options)
	wait.Done()
	if err != nil {
		return nil, err
	}
	if err := limitVariants(command, config, options, e.most); err != nil {
		return nil, err
	}
	wait = waitFor(command, "planning the run")
	defer wait.Done()
	p := &plan{variants: config.Variants(ctx, options)}
	if e.rerun != "" {
		failed, err := e.failedBefore()
		if err != nil {
			return nil, err
		}
		if len(failed) == 0 {
			p.nothingFailed = true
			return p, nil
		}
		p.variants = run.Only(p.variants, failed)
		next, stop := iter.Pull2(p.variants)
		_, _, some := next()
		stop()
		if !some {
			return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: no variant that failed in %s is among those of this config and these filters", e.latest()))
		}
	}
	if p.notes, err = run.Unmet(p.variants); err != nil {
		return nil, exit.Usage.Wrap(err)
	}
	if e.shard != "" {
		shard, err := run.ParseShard(e.shard)
		if err != nil {
			return nil, err
		}
		p.variants = shard.Of(p.variants)
	}
	if e.shuffle {
		p.variants = run.Shuffle(p.variants, e.seed)
	}
	for v, err := range p.variants {
		if err != nil {
			return nil, exit.Usage.Wrap(err)
		}
		if err := scenes.learn(ctx, v); err != nil {
			return nil, err
		}
		if n, err := v.Params.Int("hosts_needed", 1); err != nil || n < 1 {
			return nil, exit.Usage.Wrap(fmt.Errorf("variant %s: param hosts_needed: got %q, want a number, 1 or more", v.ShortName, v.Params["hosts_needed"]))
		}
		for _, name := range v.Params.Objects("vms") {
			if err := vm.CheckGuestMemory(name, v.Params.Object(name)); err != nil {
				return nil, exit.Usage.Wrap(fmt.Errorf("variant %s: %w", v.ShortName, err))
			}
		}
		if p.first == nil {
			p.first = v
		}
		p.count++
	}
	return p, nil
}

// names yields the names of the plan's variants.
func (p *plan) names(yield func(string) bool) {
	for v, err := range p.variants {
		if err != nil || !yield(v.Name) { // an error has shown when the plan was made
			return
		}
	}
}

func (e *execution) latest() string { return filepath.Join(e.results, result.LatestLink) }

// failedBefore returns the names of the variants that did not pass in the latest
// run, or did not even begin.
func (e *execution) failedBefore() (map[string]bool, error) {
	if _, err := result.LoadRun(e.latest()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no latest run in %s", e.results)
		}
		return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
	}
	names, err := result.Planned(e.latest())
	if err != nil {
		return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
	}
	if names == nil {
		names = map[string]bool{}
	}
	bad := map[string]bool{} // of repeats one may be good
	for o, err := range result.Outcomes(e.latest()) {
		if err != nil {
			return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
		}
		bad[o.Name] = bad[o.Name] || !o.Status.OK() || o.Status == result.Cancel
		names[o.Name] = bad[o.Name]
	}
	maps.DeleteFunc(names, func(_ string, wanted bool) bool { return !wanted })
	return names, nil
}

// firstVariant checks that the config has any variant at all: a typo must
// never run nothing and pass.
func (e *execution) firstVariant(ctx context.Context, config *cartesian.Config, options cartesian.Options) (*cartesian.Variant, error) {
	next, stop := iter.Pull2(config.Variants(ctx, options))
	defer stop()
	v, err, any := next()
	switch {
	case err != nil:
		return nil, exit.Usage.Wrap(err)
	case any:
		return v, nil
	}
	nothing := diag.Diagnostic{Message: "no variant is left to run: see mhmig list for all names"}
	return nil, exit.Usage.Wrap(append(whyEmpty(ctx, config, options, e.warnings(config)), nothing))
}

// show writes what would run, and where.
func (e *execution) show(w, stderr io.Writer, p *plan, scenes *repertoire, origins func(*cartesian.Variant) map[string]string) error {
	hosts := e.hosts
	where := "of --hosts"
	if len(hosts) == 0 {
		hosts, where = e.lab.wouldUse()
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VARIANT\tSCENARIO\tHOSTS\tVMS")
	share := run.FairShare(len(hosts), e.parallel, p.count*e.repeat)
	least := len(hosts)
	var wrong, doubtful paramFaults
	for v, err := range p.variants {
		if err != nil {
			return exit.Usage.Wrap(err)
		}
		scenario := scenes.of(v.Params)
		needed := run.HostsNeeded(v.Params, scenario.HostsNeeded, share)
		e.checkParams(v, scenario, needed, origins, &wrong, &doubtful)
		least = min(least, needed)
		text := fmt.Sprint(needed)
		if needed > len(hosts) {
			text += ": SKIP"
		}
		name := v.ShortName
		if len(v.Dep) > 0 {
			name += " (after " + strings.Join(v.Dep, ", ") + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, scenario.Path, text, describeVMs(v.Params))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	repeats := ""
	switch {
	case e.untilFailure && e.repeat > 0:
		repeats = fmt.Sprintf(", up to %d times", e.repeat)
	case e.untilFailure:
		repeats = ", until one fails"
	case e.repeat > 1:
		repeats = fmt.Sprintf(", %d times", e.repeat)
	}
	fmt.Fprintf(w, "\n%d variants%s, on %d hosts %s: %s\n", p.count, repeats, len(hosts), where, strings.Join(hosts, ", "))
	width := len(hosts) / max(least, 1)
	if e.parallel > 0 {
		width = min(width, e.parallel)
	}
	switch {
	case e.share:
		fmt.Fprintln(w, "as many at the same time as the hosts' memory and processors allow")
	default:
		fmt.Fprintf(w, "at most %d at the same time\n", max(width, 1))
	}
	if e.shuffle {
		fmt.Fprintf(w, "shuffled: --seed %d\n", e.seed)
	}
	doubtful.write(stderr, "warning")
	wrong.write(stderr, "error")
	if n := len(wrong.order); n > 0 {
		return exit.Usage.Wrap(fmt.Errorf("params have wrong values: %d", n))
	}
	return nil
}

// describeVMs is "vm1 512M 2 cpus, vm2 256M".
func describeVMs(p cartesian.Params) string {
	var all []string
	for _, name := range p.Objects("vms") {
		config, err := vm.ParseConfig(name, p.Object(name))
		if err != nil {
			all = append(all, name+" ?") // told below the table
			continue
		}
		text := name + " " + config.Memory()
		if config.CPUs != 1 {
			text += fmt.Sprintf(" %d cpus", config.CPUs)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// paramFaults is what is wrong with the params of a plan's variants, each told
// once.
type paramFaults struct {
	lines map[string]int // text -> how many variants have it
	order []string
}

func (f *paramFaults) add(text string) {
	if f.lines == nil {
		f.lines = map[string]int{}
	}
	if f.lines[text] == 0 {
		f.order = append(f.order, text)
	}
	f.lines[text]++
}

func (f *paramFaults) write(w io.Writer, what string) {
	for _, text := range f.order {
		more := ""
		if n := f.lines[text]; n > 1 {
			more = fmt.Sprintf(" (in %d variants)", n)
		}
		fmt.Fprintf(w, "%s: %s%s\n", what, text, more)
	}
}

// checkParams looks at a variant's params: values that no host could run, and
// params that nobody seems to read.
func (e *execution) checkParams(v *cartesian.Variant, scenario *star.Scenario, hosts int, origins func(*cartesian.Variant) map[string]string, wrong, doubtful *paramFaults) {
	var places map[string]string // found out when something is wrong
	at := func(key string) string {
		if places == nil {
			places = origins(v)
		}
		if place := places[key]; place != "" {
			return place + ": "
		}
		return ""
	}
	for _, fault := range run.CheckParams(v.Params, hosts) {
		wrong.add(at(fault.Key) + fault.Error())
	}
	for _, text := range run.NotHonoured(v.Params) {
		fault := doubtful
		if e.strict {
			fault = wrong
		}
		fault.add(at(text.Key) + text.Text)
	}
	read := map[string]bool{}
	for key := range v.Params {
		read[key] = scenario.Mentions(key)
	}
	for _, u := range api.UnreadParams(v.Params, read) {
		if u.Nearest != "" && !strings.HasPrefix(at(u.Key), "@") {
			doubtful.add(fmt.Sprintf("%sparam %s: nobody reads it; did you mean %s?", at(u.Key), u.Key, u.Nearest))
		}
	}
}
