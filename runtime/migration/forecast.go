// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/mhmig/mhmig/runtime/prediction"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// forecast is what is known of a move for the predictions of whether it converges, and
// these. It costs a query-migrate-parameters for each move: all else is in the samples.
type forecast struct {
	limits   limitParameters // of the source, now
	throttle *prediction.Throttle
	postcopy bool
	began    time.Time // of the move
	running  bool
	changed  string // what makes the predictions of no use
	overdue  bool

	dirtied   []prediction.Dirtied
	pass      int           // that is being sent
	passBegan time.Duration // since the move began
	all       float64       // what was sent and what remained when it began, in bytes of RAM
	rates     []float64     // of the samples, bytes per second
	last      result.Sample
	lost      bool // passes were shorter than the samples are apart: nothing is known of each
	predicted int  // passes after which there is a prediction

	predictions []result.Prediction
}

// predictedPasses is after how many passes there are predictions. The second shows what
// the first cannot: whether the guest dirties the same memory again and again. Later the
// dirty rate is known exactly, see [result.Progress.Diverges].
const predictedPasses = 2

// prepareForecast reads what predictions depend on from the source, and with mig_prediction
// measures the guest's dirty rate. It is called last before the move.
func (mv *move) prepareForecast(ctx context.Context, src *testbed.Instance) error {
	var p struct {
		limitParameters
		Trigger   float64 `json:"throttle-trigger-threshold"`
		Initial   float64 `json:"cpu-throttle-initial"`
		Increment float64 `json:"cpu-throttle-increment"`
		Max       float64 `json:"max-cpu-throttle"`
	}
	if err := src.Monitor().Execute(ctx, "query-migrate-parameters", nil, &p); err != nil {
		return err
	}
	f := forecast{limits: p.limitParameters, postcopy: mv.m.options.postcopy.on}
	if mv.m.options.autoConverge {
		f.throttle = &prediction.Throttle{Trigger: cmp.Or(p.Trigger, 50), Initial: p.Initial, Increment: p.Increment, Max: p.Max} // QEMU before 5.1 has no trigger
	}
	mv.m.mu.Lock()
	mv.forecast = f
	mv.m.mu.Unlock()
	if !mv.m.options.predict {
		return nil
	}
	return mv.predictBefore(ctx, src)
}

// predictBefore predicts the move from the guest's dirty rate, which QEMU measures. All of
// the guest's memory counts as what is sent first: how much of it is zeros is not known.
func (mv *move) predictBefore(ctx context.Context, src *testbed.Instance) error {
	total, err := memorySize(ctx, src.Monitor())
	var dirty float64
	if err == nil {
		dirty, err = src.Monitor().DirtyRate(ctx, dirtyTime)
	}
	switch {
	case err == nil:
	case errors.Is(err, qmp.ErrSilent), errors.Is(err, qmp.ErrGone), ctx.Err() != nil:
		return err
	default:
		src.Log().Warn("mig_prediction: the dirty rate was not measured", "reason", err.Error())
		return nil
	}
	mv.m.mu.Lock()
	f := &mv.forecast
	f.dirtied = append(f.dirtied, prediction.Dirtied{Within: dirtyTime, Bytes: dirty * dirtyTime.Seconds()})
	p, ok := prediction.Predict(prediction.Conditions{
		Remaining: total, Total: total, Limit: float64(f.limits.Bandwidth), Dirtied: f.dirtied,
		DowntimeLimit: f.limits.downtime(), Throttle: f.throttle, Postcopy: f.postcopy,
	})
	mv.m.mu.Unlock()
	if ok {
		mv.addPredicted(ctx, src, result.FromMeasurement, p)
	}
	return nil
}

// memorySize is the size of the guest's RAM in bytes, with what was plugged in.
func memorySize(ctx context.Context, monitor *qmp.Conn) (float64, error) {
	var size struct {
		Base    float64 `json:"base-memory"`
		Plugged float64 `json:"plugged-memory"`
	}
	err := monitor.Execute(ctx, "query-memory-size-summary", nil, &size)
	return size.Base + size.Plugged, err
}

// addPredicted adds a prediction and logs it.
func (mv *move) addPredicted(ctx context.Context, src *testbed.Instance, from result.PredictedFrom, p result.Prediction) {
	p.From = from
	mv.m.mu.Lock()
	mv.forecast.predictions = append(mv.forecast.predictions, p)
	mv.m.mu.Unlock()
	attrs := append(result.PredictionAttrs(p), slog.String("dirty", rate(p.Dirty)), slog.String("bandwidth", rate(p.Rate)))
	if p.Postcopy > 0 && !p.Converges {
		attrs = append(attrs, slog.Duration("with_postcopy", time.Duration(p.Postcopy)*time.Millisecond))
	}
	src.Log().LogAttrs(ctx, slog.LevelInfo, "prediction: the migration "+p.String(), attrs...)
}

func (mv *move) beginForecast(began time.Time) {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.forecast.began, mv.forecast.running = began, true
}

func (mv *move) noteOverdue() {
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	mv.forecast.overdue = true
}

// changeLimits notes that the limits were changed. What was predicted for the earlier ones
// says nothing then. m.mu is held.
func (f *forecast) changeLimits(change func(*limitParameters)) {
	change(&f.limits)
	if f.running {
		f.changed = "its limits were changed while it moved"
	}
}

// note notes a sample of the move: m.mu is held. When a pass has ended since the last one,
// it works out how long that took, and how much the guest has dirtied in it: what is to be
// sent in the next one, and was sent of it already. RAM is counted in whole pages, so that
// neither zeros nor compression matter. After the last prediction there is nothing to note.
func (f *forecast) note(s result.Sample) {
	p := s.Progress()
	sent, _, known := s.SentRAM()
	if !f.running || f.lost || f.predicted == predictedPasses || !known || p.Pass == 0 || p.Status != string(qmp.MigrationActive) {
		return
	}
	elapsed := s.Time.Sub(f.began)
	all := sent + float64(p.Remaining)
	if p.Rate > 0 {
		f.rates = append(f.rates, p.Rate)
	}
	switch {
	case f.pass == 0 && p.Pass == 1:
		setup, _ := s.Query["setup-time"].(float64)
		f.pass, f.passBegan, f.all = 1, min(elapsed, time.Duration(setup)*time.Millisecond), float64(p.Total)
	case p.Pass == f.pass+1:
		dirtied := max(0, all-f.all)
		ended := elapsed
		if rate := f.throughput() / f.cost(s); rate > 0 {
			ended -= time.Duration(max(0, dirtied-float64(p.Remaining)) / rate * float64(time.Second))
		}
		ended = max(ended, f.last.Time.Sub(f.began))
		f.dirtied = append(f.dirtied, prediction.Dirtied{Within: ended - f.passBegan, Bytes: dirtied})
		f.pass, f.passBegan, f.all = p.Pass, ended, all
	case p.Pass != f.pass:
		f.lost = true
	}
	f.last = s
}

// throughput is the upper quartile of the rates: while QEMU finds pages of zeros it sends
// less than it could. 0 if nothing is known.
func (f *forecast) throughput() float64 {
	if len(f.rates) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f.rates))
	return sorted[len(sorted)*3/4]
}

// zeroPageBytes is what QEMU sends for a page of zeros, and leastCounted how much memory
// must have been sent for its cost to be known.
const (
	zeroPageBytes = 9
	leastCounted  = 1 << 20
)

// cost is how many bytes were sent for a byte of memory that is not zero.
func (f *forecast) cost(s result.Sample) float64 {
	sent, zeros, _ := s.SentRAM()
	if sent-zeros < leastCounted {
		return 1
	}
	bytes := float64(s.Progress().Transferred) - zeros/4096*zeroPageBytes
	return min(1, max(bytes/(sent-zeros), 0.01))
}

// predictPass predicts the move anew, once after each of the first passes.
func (mv *move) predictPass(ctx context.Context, src *testbed.Instance) {
	mv.m.mu.Lock()
	f := &mv.forecast
	done := f.pass - 1
	if f.lost || done <= f.predicted || done > predictedPasses || f.last.Query == nil {
		mv.m.mu.Unlock()
		return
	}
	f.predicted = done
	now := f.last.Progress()
	elapsed := f.last.Time.Sub(f.began)
	p, ok := prediction.Predict(prediction.Conditions{
		Elapsed: elapsed, Passed: elapsed - f.passBegan, Remaining: float64(now.Remaining), Total: float64(now.Total),
		Limit: float64(f.limits.Bandwidth), Throughput: f.throughput(), Cost: f.cost(f.last), Dirtied: f.dirtied,
		DowntimeLimit: f.limits.downtime(), Throttle: f.throttle, Postcopy: f.postcopy,
	})
	mv.m.mu.Unlock()
	if ok {
		mv.addPredicted(ctx, src, []result.PredictedFrom{result.FromFirstPass, result.FromSecondPass}[done-1], p)
	}
}

// judged are the predictions, with how they came out if the move has ended; m.mu is held.
func (mv *move) judged() []result.Prediction {
	f := &mv.forecast
	all := slices.Clone(f.predictions)
	if !mv.state.Terminal() {
		return all
	}
	total, _ := mv.query["total-time"].(float64)
	o := prediction.Outcome{
		Completed: mv.state == qmp.MigrationCompleted && !f.overdue, Overdue: f.overdue,
		Total: time.Duration(total * float64(time.Millisecond)), Changed: f.changed, Ended: string(mv.state),
	}
	if f.overdue {
		o.Total = mv.m.options.timeout
	}
	switch {
	case o.Changed != "":
	case mv.switched || mv.postcopied:
		o.Changed = "it was switched to post-copy"
	case mv.m.held:
		o.Changed = "it was held at the switchover"
	}
	for i := range all {
		all[i] = prediction.Judge(all[i], o)
	}
	return all
}

// logVerdict logs how the last prediction came out.
func (mv *move) logVerdict(src *testbed.Instance) {
	mv.m.mu.Lock()
	all := mv.judged()
	mv.m.mu.Unlock()
	if len(all) == 0 {
		return
	}
	p := all[len(all)-1]
	attrs := []any{"from", string(p.From)}
	if p.Verdict == result.Unjudged {
		attrs = append(attrs, "reason", p.Why)
	}
	if p.Error > 0 {
		attrs = append(attrs, "predicted_ms", p.Milliseconds, "took_ms", p.Actual, "error", p.RoundedError())
	}
	src.Log().Info("prediction: "+string(p.Verdict), attrs...)
}

// addPrediction adds the last prediction to QEMU's statistics: predicted_from,
// predicted_convergence, predicted_time in milliseconds if it converges; when the move has
// ended, prediction_verdict, and prediction_error, the predicted time divided by the time
// that it took. m.mu is held.
func (mv *move) addPrediction(stats map[string]any) {
	all := mv.judged()
	if len(all) == 0 {
		return
	}
	p := all[len(all)-1]
	stats["predicted_from"], stats["predicted_convergence"] = string(p.From), p.Converges
	if p.Converges {
		stats["predicted_time"] = p.Milliseconds
	}
	if p.Verdict != "" {
		stats["prediction_verdict"] = string(p.Verdict)
	}
	if p.Error > 0 {
		stats["prediction_error"] = p.RoundedError()
	}
}
