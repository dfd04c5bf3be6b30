// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/aclements/go-moremath/stats"

	"github.com/mhmig/mhmig/runtime/result"
)

// Query selects variants and runs; the zero value selects all.
type Query struct {
	Pattern string // of variants' names: * is any text, ? any character; without these, a name or a part of one
	Last    int    // only the newest runs; 0: all
}

// Run is a run in the history.
type Run struct {
	ID       string         `json:"id"`
	Status   result.Status  `json:"status"`
	Started  time.Time      `json:"started"`
	Seconds  float64        `json:"seconds"`
	Version  string         `json:"version,omitempty"`
	Scenario string         `json:"scenario,omitempty"`
	Config   string         `json:"config,omitempty"`
	Hosts    string         `json:"hosts,omitempty"` // separated by commas
	Outcomes map[string]int `json:"outcomes"`        // number of variants by status
}

// Variant has the outcomes of a variant of one scenario and config.
type Variant struct {
	Name     string          `json:"name"`
	Scenario string          `json:"scenario,omitempty"`
	Config   string          `json:"config,omitempty"`
	Statuses []result.Status `json:"statuses"` // without quarantine, the newest last; a run has several with --repeat
	Decided  int             `json:"judged"`   // of them, those that passed or failed (not skipped or cancelled)
	Passed   int             `json:"passed"`   // PASS or WARN
	Flips    int             `json:"flips"`    // between passed and failed
	Flaky    bool            `json:"flaky"`    // it flips more than once, or within a run
	Trends   []Trend         `json:"trends,omitempty"`
	LastGood *RunRef         `json:"last_good,omitempty"` // the newest run in which it passed and never failed
	FirstBad *RunRef         `json:"first_bad,omitempty"` // the first one after LastGood in which it failed
}

// RunRef names a run.
type RunRef struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
}

// Trend is a measure of a variant's migrations over its runs.
type Trend struct {
	result.Measure

	Count  int     `json:"count"` // outcomes that passed and have it
	Median float64 `json:"median"`
	// Percent is the change from the older half to the newer half, nil if it is not
	// significant (Mann-Whitney U test with p<0.01: there are many variants).
	Percent *float64 `json:"percent,omitempty"`
}

// runsQuery selects the newest runs. IDs alone do not order those of one second.
const runsQuery = `WITH picked AS (SELECT * FROM runs ORDER BY started DESC, id DESC LIMIT ?) `

func (q Query) limit() int {
	if q.Last <= 0 {
		return -1 // no limit, in SQLite
	}
	return q.Last
}

// Runs returns the newest runs, the newest first. Query.Pattern is ignored.
func (h *History) Runs(ctx context.Context, q Query) ([]Run, error) {
	runs, err := collect(ctx, h.db, func(rows *sql.Rows) (r Run, err error) {
		var status, started string
		if err := rows.Scan(&r.ID, &status, &started, &r.Seconds, &r.Version, &r.Scenario, &r.Config, &r.Hosts); err != nil {
			return r, err
		}
		r.Outcomes = map[string]int{}
		r.Started, err = parse(started, status, &r.Status)
		return r, err
	}, runsQuery+`SELECT id, status, started, seconds, version, scenario, config, hosts FROM picked ORDER BY started DESC, id DESC`, q.limit())
	if err != nil {
		return nil, err
	}
	place := map[string]int{}
	for i, r := range runs {
		place[r.ID] = i
	}
	_, err = collect(ctx, h.db, func(rows *sql.Rows) (struct{}, error) {
		var run, status string
		var count int
		err := rows.Scan(&run, &status, &count)
		if i, ok := place[run]; ok {
			runs[i].Outcomes[status] = count
		}
		return struct{}{}, err
	}, "SELECT run, status, count(*) FROM variants GROUP BY run, status")
	return runs, err
}

// outcome is a variant's outcome in a run.
type outcome struct {
	run    RunRef
	number int
	name   string
	status result.Status // without quarantine
	origin [2]string     // scenario, config
}

// Variants returns the variants whose names match, the most recently run first.
func (h *History) Variants(ctx context.Context, q Query) ([]Variant, error) {
	outcomes, err := collect(ctx, h.db, func(rows *sql.Rows) (o outcome, err error) {
		var status, started string
		if err := rows.Scan(&o.run.ID, &started, &o.origin[0], &o.origin[1], &o.number, &o.name, &status); err != nil {
			return o, err
		}
		o.run.Started, err = parse(started, status, &o.status)
		return o, err
	}, runsQuery+`SELECT run, picked.started, scenario, config, number, name, judged
		FROM picked JOIN variants ON run = picked.id
		WHERE ?2 = '' OR name GLOB ?2 OR instr(name, ?2) > 0 ORDER BY picked.started, run, number`, q.limit(), q.Pattern)
	if err != nil {
		return nil, err
	}
	values, err := h.values(ctx)
	if err != nil {
		return nil, err
	}
	type key struct {
		name   string
		origin [2]string
	}
	var order []key
	of := map[key][]outcome{}
	for _, o := range outcomes {
		k := key{o.name, o.origin}
		if of[k] == nil {
			order = append(order, k)
		}
		of[k] = append(of[k], o)
	}
	variants := make([]Variant, 0, len(order))
	for _, k := range order {
		v := Variant{Name: k.name, Scenario: k.origin[0], Config: k.origin[1]}
		v.evaluate(of[k])
		v.measure(of[k], values)
		variants = append(variants, v)
	}
	slices.SortStableFunc(variants, func(a, b Variant) int {
		newest := func(v Variant) RunRef {
			all := of[key{v.Name, [2]string{v.Scenario, v.Config}}]
			return all[len(all)-1].run
		}
		return cmp.Or(newest(b).Started.Compare(newest(a).Started), cmp.Compare(newest(b).ID, newest(a).ID))
	})
	return variants, nil
}

// place identifies a value: an outcome and a measure.
type place struct {
	run     string
	number  int
	measure string
}

// values returns each outcome's measures: means over its migrations, as in package
// compare.
func (h *History) values(ctx context.Context) (map[place]float64, error) {
	values := map[place]float64{}
	_, err := collect(ctx, h.db, func(rows *sql.Rows) (struct{}, error) {
		var p place
		var mean float64
		err := rows.Scan(&p.run, &p.number, &p.measure, &mean)
		values[p] = mean
		return struct{}{}, err
	}, "SELECT run, variant, measure, avg(value) FROM migrations WHERE value IS NOT NULL GROUP BY run, variant, measure")
	return values, err
}

// evaluate sets v's fields from its outcomes, the oldest first.
func (v *Variant) evaluate(outcomes []outcome) {
	var last result.Status
	for _, o := range outcomes {
		v.Statuses = append(v.Statuses, o.status)
		if !isDecided(o.status) {
			continue
		}
		v.Decided++
		if isGood(o.status) {
			v.Passed++
		}
		if isDecided(last) && isGood(last) != isGood(o.status) {
			v.Flips++
		}
		last = o.status
	}
	// One flip is a regression or a fix, unless it is within a run.
	v.Flaky = v.Flips > 1
	for _, run := range chunkByRun(outcomes) {
		passed, failed := 0, 0
		for _, o := range run {
			if isDecided(o.status) && isGood(o.status) {
				passed++
			} else if isDecided(o.status) {
				failed++
			}
		}
		ref := &run[0].run
		switch {
		case failed > 0 && passed > 0:
			v.Flaky = true
			fallthrough
		case failed > 0:
			if v.FirstBad == nil {
				v.FirstBad = ref
			}
		case passed > 0:
			v.LastGood, v.FirstBad = ref, nil
		}
	}
}

// isDecided reports whether s is a verdict about the system under test.
func isDecided(s result.Status) bool { return isGood(s) || s == result.Fail || s == result.Error }

func isGood(s result.Status) bool { return s == result.Pass || s == result.Warn }

// chunkByRun splits outcomes, which are ordered by run.
func chunkByRun(outcomes []outcome) [][]outcome {
	var runs [][]outcome
	for i, o := range outcomes {
		if i == 0 || outcomes[i-1].run.ID != o.run.ID {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], o)
	}
	return runs
}

// measure finds the trends of a variant's outcomes, the oldest first.
func (v *Variant) measure(outcomes []outcome, values map[place]float64) {
	for _, m := range result.Measures {
		var all []float64
		for _, o := range outcomes {
			if value, ok := values[place{o.run.ID, o.number, m.Name}]; ok && isGood(o.status) {
				all = append(all, value)
			}
		}
		if len(all) == 0 {
			continue
		}
		t := Trend{Measure: m, Count: len(all), Median: median(all)}
		older, newer := all[:len(all)/2], all[len(all)/2:]
		test, err := stats.MannWhitneyUTest(older, newer, stats.LocationDiffers)
		if before := median(older); err == nil && test.P < 0.01 && before > 0 {
			t.Percent = new((median(newer)/before - 1) * 100)
		}
		v.Trends = append(v.Trends, t)
	}
}

func median(values []float64) float64 { return stats.Sample{Xs: values}.Quantile(0.5) }

// parse reads a time and a status of the database.
func parse(started, status string, into *result.Status) (time.Time, error) {
	if err := into.UnmarshalText([]byte(status)); err != nil {
		return time.Time{}, err
	}
	return time.Parse(timeFormat, started)
}
