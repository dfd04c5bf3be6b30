// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	// lookAhead is how many variants may wait for hosts or for others at the same
	// time. Those behind them have not been expanded yet.
	lookAhead = 64
	// maxOvertaken is how many others may pass a variant that waits for hosts. Then
	// they wait too, so that one that needs many hosts gets them.
	maxOvertaken = 8
)

// waiting is a variant that is to run.
type waiting struct {
	*cartesian.Variant
	needs     needs
	overtaken int
}

// ended is how a variant has ended.
type ended struct {
	*waiting
	lease  *lease
	status result.Status
}

// queue is one round of all variants: those that wait, those that run, and what
// the later ones must know of the ones that are over.
type queue struct {
	*runner
	repeat  int
	next    func() (*cartesian.Variant, error, bool)
	drained bool
	broken  error      // of the config, behind the last variant
	waits   []*waiting // in their order
	runs    []*waiting
	ends    chan ended
	unmet   []unmet // what did not pass: dependents cannot run
}

type unmet struct {
	name   string
	status result.Status
}

// round runs each variant once.
func (r *runner) round(ctx context.Context, variants iter.Seq2[*cartesian.Variant, error], repeat int) error {
	next, stop := iter.Pull2(variants)
	defer stop()
	q := &queue{runner: r, repeat: repeat, next: next, ends: make(chan ended)}
	err := q.run(ctx)
	for len(q.runs) > 0 { // what has begun is cleaned up
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

// run begins variants until none is left that could begin.
func (q *queue) run(ctx context.Context) error {
	for {
		q.fill()
		for q.stop == "" && ctx.Err() == nil {
			begun, err := q.begin(ctx)
			if err != nil {
				return err
			}
			if !begun {
				break
			}
			q.fill()
		}
		if len(q.runs) == 0 {
			return nil // all are over, or the hosts that the rest needs are lost
		}
		q.end(<-q.ends)
		if q.stop != "" || ctx.Err() != nil {
			return nil
		}
	}
}

// fill takes as many variants from the config as may wait.
func (q *queue) fill() {
	for !q.drained && len(q.waits) < lookAhead {
		v, err, more := q.next()
		switch {
		case !more:
			q.drained = true
		case err != nil:
			q.drained, q.broken = true, err
		default:
			q.waits = append(q.waits, &waiting{Variant: v, needs: q.needsOf(v)})
		}
	}
}

// begin begins the first variant that can, and says whether there was one.
func (q *queue) begin(ctx context.Context) (bool, error) {
	if q.Parallel > 0 && len(q.runs) >= q.Parallel {
		return false, nil
	}
	for i, w := range q.waits {
		if q.dependsOnRunning(w, i) {
			continue
		}
		if why := q.refuse(w); why != nil {
			q.waits = slices.Delete(q.waits, i, i+1)
			return true, q.giveUp(w, why)
		}
		lease := q.hosts.lease(w.needs)
		if lease == nil {
			if w.overtaken >= maxOvertaken {
				return false, nil
			}
			continue
		}
		for _, passed := range q.waits[:i] {
			passed.overtaken++
		}
		q.waits = slices.Delete(q.waits, i, i+1)
		q.started++
		params := maps.Clone(w.Params)
		maps.Copy(params, q.HostParams)
		results, err := q.start(w.Variant, q.repeat, params, lease.names())
		if err != nil {
			q.hosts.release(lease)
			return false, err
		}
		q.runs = append(q.runs, w)
		u := &unit{runner: q.runner, number: q.started, variant: w.Variant, params: params, lease: lease, results: results}
		go func() { q.ends <- ended{w, lease, u.run(ctx)} }() // q.end waits for it
		return true, nil
	}
	return false, nil
}

// end notes that a variant is over.
func (q *queue) end(e ended) {
	if !e.lease.kept {
		q.hosts.release(e.lease)
	}
	q.runs = slices.DeleteFunc(q.runs, func(w *waiting) bool { return w == e.waiting })
	q.count(e.Variant, e.status)
}

func (q *queue) count(v *cartesian.Variant, status result.Status) {
	q.summary.Counts[status]++
	if status != result.Pass && status != result.Warn {
		q.unmet = append(q.unmet, unmet{v.Name, status})
	}
	if !status.OK() && (q.FailFast || q.UntilFailure) {
		flag := "--fail-fast"
		if !q.FailFast {
			flag = "--until-failure"
		}
		q.stop = fmt.Sprintf("%s: %s ended with %s", flag, v.ShortName, status)
	}
}

// giveUp records a variant that cannot run.
func (q *queue) giveUp(w *waiting, why error) error {
	q.started++
	results, err := q.start(w.Variant, q.repeat, w.Params, nil)
	if err != nil {
		return err
	}
	o := result.Outcome{Failure: describe(why)}
	q.Log.Info("variant ends", "variant", results.ID(), "step", "end", "name", w.ShortName, "status", o.Status.String(), "because", o.Message)
	if err := results.Finish(o); err != nil {
		q.Log.Warn("results not written", "error", err)
	}
	q.changed()
	q.count(w.Variant, o.Status)
	return nil
}

// refuse says why a variant cannot run, nil if it can.
func (q *queue) refuse(w *waiting) error {
	for _, dependency := range w.Dep {
		for _, other := range q.unmet {
			if satisfies(other.name, dependency) {
				return result.Cancel.Errorf("it depends on %s, which ended with %s", other.name, other.status)
			}
		}
	}
	if w.needs.hosts > len(q.Hosts) {
		return result.Skip.Errorf("it needs %d hosts (param hosts_needed, or the scenario's), the run has %d", w.needs.hosts, len(q.Hosts))
	}
	return nil
}

// dependsOnRunning says whether a variant depends on one that is not over.
func (q *queue) dependsOnRunning(w *waiting, place int) bool {
	for _, dependency := range w.Dep {
		for _, other := range slices.Concat(q.runs, q.waits[:place]) {
			if satisfies(other.Name, dependency) {
				return true
			}
		}
	}
	return false
}

// satisfies says whether a variant is one that the dependency means: its labels
// stand in the variant's name, one after the other. So it is in virt-test, but
// that it looks for the text.
func satisfies(name, dependency string) bool {
	return dependency != "" && strings.Contains("."+name+".", "."+dependency+".")
}
