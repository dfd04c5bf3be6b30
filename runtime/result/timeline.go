// SPDX-License-Identifier: Apache-2.0

package result

import (
	"log/slog"
	"sync"
	"time"
)

// Kind is the kind of a span.
type Kind string

// The kinds of spans.
const (
	StepSpan    Kind = "step"    // a host, or the variant itself, is in this step
	BarrierSpan Kind = "barrier" // a side waits for the other one
	MarkSpan    Kind = "mark"    // an event without a duration
)

// Span is an entry of a variant's timeline.
type Span struct {
	Kind      Kind      `json:"kind"`
	Name      string    `json:"name"`               // the step, the barrier's tag, or the message
	Host      string    `json:"host,omitempty"`     // "": the variant as a whole
	Side      string    `json:"side,omitempty"`     // source, destination
	VM        string    `json:"vm,omitempty"`       // of a mark
	Migration int       `json:"migration,omitzero"` // its number
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Level     string    `json:"level,omitempty"` // of a mark: INFO, WARN, ERROR
}

// Timeline is timeline.json: the steps, barriers and marks of a variant, by start.
type Timeline []Span

// maxMarks bounds a timeline; the log has them all.
const maxMarks = 500

// The keys of records that a timeline is made of, beside "step".
const (
	MigrationKey = "migration" // the migration's number
	BarrierKey   = "barrier"   // the tag of a completed barrier
	WaitedKey    = "waited"    // for how long
	RestoredKey  = "restored"  // how long it took to restore a guest from a saved state
)

// timeline makes a Timeline from a variant's events: an event with a step begins that
// step in its lane and ends the one before; an event with a barrier is a completed
// one; others from Info on are marks.
type timeline struct {
	mu    sync.Mutex // guards what follows
	spans Timeline
	open  map[lane]int // in spans: the step that each lane is in
	marks int
}

// lane is a sequence of steps.
type lane struct {
	host, side string
	migration  int64
}

// restoreStep is the step of a host that restores a guest. It belongs to no lane: guests
// are restored while their side is in a step of its own.
const restoreStep = "restore"

// lastStep is the step that ends a lane.
const lastStep = "end"

func (t *timeline) add(e *Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number, _ := e.Fields.Get(MigrationKey).(int64)
	span := Span{Kind: MarkSpan, Name: e.Message, Host: e.Host, Side: e.Side, VM: e.VM, Migration: int(number), Start: e.Time, End: e.Time}
	tag, _ := e.Fields.Get(BarrierKey).(string)
	restored, _ := e.Fields.Get(RestoredKey).(string)
	switch {
	case restored != "":
		length, err := time.ParseDuration(restored)
		if err != nil {
			return
		}
		span.Kind, span.Name, span.Start = StepSpan, restoreStep, e.Time.Add(-length)
	case tag != "":
		waited, _ := e.Fields.Get(WaitedKey).(string)
		length, err := time.ParseDuration(waited)
		if err != nil {
			return
		}
		span.Kind, span.Name, span.Start = BarrierSpan, tag, e.Time.Add(-length)
	case e.Step != "":
		t.step(e, lane{e.Host, e.Side, number}, span)
		return
	case e.Level < slog.LevelInfo || t.marks == maxMarks:
		return
	default:
		t.marks++
		span.Level = e.Level.String()
	}
	t.spans = append(t.spans, span)
}

func (t *timeline) step(e *Event, l lane, span Span) {
	if i, ok := t.open[l]; ok {
		t.spans[i].End = e.Time
		delete(t.open, l)
	}
	if e.Step == lastStep {
		return
	}
	span.Kind, span.Name = StepSpan, e.Step
	if t.open == nil {
		t.open = map[lane]int{}
	}
	t.open[l] = len(t.spans)
	t.spans = append(t.spans, span)
}

// end ends the open steps and returns the timeline.
func (t *timeline) end() Timeline {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, i := range t.open {
		t.spans[i].End = time.Now()
	}
	t.open = nil
	return t.spans
}
