// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Preview is the variants that a plan would run, and the hosts.
type Preview struct {
	Rows     []PreviewRow
	Hosts    []string
	Where    string // the origin of these hosts
	Parallel int    // the most variants at the same time
	Invalid  Faults // invalid values
	Warnings Faults // probable mistakes

	request *Request
}

// PreviewRow is one variant.
type PreviewRow struct {
	Name     string
	After    []string // its dependencies
	Scenario string   // file
	Hosts    int      // how many it needs
	VMs      string   // such as "vm1 512M 2 cpus, vm2 256M"
}

// Preview checks all variants, like a run before it creates anything.
func (p *Plan) Preview(ctx context.Context) (*Preview, error) {
	q := p.request
	w := &Preview{Hosts: q.Hosts, Where: "of --hosts", request: q}
	var labParams map[string]string
	if len(w.Hosts) == 0 {
		w.Hosts, w.Where = q.Lab.wouldUse()
		var err error
		if labParams, err = q.Lab.wouldSet(); err != nil {
			return nil, err
		}
	}
	checker := newParamChecker(p, w)
	share := run.FairShare(len(w.Hosts), q.Parallel, p.Count*q.Repeat)
	least := len(w.Hosts)
	for v, err := range p.Variants {
		if err != nil {
			return nil, exit.Usage.Wrap(err)
		}
		scenario := p.Scenario(v.Params)
		needed := run.HostsNeeded(v.Params, scenario.HostsNeeded, share)
		params := maps.Clone(v.Params)
		maps.Copy(params, labParams)
		checker.check(ctx, v, params, needed)
		least = min(least, needed)
		w.Rows = append(w.Rows, PreviewRow{v.ShortName, v.Dep, scenario.Path, needed, describeVMs(params)})
	}
	w.Parallel = max(len(w.Hosts)/max(least, 1), 1)
	if q.Parallel > 0 {
		w.Parallel = min(w.Parallel, q.Parallel)
	}
	return w, nil
}

// describeVMs is "vm1 512M 2 cpus, vm2 256M".
func describeVMs(p cartesian.Params) string {
	var all []string
	for _, name := range p.Objects("vms") {
		config, err := vm.ParseConfig(name, p.Object(name))
		if err != nil {
			all = append(all, name+" ?") // reported below the table
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

// Faults are the errors or warnings about params of a plan's variants, without
// duplicates.
type Faults struct {
	lines map[string]int // text -> how many variants have it
	order []string
}

func (f *Faults) add(text string) {
	if f.lines == nil {
		f.lines = map[string]int{}
	}
	if f.lines[text] == 0 {
		f.order = append(f.order, text)
	}
	f.lines[text]++
}

// Lines are the faults, each with the number of variants that have it.
func (f *Faults) Lines() []string {
	lines := make([]string, len(f.order))
	for i, text := range f.order {
		lines[i] = text
		if n := f.lines[text]; n > 1 {
			lines[i] += fmt.Sprintf(" (in %d variants)", n)
		}
	}
	return lines
}

// paramChecker checks the params of a plan's variants.
type paramChecker struct {
	*Plan
	invalid, warnings *Faults
	probable          *Faults         // what is only warned of, an error in strict mode
	told              map[string]bool // params that a warning of the plan is about
}

func newParamChecker(p *Plan, w *Preview) *paramChecker {
	c := &paramChecker{Plan: p, invalid: &w.Invalid, warnings: &w.Warnings, probable: &w.Warnings, told: map[string]bool{}}
	if p.request.Strict {
		c.probable = c.invalid
	}
	for _, m := range api.Mistyped(p.config, p.request.Extras) {
		c.told[m.Key] = true
	}
	return c
}

// check checks a variant's params, which a lab adds to, for invalid values, and for params
// that nothing reads.
func (c *paramChecker) check(ctx context.Context, v *cartesian.Variant, params cartesian.Params, hosts int) {
	var places map[string]string // computed on demand
	at := func(key string) string {
		if places == nil {
			places = c.origins(ctx, v)
		}
		if place := places[key]; place != "" {
			return place + ": "
		}
		return ""
	}
	reported := map[string]bool{} // params whose value is wrong
	for _, fault := range run.CheckAllParams(params, hosts) {
		c.invalid.add(at(fault.Key) + fault.Error())
		reported[fault.Key] = true
	}
	scenario := c.Scenario(v.Params)
	for _, u := range run.Unsupported(v.Params, scenario) {
		if u.Decides {
			c.invalid.add(at(u.Key) + u.Text)
			continue
		}
		c.probable.add(at(u.Key) + u.Text)
	}
	for _, read := range scenario.ParamReads() { // perhaps not executed, so that even strict mode only warns
		if err := checkRead(params, read); err != nil && !reported[read.Key] {
			reported[read.Key] = true
			c.warnings.add(fmt.Sprintf("%s%s (%s reads it)", at(read.Key), err, read.At))
		}
	}
	for _, doubt := range run.CheckNames(params) { // QEMU may have it, so that even strict mode only warns
		c.warnings.add(at(doubt.Key) + doubt.Error())
	}
	read := map[string]bool{}
	for key := range v.Params {
		read[key] = scenario.Mentions(key)
	}
	for _, u := range api.UnreadParams(v.Params, read) {
		if u.Nearest != "" && !c.told[u.Key] && !strings.HasPrefix(at(u.Key), "@") {
			c.warnings.add(fmt.Sprintf("%sparam %s is never read; did you mean %s?", at(u.Key), u.Key, u.Nearest))
		}
	}
}

// checkRead returns the error that a scenario's read of a param would have.
func checkRead(params cartesian.Params, read star.ParamRead) (err error) {
	switch read.Method {
	case "int":
		_, err = params.Int(read.Key, 0)
	case "bool":
		_, err = params.Bool(read.Key, false)
	case "seconds":
		_, err = params.Seconds(read.Key, 0)
	case "bytes":
		_, err = params.Size(read.Key, 0, 1)
	}
	return err
}
