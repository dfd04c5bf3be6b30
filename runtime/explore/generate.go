// SPDX-License-Identifier: Apache-2.0

// Package explore generates random walks of a guest over migrations, features, faults and
// devices, as scenarios, and shrinks those that fail.
//
//	all, err := explore.ParseAbilities(saved) // by explore.AbilitiesScenario
//	steps := explore.NewVocabulary(all).Walk(seed, 200)
//	source := explore.Scenario(about, len(all), steps)
//
// A model of the guest says which steps are possible, so that every walk is. What they do
// and what is checked after each, is in @std//walk.star. Nothing here runs a scenario.
package explore

import (
	"math/rand/v2"
	"slices"
)

// Walk draws the steps of a walk. The same seed and vocabulary always give the same
// steps, and more of them begin with the same.
func (v *Vocabulary) Walk(seed uint64, steps int) []Step {
	d := &draw{Vocabulary: v, random: rand.New(rand.NewPCG(seed, 0)), model: newModel(v.Hosts)}
	walk := make([]Step, 0, steps)
	for len(walk) < steps {
		s := d.step()
		if !s.possible(d.model) {
			continue
		}
		s.apply(d.model)
		walk = append(walk, s)
	}
	return walk
}

// draw is the drawing of one walk.
type draw struct {
	*Vocabulary
	random *rand.Rand
	model  *model
}

// kinds are the kinds of steps, with how often they are drawn. A drawn step may be
// impossible.
var kinds = []struct {
	weight int
	draw   func(*draw) Step
}{
	{16, (*draw).move},
	{2, func(d *draw) Step { return d.stopped(cancelMove) }},
	{2, func(d *draw) Step { return d.stopped(loseDestination) }},
	{1, func(d *draw) Step { return pause{one(d, []string{"0.2", "1"})} }},
	{1, func(d *draw) Step { return reboot{one(d, []string{"qmp", "shell"})} }},
	{1, func(d *draw) Step { return plugDisk{one(d, []string{"disk1", "disk2"})} }},
	{1, func(*draw) Step { return plugNIC{"card1"} }},
	{1, func(d *draw) Step { return unplug{one(d, []string{"disk1", "disk2", "card1"})} }},
}

func (d *draw) step() Step {
	all := 0
	for _, k := range kinds {
		all += k.weight
	}
	n := d.random.IntN(all)
	for _, k := range kinds {
		if n -= k.weight; n < 0 {
			return k.draw(d)
		}
	}
	panic("unreachable: n is less than the sum of all weights")
}

// one draws one of several.
func one[T any](d *draw, all []T) T { return all[d.random.IntN(len(all))] }

// often is true once in n times.
func (d *draw) often(n int) bool { return d.random.IntN(n) == 0 }

func (d *draw) hop() int { return 1 + d.random.IntN(d.Hosts-1) }

// way draws how a guest is sent, by one of these transports and features.
func (d *draw) way(transports []string, may func(feature) bool) way {
	w := way{transport: one(d, transports)}
	usable := []feature{{}, {}}
	for _, f := range d.features {
		if f.worksWith(w.transport) && may(f) {
			usable = append(usable, f)
		}
	}
	w.feature = one(d, usable)
	if d.often(4) {
		w.speed = one(d, []string{"32M", "64M", "256M"})
	}
	return w
}

func (d *draw) move() Step {
	s := move{hop: d.hop(), way: d.way(d.transports, func(feature) bool { return true })}
	switch streams := s.way.transport != file && !s.way.feature.postcopy; {
	case streams && d.often(6):
		s.hold = true
	case streams && s.way.transport == tcp && d.often(3):
		s.meanwhile = one(d, d.meanwhile)
	}
	return s
}

// stopped draws a migration that does not complete.
func (d *draw) stopped(function string) Step {
	direct := slices.DeleteFunc(slices.Clone(d.transports), func(name string) bool { return name != tcp && name != unix })
	may := func(f feature) bool { return !f.postcopy && (function != loseDestination || !f.notLost) }
	s := stopped{function: function, hop: d.hop(), status: one(d, []string{"active", "pre-switchover"}), way: d.way(direct, may)}
	s.way.speed = "" // it is limited
	return s
}
