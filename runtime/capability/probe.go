// SPDX-License-Identifier: Apache-2.0

package capability

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/qmp"
)

// Map is what a QEMU accepts.
type Map struct {
	Binary       string       `json:"binary"`
	Version      string       `json:"version"` // such as 7.2.22
	Capabilities []Capability `json:"capabilities"`
	// Pairs are the pairs whose verdict does not follow from those of both alone.
	Pairs []Pair `json:"pairs"`
	// Tried is the number of all pairs.
	Tried      int         `json:"pairs_tried"`
	Parameters []Parameter `json:"parameters"`
}

// Capability is a migration capability.
type Capability struct {
	Name    string `json:"name"`
	Default bool   `json:"default"`
	// Alone is the verdict when no other is on, but for those that are by default.
	Alone Verdict `json:"alone"`
}

// Verdict is the reason for which QEMU refuses a setting on either end of a migration, in
// its own words; "" where it accepts it.
type Verdict struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
}

// Accepted says whether both ends accept it.
func (v Verdict) Accepted() bool { return v == Verdict{} }

// Pair is two capabilities that are set together: each is accepted alone but both are
// not, or one is accepted only with the other.
type Pair struct {
	First  string `json:"first"`
	Second string `json:"second"`
	Verdict
}

// Parameter is a migration parameter.
type Parameter struct {
	Name string `json:"name"`
	// Values are those of an enumeration; nil for a number or text.
	Values []string `json:"values,omitempty"`
	// Default is what QEMU reports before it is set, nil if nothing.
	Default any `json:"default,omitempty"`
}

// arguments are QEMU's: neither guest, nor devices, nor the user's config.
var arguments = []string{"-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio"}

// Probe finds out what a QEMU on this machine accepts. ctx limits it; a QEMU that
// does not answer a command within [qmp.DefaultTimeout] ends it too.
func Probe(ctx context.Context, program qemu.Program) (*Map, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &Map{Binary: program.Binary}
	var source, destination verdicts
	var probing sync.WaitGroup
	probe := func(arguments []string, f func(*process) error) {
		probing.Go(func() {
			if err := onEnd(ctx, program, arguments, f); err != nil {
				cancel(err) // which ends the other one too
			}
		})
	}
	probe(arguments, func(p *process) (err error) {
		m.Version = p.Version().String()
		if m.Parameters, err = parameters(ctx, p); err != nil {
			return err
		}
		source, err = tryAll(ctx, p)
		return err
	})
	probe(append(slices.Clone(arguments), "-incoming", "defer"), func(p *process) (err error) {
		destination, err = tryAll(ctx, p)
		return err
	})
	probing.Wait()
	if ctx.Err() != nil { // the error that came first, or the caller's
		return nil, context.Cause(ctx)
	}
	if !slices.Equal(source.names, destination.names) {
		return nil, fmt.Errorf("%s: a source has the capabilities %s, a destination %s", program, strings.Join(source.names, " "), strings.Join(destination.names, " "))
	}
	m.join(source, destination)
	return m, nil
}

// onEnd runs f with a QEMU that is one end of a migration.
func onEnd(ctx context.Context, program qemu.Program, arguments []string, f func(*process) error) error {
	p, err := start(ctx, program, arguments...)
	if err != nil {
		return err
	}
	err = f(p)
	p.end(ctx)
	if err != nil {
		return p.explain(ctx, err)
	}
	return nil
}

// verdicts are those of one end: reasons by the indexes of two names, the first at most
// the second. One capability alone has its index twice.
type verdicts struct {
	names    []string
	defaults []bool
	reasons  map[[2]int]string
}

type setting struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// tryAll sets each capability alone, and each pair.
func tryAll(ctx context.Context, p *process) (verdicts, error) {
	var defaults []setting
	if err := p.Execute(ctx, "query-migrate-capabilities", nil, &defaults); err != nil {
		return verdicts{}, err
	}
	v := verdicts{reasons: map[[2]int]string{}}
	for _, s := range defaults {
		v.names, v.defaults = append(v.names, s.Capability), append(v.defaults, s.State)
	}
	for i := range defaults {
		for j := i; j < len(defaults); j++ {
			settings := slices.Clone(defaults)
			settings[i].State, settings[j].State = true, true
			err := p.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": settings}, nil)
			if refused, ok := errors.AsType[*qmp.Error](err); ok {
				v.reasons[[2]int{i, j}] = oneLine(refused.Desc)
			} else if err != nil {
				return verdicts{}, fmt.Errorf("with %s and %s on: %w", v.names[i], v.names[j], err)
			}
		}
	}
	return v, nil
}

// oneLine joins the lines of QEMU's reason, which it has not promised to be one.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// join makes the map of the verdicts of both ends.
func (m *Map) join(source, destination verdicts) {
	verdict := func(i, j int) Verdict {
		key := [2]int{i, j}
		return Verdict{source.reasons[key], destination.reasons[key]}
	}
	for i, name := range source.names {
		m.Capabilities = append(m.Capabilities, Capability{name, source.defaults[i], verdict(i, i)})
	}
	for i, first := range source.names {
		for j := i + 1; j < len(source.names); j++ {
			m.Tried++
			together := verdict(i, j)
			if expected := verdict(i, i).Accepted() && verdict(j, j).Accepted(); together.Accepted() != expected {
				m.Pairs = append(m.Pairs, Pair{first, source.names[j], together})
			}
		}
	}
}

// parameters asks for the migration parameters, their values and defaults.
func parameters(ctx context.Context, p *process) ([]Parameter, error) {
	const command = "migrate-set-parameters"
	names, err := p.Members(ctx, command)
	if err != nil {
		return nil, err
	}
	var defaults map[string]any
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &defaults); err != nil {
		return nil, err
	}
	var all []Parameter
	for _, name := range names {
		values, err := p.Values(ctx, command+"/"+name)
		if err != nil {
			return nil, err
		}
		all = append(all, Parameter{name, values, defaults[name]})
	}
	return all, nil
}
