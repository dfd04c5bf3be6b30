// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Step is one step of a walk. Steps that migrate say how many hosts further, not to which
// host, so that a walk without some of its steps is a walk too.
type Step interface {
	// possible says whether the step can be done in the model's state.
	possible(*model) bool
	// apply changes the model to the state after the step.
	apply(*model)
	// call is the step as a scenario's statement, in the model's state before it.
	call(*model) string
	// simpler are steps that do less, those that do least first.
	simpler() []Step
}

// model is what is known of the guest between two steps.
type model struct {
	hosts    int
	at       int // the host that it runs on, from 1
	disks    []string
	nics     []string
	furthest int // the last host that it has been on
}

func newModel(hosts int) *model { return &model{hosts: hosts, at: 1, furthest: 1} }

// to is the host that is a number of hosts further.
func (m *model) to(hop int) int { return (m.at-1+hop)%m.hosts + 1 }

// visits notes that a step needs a host.
func (m *model) visits(host int) { m.furthest = max(m.furthest, host) }

// Possible returns the steps of a list that can be done one after the other.
func Possible(hosts int, steps []Step) []Step {
	m := newModel(hosts)
	return slices.DeleteFunc(slices.Clone(steps), func(s Step) bool {
		if !s.possible(m) {
			return true
		}
		s.apply(m)
		return false
	})
}

// way is how a guest is sent.
type way struct {
	transport string
	feature   feature // the zero value: none
	speed     string  // mig_speed; "": not set
}

// arguments are the params argument of a call, with what precedes it; "" if there are none.
func (w way) arguments() string {
	var params []param
	if w.transport != tcp {
		params = append(params, param{"mig_protocol", w.transport})
	}
	params = append(params, w.feature.params...)
	if w.speed != "" {
		params = append(params, param{"mig_speed", w.speed})
	}
	if len(params) == 0 {
		return ""
	}
	texts := make([]string, len(params))
	for i, p := range params {
		texts[i] = strconv.Quote(p.key) + ": " + strconv.Quote(p.value)
	}
	return ", params = {" + strings.Join(texts, ", ") + "}"
}

// simpler are ways that have less.
func (w way) simpler() []way {
	plain := way{transport: tcp}
	var all []way
	for _, other := range []way{plain, {transport: tcp, feature: w.feature, speed: w.speed}, {transport: w.transport, speed: w.speed}, {transport: w.transport, feature: w.feature}} {
		if !other.equal(w) && !slices.ContainsFunc(all, other.equal) {
			all = append(all, other)
		}
	}
	return all
}

func (w way) equal(o way) bool {
	return w.transport == o.transport && w.feature.name == o.feature.name && w.speed == o.speed
}

// move migrates the guest.
type move struct {
	hop       int
	way       way
	hold      bool
	meanwhile string // "": nothing
}

func (s move) possible(m *model) bool { return s.hop%m.hosts != 0 }

func (s move) apply(m *model) {
	m.at = m.to(s.hop)
	m.visits(m.at)
}

func (s move) call(m *model) string {
	var b strings.Builder
	fmt.Fprintf(&b, "move(walk, %d%s", m.to(s.hop), s.way.arguments())
	if s.hold {
		b.WriteString(", hold = True")
	}
	if s.way.feature.postcopy {
		b.WriteString(", postcopy = True")
	}
	if s.meanwhile != "" {
		fmt.Fprintf(&b, ", meanwhile = %q", s.meanwhile)
	}
	b.WriteString(")")
	return b.String()
}

func (s move) simpler() []Step {
	var all []Step
	if s.hold || s.meanwhile != "" {
		all = append(all, move{hop: s.hop, way: s.way})
	}
	for _, w := range s.way.simpler() {
		all = append(all, move{hop: s.hop, way: w, hold: s.hold, meanwhile: s.meanwhile})
	}
	return all
}

// The functions of @std//walk.star that begin a migration which does not complete.
const (
	cancelMove      = "cancel_move"
	loseDestination = "lose_destination"
)

// stopped begins to migrate the guest, and does not let it arrive: the migration is
// cancelled, or the destination lost.
type stopped struct {
	function string // cancelMove or loseDestination
	hop      int
	status   string // in which that happens
	way      way
}

func (s stopped) possible(m *model) bool { return s.hop%m.hosts != 0 }
func (s stopped) apply(m *model)         { m.visits(m.to(s.hop)) }

func (s stopped) call(m *model) string {
	return fmt.Sprintf("%s(walk, %d, %q%s)", s.function, m.to(s.hop), s.status, s.way.arguments())
}

func (s stopped) simpler() []Step {
	var all []Step
	for _, w := range s.way.simpler() {
		all = append(all, stopped{s.function, s.hop, s.status, w})
	}
	return all
}

// pause pauses the guest for a while.
type pause struct{ seconds string }

func (pause) possible(*model) bool { return true }
func (pause) apply(*model)         {}
func (s pause) call(*model) string { return "pause(walk, " + s.seconds + ")" }
func (pause) simpler() []Step      { return nil }

// reboot reboots the guest.
type reboot struct{ how string }

func (reboot) possible(*model) bool { return true }
func (reboot) apply(*model)         {}
func (s reboot) call(*model) string { return fmt.Sprintf("reboot(walk, %q)", s.how) }
func (reboot) simpler() []Step      { return nil }

// plugDisk plugs a disk into the guest.
type plugDisk struct{ name string }

func (s plugDisk) possible(m *model) bool { return !slices.Contains(m.disks, s.name) }
func (s plugDisk) apply(m *model)         { m.disks = append(m.disks, s.name) }
func (s plugDisk) call(*model) string     { return fmt.Sprintf("plug_disk(walk, %q)", s.name) }
func (plugDisk) simpler() []Step          { return nil }

// plugNIC plugs a network card into the guest.
type plugNIC struct{ name string }

func (s plugNIC) possible(m *model) bool { return !slices.Contains(m.nics, s.name) }
func (s plugNIC) apply(m *model)         { m.nics = append(m.nics, s.name) }
func (s plugNIC) call(*model) string     { return fmt.Sprintf("plug_nic(walk, %q)", s.name) }
func (plugNIC) simpler() []Step          { return nil }

// unplug unplugs a disk or card.
type unplug struct{ name string }

func (s unplug) possible(m *model) bool {
	return slices.Contains(m.disks, s.name) || slices.Contains(m.nics, s.name)
}

func (s unplug) apply(m *model) {
	is := func(name string) bool { return name == s.name }
	m.disks, m.nics = slices.DeleteFunc(m.disks, is), slices.DeleteFunc(m.nics, is)
}

func (s unplug) call(*model) string { return fmt.Sprintf("unplug(walk, %q)", s.name) }
func (unplug) simpler() []Step      { return nil }
