// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	// sampleInterval is how often query-migrate is executed while a VM moves. The end is
	// detected by QEMU's event.
	sampleInterval = 250 * time.Millisecond
	// observedInterval is how often it is executed while somebody waits for a condition
	// that QEMU has no event for.
	observedInterval = 20 * time.Millisecond
	// maxSamples is about how many samples of a move are kept: at the sampleInterval those
	// of eight minutes. The older ones of a longer move are further apart.
	maxSamples = 2000
	// settleInterval is the first pause between two queries for the final statistics, which
	// are due at once; each further one is twice as long.
	settleInterval = 2 * time.Millisecond
)

// Stats returns, for each VM, QEMU's statistics (query-migrate on the source):
// total-time, downtime, setup-time in milliseconds, ram sizes in bytes, and before
// it begins to move only its status, none. If the guest sends clock stamps, it adds
// what they show: guest_downtime, guest_clock_stop, guest_brownout, guest_longest_gap
// and guest_silence in milliseconds, see [result.GuestClock]; after a memory proof its
// memory_proof_pages, memory_proof_time in milliseconds and memory_proof_moved in bytes,
// see [result.MemoryProof]; when it was predicted whether it converges, see addPrediction.
// While a VM moves the statistics are those of the last sample.
func (m *Migration) Stats() map[string]map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]map[string]any{}
	for name, mv := range m.moves {
		out[name] = map[string]any{"status": string(mv.state)}
		if mv.query != nil {
			out[name] = maps.Clone(mv.query)
			mv.addGuestClock(out[name])
			mv.addMemoryProof(out[name])
			mv.addFeatures(out[name])
			mv.addPrediction(out[name])
		}
	}
	return out
}

// sampleResult is the result of one query-migrate.
type sampleResult struct {
	state State
	err   error
}

// startSampling polls query-migrate on the source until ctx ends, then closes the
// channel. Those that wait for the samples get them by the migration's broadcast; the
// channel has one per sampleInterval, and every error and every end.
func (mv *move) startSampling(ctx context.Context, monitor *qmp.Conn) <-chan sampleResult {
	results := make(chan sampleResult)
	go func() {
		defer close(results)
		began := time.Now()
		reported := began
		for {
			interval, changed := mv.m.currentInterval()
			select {
			case <-time.After(time.Until(began.Add(interval))):
			case <-changed: // the interval may be another one now
				continue
			case <-ctx.Done():
				return
			}
			began = time.Now()
			state, err := mv.sample(ctx, monitor)
			if err == nil && !state.Terminal() && began.Sub(reported) < sampleInterval {
				continue
			}
			reported = began
			select {
			case results <- sampleResult{state, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return results
}

func (mv *move) sample(ctx context.Context, monitor *qmp.Conn) (state State, err error) {
	var query map[string]any
	if err := monitor.Execute(ctx, "query-migrate", nil, &query); err != nil {
		return "", err
	}
	mv.m.mu.Lock()
	defer mv.m.mu.Unlock()
	now := result.Sample{Time: time.Now(), Query: query}
	if before := (result.Sample{Query: mv.query}); mv.query == nil || now.Progress().Transferred != before.Progress().Transferred {
		mv.moved = now.Time
	}
	mv.query, mv.sampled = query, now.Time
	mv.samples = bound(thin(append(mv.samples, now)))
	mv.throttling.note(now)
	mv.forecast.note(now)
	mv.m.broadcastLocked()
	status, _ := query["status"].(string)
	return State(status), nil
}

// finalSample reads query-migrate until it has the final statistics: QEMU reports the
// end shortly before they are complete.
func (mv *move) finalSample(ctx context.Context, monitor *qmp.Conn, state State) (errorDesc string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mv.m.timeouts.settle, errors.New("QEMU reports no final statistics of the migration"))
	defer cancel()
	for wait := settleInterval; ; wait = min(2*wait, sampleInterval) {
		if _, err := mv.sample(ctx, monitor); err != nil {
			return "", err
		}
		mv.m.mu.Lock()
		query := mv.query
		mv.m.mu.Unlock()
		desc, _ := query["error-desc"].(string)
		total, _ := query["total-time"].(float64)
		if state != qmp.MigrationCompleted || total > 0 {
			return desc, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// thin keeps the newest of the samples, and of the others no two within a
// sampleInterval.
func thin(samples []result.Sample) []result.Sample {
	n := len(samples)
	if n < 3 || samples[n-2].Time.Sub(samples[n-3].Time) >= sampleInterval {
		return samples
	}
	samples[n-2] = samples[n-1]
	return samples[:n-1]
}

// bound returns the samples; when there are more than maxSamples, with the older half of
// them further apart: twice the sampleInterval, or four times, and so on, until a quarter
// of that half is gone. The first one stays, and unless they are too many those between
// which the status changes.
func bound(samples []result.Sample) []result.Sample {
	const half, most = maxSamples / 2, maxSamples * 3 / 8
	if len(samples) <= maxSamples {
		return samples
	}
	older, newer := samples[:half], samples[half:]
	span := older[half-1].Time.Sub(older[0].Time)
	for _, changes := range []bool{true, false} {
		for apart := 2 * sampleInterval; len(older) > most && apart <= span; apart *= 2 {
			older = spread(older, apart, changes)
		}
	}
	return append(older, newer...)
}

// spread returns a copy of samples, the first of them and others that are at least so far
// apart, with changes also those before and after a change of the status.
func spread(samples []result.Sample, apart time.Duration, changes bool) []result.Sample {
	status := func(i int) string { return samples[i].Progress().Status }
	var kept []result.Sample
	for i, s := range samples {
		changed := i > 0 && status(i-1) != status(i) || i+1 < len(samples) && status(i) != status(i+1)
		if i == 0 || changes && changed || s.Time.Sub(kept[len(kept)-1].Time) >= apart {
			kept = append(kept, s)
		}
	}
	return kept
}
