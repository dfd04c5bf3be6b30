// SPDX-License-Identifier: Apache-2.0

// Package compare reports what changed between two runs: the statuses of their
// variants, and the durations of migrations, with a statistical test over repeats.
//
// Variants are paired by name. Each outcome of a name is one sample: a run has
// several with --repeat. Only outcomes that passed (PASS or WARN) are samples, as
// durations of aborted ones mean nothing; a failure in quarantine has not passed. A
// measure's value in an outcome is the mean over all completed migrations of VMs in it:
// these share hosts, guest and time, so that they are not independent samples.
//
// A difference is claimed if the two-sided Mann-Whitney U test gives a p below
// Alpha after Holm's adjustment over all variants of the measure. The change is
// the Hodges-Lehmann estimate of the factor between the runs; its interval is
// of 95% for each alone. A pair that is too small to ever give such a p is not
// tested, and does not count in the adjustment.
//
// Functions here may be called by any goroutine; a Report is for one.
package compare

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/result"
)

// Report is what changed from an old run to a new one.
type Report struct {
	Old      result.Run `json:"old"`
	New      result.Run `json:"new"`
	Alpha    float64    `json:"alpha"`
	Notes    []string   `json:"notes,omitempty"`    // what limits the comparison
	Variants []Variant  `json:"variants,omitempty"` // that are in both, in the old run's order
	OnlyOld  []string   `json:"only_old,omitempty"`
	OnlyNew  []string   `json:"only_new,omitempty"`
}

// Variant is a variant that both runs have.
type Variant struct {
	Name    string          `json:"name"`
	Old     []result.Status `json:"old"` // of its outcomes
	New     []result.Status `json:"new"`
	Changes []Change        `json:"changes,omitempty"` // of each measure that a run has
}

// StatusChanged reports whether the worst status of the variant differs.
func (v *Variant) StatusChanged() bool { return result.Worst(v.Old...) != result.Worst(v.New...) }

// Change is how a measure of a variant changed.
type Change struct {
	result.Measure

	Old     Sample   `json:"old"`
	New     Sample   `json:"new"`
	Percent *float64 `json:"percent,omitempty"` // by which it grew; nil: unknown, or from 0
	Low     *float64 `json:"low,omitempty"`     // Percent is between Low and High with 95% confidence;
	High    *float64 `json:"high,omitempty"`    // nil: unknown, or without bound
	P       *float64 `json:"p,omitempty"`       // adjusted; nil: not tested
	Verdict Verdict  `json:"verdict"`
	Because string   `json:"because,omitempty"` // of TooFew: how many are needed
}

// Sample is the sample of a measure in one run.
type Sample struct {
	Count  int      `json:"count"`
	Median *float64 `json:"median,omitempty"` // nil: no values

	values []float64
}

// Verdict is whether a measure changed.
type Verdict string

// The verdicts.
const (
	TooFew Verdict = "too few" // for any claim
	Same   Verdict = "same"    // no significant difference
	Better Verdict = "better"
	Worse  Verdict = "worse"
)

// seconds is the measure that every outcome has.
var seconds = result.Measure{Name: "variant_seconds", Unit: "s"}

// Runs compares the results folders old and new. A variant whose files are damaged
// has the status of the run's journal, and no measures.
func Runs(oldDir, newDir string) (*Report, error) {
	before, err := load(oldDir)
	if err != nil {
		return nil, err
	}
	after, err := load(newDir)
	if err != nil {
		return nil, err
	}
	r := &Report{Old: before.run, New: after.run, Alpha: alpha}
	r.Notes = slices.Concat(differences(before.run, after.run), before.broken, after.broken)
	for _, name := range before.order {
		if after.variants[name] == nil {
			r.OnlyOld = append(r.OnlyOld, name)
			continue
		}
		r.Variants = append(r.Variants, pair(name, before.variants[name], after.variants[name]))
	}
	for _, name := range after.order {
		if before.variants[name] == nil {
			r.OnlyNew = append(r.OnlyNew, name)
		}
	}
	r.evaluate()
	return r, nil
}

// Regressed returns the variants and changes that are significantly worse, by more
// than percent.
func (r *Report) Regressed(percent float64) []string {
	var all []string
	for _, v := range r.Variants {
		for _, c := range v.Changes {
			if c.Verdict == Worse && c.worsening() > percent {
				all = append(all, fmt.Sprintf("%s: %s %s", v.Name, c.Name, c.size()))
			}
		}
	}
	return all
}

func (c *Change) worsening() float64 {
	if c.Percent == nil {
		return math.Inf(1) // from 0
	}
	return math.Abs(*c.Percent)
}

// samples are the values of a variant in one run.
type samples struct {
	statuses []result.Status
	values   map[string][]float64 // by the measure's name
}

type loaded struct {
	run      result.Run
	order    []string // of variants
	variants map[string]*samples
	broken   []string
}

func load(dir string) (*loaded, error) {
	run, err := result.LoadRun(dir)
	if err != nil {
		return nil, err
	}
	l := &loaded{run: run, variants: map[string]*samples{}}
	for o, err := range result.Outcomes(dir) {
		if err != nil {
			l.broken = append(l.broken, err.Error())
		}
		if o.Name == "" { // the journal cannot be read
			continue
		}
		s := l.variants[o.Name]
		if s == nil {
			s = &samples{values: map[string][]float64{}}
			l.variants[o.Name] = s
			l.order = append(l.order, o.Name)
		}
		status := o.Judged()
		s.statuses = append(s.statuses, status)
		if err != nil || status != result.Pass && status != result.Warn {
			continue
		}
		s.values[seconds.Name] = append(s.values[seconds.Name], o.Seconds)
		migrations, err := result.Migrations(filepath.Join(dir, o.ID))
		if err != nil {
			l.broken = append(l.broken, err.Error())
			continue
		}
		for _, m := range result.Measures {
			if mean, ok := mean(m, migrations); ok {
				s.values[m.Name] = append(s.values[m.Name], mean)
			}
		}
	}
	return l, nil
}

// mean is the mean of a measure over all migrations that have it.
func mean(m result.Measure, migrations []result.Migration) (float64, bool) {
	sum, n := 0.0, 0
	for _, migration := range migrations {
		for _, moved := range migration.VMs {
			if value, ok := m.Of(moved); ok {
				sum += value
				n++
			}
		}
	}
	return sum / float64(n), n > 0
}

// differences lists other differences between the runs.
func differences(before, after result.Run) []string {
	var notes []string
	note := func(what, before, after string) {
		if before != after {
			notes = append(notes, fmt.Sprintf("%s: %s -> %s", what, orNone(before), orNone(after)))
		}
	}
	note("scenario", before.Scenario, after.Scenario)
	note("config", before.Config, after.Config)
	note("filters", strings.Join(before.Filters, "; "), strings.Join(after.Filters, "; "))
	note("hosts", strings.Join(before.Hosts, ","), strings.Join(after.Hosts, ","))
	for _, run := range []result.Run{before, after} {
		if run.Finished.IsZero() {
			notes = append(notes, run.ID+" has not ended")
		}
	}
	return notes
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}

func pair(name string, before, after *samples) Variant {
	v := Variant{Name: name, Old: before.statuses, New: after.statuses}
	for _, m := range append(slices.Clone(result.Measures), seconds) {
		c := Change{Measure: m, Old: sample(before.values[m.Name]), New: sample(after.values[m.Name])}
		if c.Old.Count+c.New.Count > 0 {
			v.Changes = append(v.Changes, c)
		}
	}
	return v
}

func sample(values []float64) Sample {
	s := Sample{Count: len(values), values: values}
	if s.Count > 0 {
		s.Median = new(median(values))
	}
	return s
}

// evaluate tests all changes, each measure over all variants.
func (r *Report) evaluate() {
	tests := map[string][]*float64{}
	for i := range r.Variants {
		for j := range r.Variants[i].Changes {
			c := &r.Variants[i].Changes[j]
			c.estimate()
			if c.P != nil {
				tests[c.Name] = append(tests[c.Name], c.P)
			}
		}
	}
	for _, family := range tests {
		holm(family)
	}
	for i := range r.Variants {
		for j := range r.Variants[i].Changes {
			r.Variants[i].Changes[j].classify()
		}
	}
}

// estimate fills in the change and, if there are enough values, p.
func (c *Change) estimate() {
	before, after := c.Old.values, c.New.values
	if len(before) == 0 || len(after) == 0 {
		return
	}
	factor, low, high := ratio(before, after)
	c.Percent = percent(factor)
	if minP(len(before), len(after)) < alpha {
		c.Low, c.High = percent(low), percent(high)
		c.P = new(uTest(before, after))
	}
}

// classify sets the verdict from the adjusted p.
func (c *Change) classify() {
	switch {
	case c.P == nil:
		c.Verdict = TooFew
		c.Because = fmt.Sprintf("too few: %d + %d runs, want at least %d each for p<%g", c.Old.Count, c.New.Count, minRepeats(alpha), alpha)
	case *c.P >= alpha:
		c.Verdict = Same
	case (c.Percent == nil || *c.Percent > 0) == c.More:
		c.Verdict = Better
	default:
		c.Verdict = Worse
	}
}

// percent is the change of a factor in percent; nil if it is infinite.
func percent(factor float64) *float64 {
	if math.IsInf(factor, 0) {
		return nil
	}
	return new((factor - 1) * 100)
}
