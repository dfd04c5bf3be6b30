// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"log/slog"
	"math"
	"time"
)

// PredictedFrom is what a prediction was made from.
type PredictedFrom string

// The bases of predictions, in the order in which they are made.
const (
	FromMeasurement PredictedFrom = "dirty rate" // QEMU's calc-dirty-rate, before the migration
	FromFirstPass   PredictedFrom = "first pass" // what the guest has dirtied while it was sent
	FromSecondPass  PredictedFrom = "second pass"
)

// Prediction is what was predicted of whether and when a VM's migration converges, and how
// that came out.
type Prediction struct {
	From         PredictedFrom `json:"from"`
	Converges    bool          `json:"converges"`
	Milliseconds int64         `json:"ms,omitzero"`                // QEMU's total-time, if it converges
	Dirty        float64       `json:"dirty_bytes_per_second"`     // the guest's dirty rate
	Rate         float64       `json:"bandwidth_bytes_per_second"` // at which its memory is sent
	Limited      bool          `json:"limited,omitzero"`           // by max-bandwidth
	Throttled    float64       `json:"throttled_percent,omitzero"` // by auto-converge, when it converges
	// Postcopy is the total-time if it is switched to post-copy after the first pass, of a
	// migration that would not converge and can be switched. In milliseconds.
	Postcopy int64 `json:"postcopy_ms,omitzero"`

	Verdict PredictionVerdict `json:"verdict,omitempty"` // "" while it moves
	Why     string            `json:"why,omitempty"`     // of Unjudged
	Actual  int64             `json:"actual_ms,omitzero"`
	// Error is Milliseconds / Actual: 1 is exact, 2 twice as long as it took. 0: not known.
	Error float64 `json:"error,omitzero"`
}

// PredictionVerdict is how a prediction came out. It is no verdict on the migration.
type PredictionVerdict string

// The verdicts of predictions.
const (
	RightlyPredicted PredictionVerdict = "right"      // it has converged, or not, as predicted; Error says how exact the time was
	WronglyPredicted PredictionVerdict = "wrong"      // it has not
	Unjudged         PredictionVerdict = "not judged" // something else has ended the migration, or changed it
)

// String is the prediction in a few words.
func (p Prediction) String() string {
	switch {
	case p.Converges && p.Throttled > 0:
		return fmt.Sprintf("will converge in about %s, with the guest throttled by %.0f %%", p.Time(), p.Throttled)
	case p.Converges:
		return "will converge in about " + p.Time().String()
	case p.Limited:
		return "will not converge at this bandwidth limit"
	default:
		return "will not converge at this throughput"
	}
}

// Time is how long the migration takes, if it converges.
func (p Prediction) Time() time.Duration {
	d := time.Duration(p.Milliseconds) * time.Millisecond
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// RoundedError is Error with two digits after the point.
func (p Prediction) RoundedError() float64 { return math.Round(p.Error*100) / 100 }

// Prediction is the last of the predictions; false if there is none.
func (m MovedVM) Prediction() (Prediction, bool) {
	if len(m.Predictions) == 0 {
		return Prediction{}, false
	}
	return m.Predictions[len(m.Predictions)-1], true
}

// PredictionAttrs are a prediction as attributes of a record of the log.
func PredictionAttrs(p Prediction) []slog.Attr {
	attrs := []slog.Attr{slog.String("from", string(p.From)), slog.Bool("converges", p.Converges)}
	if p.Converges {
		attrs = append(attrs, slog.Int64("predicted_ms", p.Milliseconds))
	}
	return attrs
}

// Prediction reads the values of PredictionAttrs; false if the event is none.
func (e Event) Prediction() (p Prediction, ok bool) {
	from, _ := e.Fields.Get("from").(string)
	p.From = PredictedFrom(from)
	p.Converges, ok = e.Fields.Get("converges").(bool)
	p.Milliseconds, _ = e.Fields.Get("predicted_ms").(int64)
	return p, ok && from != ""
}
