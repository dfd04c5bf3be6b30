// SPDX-License-Identifier: Apache-2.0

// Package barrier synchronizes the parties of a test: at a barrier they wait for each
// other, at a sync they also exchange a value each.
//
// It replaces virt-test's synchronization server. Since one controller runs all
// parties, a barrier is a map under a mutex; and since the controller knows when a
// party has ended, a barrier that can never be complete fails at once, with the
// missing parties and what they did last.
//
// All methods may be called from any goroutine.
package barrier

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Group is a set of parties with their barriers.
type Group struct {
	mu      sync.Mutex
	parties []string          // in the order given to New
	left    map[string]string // party -> why it left
	where   map[string]string // party -> what it is doing, for messages
	rounds  map[string]*round
}

// round is one use of a barrier. It is complete when every expected party has arrived;
// the next arrival at the tag then starts a new round.
type round struct {
	tag     string
	expect  []string
	arrived map[string]any
	done    chan struct{}
	err     error // set before done is closed, when the round failed
}

// New returns a group of the given parties, whose names must be unique.
func New(parties ...string) *Group {
	return &Group{
		parties: slices.Clone(parties),
		left:    map[string]string{},
		where:   map[string]string{},
		rounds:  map[string]*round{},
	}
}

// Parties returns the names given to [New].
func (r *Group) Parties() []string { return slices.Clone(r.parties) }

// At records what a party is doing, for the errors of others that wait for it.
func (r *Group) At(party, where string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.where[party] = where
}

// Leave declares that a party will not arrive at any barrier any more, and why.
// Barriers that wait for it fail at once. A party that failed need not leave if its
// failure ends the contexts of the others: their errors are then more specific.
func (r *Group) Leave(party, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, gone := r.left[party]; gone {
		return
	}
	r.left[party] = reason
	for _, m := range r.rounds {
		if _, here := m.arrived[party]; !here && slices.Contains(m.expect, party) {
			r.end(m, r.incompleteError(m))
		}
	}
}

// Sync waits until every party of with (nil: of the group) has called Sync with
// the same tag, and returns what each of them brought. It fails when a party
// that is still expected has left, when parties disagree about who is
// expected, and when ctx ends; the error is an *[Error] then. A party whose
// ctx has ended does not count as arrived: the others go on waiting, and it may call
// Sync again.
func (r *Group) Sync(ctx context.Context, party, tag string, data any, with []string) (map[string]any, error) {
	m, err := r.arrive(party, tag, data, with)
	if err != nil {
		return nil, err
	}
	select {
	case <-m.done:
	case <-ctx.Done():
		if err := r.giveUp(m, party, context.Cause(ctx)); err != nil {
			return nil, err
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	return maps.Clone(m.arrived), nil
}

func (r *Group) arrive(party, tag string, data any, with []string) (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	expect := r.parties
	if with != nil {
		expect = with
	}
	if err := r.check(party, tag, expect); err != nil {
		return nil, err
	}
	m := r.rounds[tag]
	if m == nil {
		m = &round{tag: tag, expect: slices.Clone(expect), arrived: map[string]any{}, done: make(chan struct{})}
		r.rounds[tag] = m
	}
	if !sameMembers(m.expect, expect) {
		return nil, &Error{Tag: tag, Problem: fmt.Sprintf("%s waits for %s, but the waiting parties expect %s",
			party, strings.Join(expect, ", "), strings.Join(m.expect, ", "))}
	}
	if _, twice := m.arrived[party]; twice {
		return nil, &Error{Tag: tag, Problem: party + " is already waiting there"}
	}
	m.arrived[party] = data
	switch {
	case len(m.arrived) == len(m.expect):
		r.end(m, nil)
	case r.someoneLeft(m):
		r.end(m, r.incompleteError(m))
	}
	return m, nil
}

// giveUp takes an arrival back, unless the round has just ended.
func (r *Group) giveUp(m *round, party string, cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-m.done:
		return nil
	default:
	}
	err := &Error{Tag: m.tag, Problem: cause.Error(), Missing: r.missing(m), Cause: cause}
	delete(m.arrived, party)
	if len(m.arrived) == 0 {
		delete(r.rounds, m.tag) // the next round may have other parties
	}
	return err
}

// check checks that party may wait at tag for expect.
func (r *Group) check(party, tag string, expect []string) error {
	if !slices.Contains(expect, party) {
		return &Error{Tag: tag, Problem: fmt.Sprintf("%s is not one of the parties of this barrier (%s)", party, strings.Join(expect, ", "))}
	}
	for i, p := range expect {
		if !slices.Contains(r.parties, p) {
			return &Error{Tag: tag, Problem: fmt.Sprintf("no party %q, only %s", p, strings.Join(r.parties, ", "))}
		}
		if slices.Contains(expect[:i], p) {
			return &Error{Tag: tag, Problem: p + " is named twice as a party of this barrier"}
		}
	}
	if reason, gone := r.left[party]; gone {
		return &Error{Tag: tag, Problem: party + " has left: " + reason}
	}
	return nil
}

// end completes or fails m; the caller holds r.mu.
func (r *Group) end(m *round, err error) {
	m.err = err
	close(m.done)
	delete(r.rounds, m.tag)
}

func (r *Group) someoneLeft(m *round) bool {
	return slices.ContainsFunc(m.expect, func(p string) bool {
		_, here := m.arrived[p]
		_, gone := r.left[p]
		return gone && !here
	})
}

func (r *Group) incompleteError(m *round) error {
	return &Error{Tag: m.tag, Problem: "cannot complete any more", Missing: r.missing(m)}
}

func (r *Group) missing(m *round) []Absence {
	var absent []Absence
	for _, p := range m.expect {
		if _, here := m.arrived[p]; here {
			continue
		}
		a := Absence{Party: p, Where: r.where[p]}
		if reason, gone := r.left[p]; gone {
			a.Where, a.Left = reason, true
		}
		absent = append(absent, a)
	}
	return absent
}

func sameMembers(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(p string) bool { return !slices.Contains(b, p) })
}

// Absence is a party that a barrier waits for.
type Absence struct {
	Party string
	Where string // what it was doing last, or why it left
	Left  bool   // it will not arrive any more
}

// Error is a barrier that failed.
type Error struct {
	Tag     string
	Problem string
	Missing []Absence
	Cause   error // the context's, when a waiting party timed out
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "barrier %s: %s", e.Tag, e.Problem)
	for i, a := range e.Missing {
		if i == 0 {
			b.WriteString("; missing: ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(a.Party)
		switch {
		case a.Left:
			fmt.Fprintf(&b, " (ended: %s)", a.Where)
		case a.Where != "":
			fmt.Fprintf(&b, " (%s)", a.Where)
		}
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Cause }
