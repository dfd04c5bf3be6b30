// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Shrinking is how the walk of a violation is made smaller: by running smaller ones, until
// none of them has the violation, or a limit is reached.
type Shrinking struct {
	Hosts int
	// Runs and Time limit it: how many walks are run, and for how long new ones begin.
	Runs int
	Time time.Duration
	// Tries is how often a walk is run before it counts as one without the violation: not
	// every fault shows each time.
	Tries int
	// Run runs a walk, and says whether it has the violation.
	Run func(ctx context.Context, steps []Step) (bool, error)
	// Progress is called before each run. Nil: it is not.
	Progress func(Progress)
}

// Progress is how far shrinking has come.
type Progress struct {
	Run      int // the number of the run that begins, from 1
	Smallest int // steps of the smallest walk with the violation
	Steps    int // of the walk that is run
}

// Shrunk is the smallest walk that was found.
type Shrunk struct {
	Steps []Step
	Runs  int
	// Complete says that nothing smaller was left to try: no limit was reached.
	Complete bool
}

// Shrink makes a walk with a violation smaller: its beginning is left out, then pieces of
// it, each half as large as those before (delta debugging); what is left of its steps does
// less, where that is enough. It blocks until a limit is reached, or nothing smaller has
// the violation. On an error of Run, which may be that of ctx, it returns the smallest walk
// so far too.
func (o Shrinking) Shrink(ctx context.Context, steps []Step) (Shrunk, error) {
	s := &shrinker{Shrinking: o, smallest: Possible(o.Hosts, steps), seen: map[string]bool{}, began: time.Now()}
	s.seen[s.key(s.smallest)] = true
	err := s.all(ctx)
	return Shrunk{Steps: s.smallest, Runs: s.runs, Complete: err == nil && !s.limited}, err
}

type shrinker struct {
	Shrinking
	smallest []Step
	seen     map[string]bool // walks that were run
	began    time.Time
	runs     int
	limited  bool // a limit was reached
}

func (s *shrinker) all(ctx context.Context) error {
	if err := s.beginning(ctx); err != nil {
		return err
	}
	for before := ""; before != s.key(s.smallest) && !s.limited; {
		before = s.key(s.smallest)
		if err := s.pieces(ctx); err != nil {
			return err
		}
		if err := s.details(ctx); err != nil {
			return err
		}
	}
	return nil
}

// key is a walk as text.
func (s *shrinker) key(steps []Step) string { return strings.Join(Text(s.Hosts, steps), "\n") }

// try runs a walk without the steps that are not possible, and keeps it if it has the
// violation.
func (s *shrinker) try(ctx context.Context, steps []Step) (found bool, err error) {
	steps = Possible(s.Hosts, steps)
	key := s.key(steps)
	if len(steps) == 0 || s.seen[key] {
		return false, nil
	}
	s.seen[key] = true
	for range max(s.Tries, 1) {
		if s.runs >= s.Runs || time.Since(s.began) >= s.Time {
			s.limited = true
			return false, nil
		}
		s.runs++
		if s.Progress != nil {
			s.Progress(Progress{Run: s.runs, Smallest: len(s.smallest), Steps: len(steps)})
		}
		if found, err = s.Run(ctx, steps); err != nil || found {
			break
		}
	}
	if found {
		s.smallest = steps
	}
	return found, err
}

// beginning leaves out as much of the beginning as it can, most of it first: what a
// violation needs is often the last steps alone.
func (s *shrinker) beginning(ctx context.Context) error {
	for n := 1; n < len(s.smallest) && !s.limited; n *= 2 {
		found, err := s.try(ctx, s.smallest[len(s.smallest)-n:])
		if err != nil || found {
			return err
		}
	}
	return nil
}

// pieces leaves out pieces, the large ones first.
func (s *shrinker) pieces(ctx context.Context) error {
	for size := (len(s.smallest) + 1) / 2; size > 0; size /= 2 {
		for at := 0; at < len(s.smallest); {
			if s.limited {
				return nil
			}
			found, err := s.try(ctx, slices.Delete(slices.Clone(s.smallest), at, min(at+size, len(s.smallest))))
			switch {
			case err != nil:
				return err
			case !found:
				at += size
			}
		}
	}
	return nil
}

// details makes steps do less.
func (s *shrinker) details(ctx context.Context) error {
	for at := 0; at < len(s.smallest); at++ {
		simpler := s.smallest[at].simpler()
		for i := 0; i < len(simpler) && !s.limited; i++ {
			steps := slices.Clone(s.smallest)
			steps[at] = simpler[i]
			found, err := s.try(ctx, steps)
			if err != nil {
				return err
			}
			if found && at < len(s.smallest) {
				simpler, i = s.smallest[at].simpler(), -1
			}
		}
	}
	return nil
}

// Violation is what violations have in common that are the same: the first words of the
// message, without those that have a digit, such as addresses and names of hosts.
func Violation(message string) string {
	const enough = 8
	var words []string
	for word := range strings.FieldsSeq(message) {
		if !strings.ContainsFunc(word, unicode.IsDigit) {
			words = append(words, strings.Trim(word, ",;:()"))
		}
	}
	return strings.Join(words[:min(enough, len(words))], " ")
}
