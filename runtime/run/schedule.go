// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	// lookAhead is how many variants may wait for hosts or for others at the same
	// time. Later ones are not expanded yet.
	lookAhead = 64
	// maxOvertaken is how many others may overtake a variant that waits for hosts. After
	// that they wait too, so that a variant that needs many hosts gets them.
	maxOvertaken = 8
)

// waiting is a variant in the queue.
type waiting struct {
	*cartesian.Variant
	repeat    int // from 1 if the run repeats its variants, else 0
	needs     Needs
	overtaken int
}

// ended is how a variant has ended.
type ended struct {
	*waiting
	lease  Lease
	stay   bool // the hosts are kept as the variant left them
	status result.Status
	met    bool // dependents can run
}

// queue is the variants of a run: those that wait, those that run, and the results of
// ended ones that later ones depend on.
type queue struct {
	*runner
	next    func() (*cartesian.Variant, int, error)
	drained bool
	broken  error             // of the config, after the last variant
	waits   []*waiting        // in their order
	runs    []*waiting        // those that were started
	ends    chan ended        // from each of runs
	wanted  map[string]string // all that variants depend on, as keys
	unmet   []unmet           // those that did not pass: dependents cannot run
}

type unmet struct {
	name   string
	repeat int
	why    string // such as "which ended with FAIL"
}

// all runs all variants and repeats.
func (r *runner) all(ctx context.Context, variants Sequence) error {
	next, stop := r.repeated(variants)
	defer stop()
	wanted, _ := dependencies(variants) // next returns the errors of the config
	q := &queue{runner: r, next: next, ends: make(chan ended), wanted: wanted}
	err := q.run(ctx)
	for len(q.runs) > 0 { // running variants are cleaned up
		q.end(<-q.ends)
	}
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		err = q.broken
	}
	if err == nil {
		err = r.lost()
	}
	return err
}

// repeated iterates over the variants of all repeats; it returns nil at the end.
func (r *runner) repeated(variants Sequence) (next func() (*cartesian.Variant, int, error), stop func()) {
	repeats := r.UntilFailure || r.Repeat > 1
	round, some := 1, false
	pull, end := iter.Pull2(variants)
	return func() (*cartesian.Variant, int, error) {
		for {
			v, err, more := pull()
			switch {
			case more && repeats:
				some = true
				return v, round, err
			case more:
				return v, 0, err
			case !repeats || !some || round == r.Repeat:
				return nil, 0, nil
			}
			end()
			round, some = round+1, false
			pull, end = iter.Pull2(variants)
		}
	}, func() { end() }
}

// run starts variants until none is left that could start. While other runs use the
// hosts that the rest needs, it waits for them, until ctx ends.
func (q *queue) run(ctx context.Context) error {
	for {
		q.fill()
		busy := false
		for q.stop == "" && ctx.Err() == nil {
			var started bool
			var err error
			if started, busy, err = q.startNext(ctx); err != nil {
				return err
			}
			if !started {
				break
			}
			q.fill()
		}
		if len(q.runs) == 0 && (!busy || q.Pool.Changed() == nil) {
			return nil // all have ended, or nothing tells when the hosts that the rest needs are free
		}
		if len(q.runs) == 0 {
			q.Log.Info("waiting for hosts that are in use", "variants", len(q.waits))
		}
		select {
		case e := <-q.ends:
			q.end(e)
		case <-q.Pool.Changed():
		case <-ctx.Done():
		}
		if q.stop != "" || ctx.Err() != nil {
			return nil //nolint:nilerr // the caller checks ctx
		}
	}
}

// fill expands variants of the config up to lookAhead.
func (q *queue) fill() {
	for !q.drained && len(q.waits) < lookAhead {
		v, repeat, err := q.next()
		switch {
		case err != nil:
			q.drained, q.broken = true, exit.Usage.Wrap(err)
		case v == nil:
			q.drained = true
		default:
			q.waits = append(q.waits, &waiting{Variant: v, repeat: repeat, needs: q.needsOf(v)})
		}
	}
}

// startNext starts the first variant that can start, or takes one that cannot run out of
// the queue. It says whether there was one, and if not, whether one waits for hosts that
// are in use.
func (q *queue) startNext(ctx context.Context) (started, busy bool, err error) {
	if q.Parallel > 0 && len(q.runs) >= q.Parallel {
		return false, false, nil
	}
	for i, w := range q.waits {
		if q.dependsOnRunning(w, i) {
			continue
		}
		if why := q.refuse(w); why != nil {
			q.waits = slices.Delete(q.waits, i, i+1)
			return true, false, q.skip(w, why)
		}
		lease, err := q.Pool.Acquire(ctx, w.needs)
		switch {
		case errors.Is(err, ErrUnavailable): // for good: the others must not wait for it
			q.waits = slices.Delete(q.waits, i, i+1)
			q.leaveOut(w)
			return true, false, nil
		case errors.Is(err, ErrBusy):
			busy = true
			if w.overtaken >= maxOvertaken {
				return false, busy, nil
			}
			continue
		case err != nil:
			return false, false, fmt.Errorf("acquire hosts for %s: %w", w.ShortName, err)
		}
		for _, other := range q.waits[:i] {
			other.overtaken++
		}
		q.waits = slices.Delete(q.waits, i, i+1)
		q.started++
		params := maps.Clone(w.Params)
		maps.Copy(params, q.HostParams)
		origins := q.origins(w.Variant)
		results, err := q.start(w.Variant, w.repeat, params, origins, names(lease))
		if err != nil {
			lease.Release(false)
			return false, false, err
		}
		q.runs = append(q.runs, w)
		u := &unit{runner: q.runner, number: q.started, variant: w.Variant, repeat: w.repeat, params: params, origins: origins, lease: lease, results: results}
		go func() { // q.end waits for it
			status, met := u.run(ctx)
			q.ends <- ended{w, lease, u.stay, status, met}
		}()
		return true, false, nil
	}
	return false, busy, nil
}

// end records the end of a variant.
func (q *queue) end(e ended) {
	e.lease.Release(e.stay)
	q.runs = slices.DeleteFunc(q.runs, func(w *waiting) bool { return w == e.waiting })
	q.count(e.waiting, e.status, e.met)
}

func (q *queue) count(w *waiting, status result.Status, met bool) {
	q.summary.Counts[status]++
	if !met {
		q.noteUnmet(w, "which ended with "+status.String())
	}
	if !status.OK() && (q.FailFast || q.UntilFailure) {
		flag := "--fail-fast"
		if !q.FailFast {
			flag = "--until-failure"
		}
		q.stop = fmt.Sprintf("%s: %s ended with %s", flag, w.ShortName, status)
	}
}

// skip records a variant that cannot run.
func (q *queue) skip(w *waiting, why error) error {
	q.started++
	results, err := q.start(w.Variant, w.repeat, w.Params, q.origins(w.Variant), nil)
	if err != nil {
		return err
	}
	o := result.Outcome{Failure: describe(why)}
	q.Log.Info("variant ends", "variant", results.ID(), "step", "end", "name", w.ShortName, "status", o.Status.String(), "took", time.Duration(0), "because", o.Message)
	if err := results.Finish(o); err != nil {
		q.Log.Warn("results not written", "error", err)
	}
	q.changed()
	q.count(w, o.Status, false)
	return nil
}

// leaveOut notes a variant for which too few hosts are left: it is none of those that ran.
func (q *queue) leaveOut(w *waiting) {
	q.Log.Warn("variant not run", "name", w.ShortName, "because", ErrUnavailable)
	q.noteUnmet(w, "which was not run: "+ErrUnavailable.Error())
	if q.UntilFailure { // it would be left out of each repeat, without end
		q.stop = fmt.Sprintf("--until-failure: %s was not run: %v", w.ShortName, ErrUnavailable)
	}
}

// noteUnmet notes that the dependents of a variant cannot run, and why.
func (q *queue) noteUnmet(w *waiting, why string) {
	if q.isWanted(w.Name) {
		q.unmet = append(q.unmet, unmet{w.Name, w.repeat, why})
	}
}

// isWanted says whether some variant depends on one of this name.
func (q *queue) isWanted(name string) bool {
	for dependency := range q.wanted {
		if satisfies(name, dependency) {
			return true
		}
	}
	return false
}

// refuse returns why a variant cannot run, nil if it can.
func (q *queue) refuse(w *waiting) error {
	for _, dependency := range w.Dep {
		for _, other := range q.unmet {
			if other.repeat == w.repeat && satisfies(other.name, dependency) {
				return result.Cancel.Errorf("it depends on %s, %s", other.name, other.why)
			}
		}
	}
	if w.needs.Hosts > len(q.Pool.Hosts()) {
		return result.Skip.Errorf("it needs %d hosts (param hosts_needed, or the scenario's), the run has %d", w.needs.Hosts, len(q.Pool.Hosts()))
	}
	return nil
}
