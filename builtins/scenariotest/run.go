// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/fake"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/pool"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// request is a call of run.
type request struct {
	scenario string // "": the param type of the variant names it
	params   cartesian.Params
	config   string
	filters  []string
	hosts    int
	timeout  time.Duration
}

// configured is a config with filters, and its variants.
type configured struct {
	variants []*cartesian.Variant
	err      error
}

// mostVariants is how many variants of a config are named in an error.
const mostVariants = 8

// variant returns the one variant of a config and filters.
func (s *suite) variant(ctx context.Context, from string, q request) (*cartesian.Variant, error) {
	config := s.DefaultConfig
	if q.config != "" {
		var err error
		if config, err = s.resolve(from, q.config); err != nil {
			return nil, err
		}
	}
	key := strings.Join(append([]string{config}, q.filters...), "\n")
	s.mu.Lock()
	known := s.configs[key]
	s.mu.Unlock()
	if known == nil {
		known = s.expand(ctx, config, q.filters)
		s.mu.Lock()
		s.configs[key] = known
		s.mu.Unlock()
	}
	if known.err != nil {
		return nil, known.err
	}
	switch len(known.variants) {
	case 0:
		return nil, fmt.Errorf("no variant of %s is left by the filters", config)
	case 1:
		return known.variants[0], nil
	}
	var names []string
	for _, v := range known.variants[:min(len(known.variants), mostVariants)] {
		names = append(names, v.ShortName)
	}
	return nil, fmt.Errorf("%s has %d variants or more, want one: narrow it by filter; there are %s", config, len(known.variants), strings.Join(names, ", "))
}

// expand reads a config, and returns its first variants.
func (s *suite) expand(ctx context.Context, config string, filters []string) *configured {
	var extras []cartesian.Extra
	for i, text := range filters {
		extras = append(extras, cartesian.Extra{Name: fmt.Sprintf("filter %d", i+1), Text: text})
	}
	c, err := cartesian.Reader{Libraries: s.Libraries}.Read(config, extras...)
	if err != nil {
		return &configured{err: err}
	}
	if typos := c.Typos(); typos != nil {
		return &configured{err: typos.Err()}
	}
	found := &configured{}
	for v, err := range c.Variants(ctx, cartesian.Options{Defaults: true}) {
		if err != nil {
			return &configured{err: err}
		}
		if found.variants = append(found.variants, v); len(found.variants) > mostVariants {
			break
		}
	}
	return found
}

// resolve returns the full name of a file that a test file names.
func (s *suite) resolve(from, name string) (string, error) {
	full, err := s.Libraries.Resolve(from, name)
	if err != nil {
		return "", err
	}
	if s.Libraries.Exists(full) {
		return full, nil
	}
	err = fmt.Errorf("there is no %s", full)
	if near := s.Libraries.Nearest(full, path.Ext(name)); near != "" {
		err = fmt.Errorf("%w; did you mean %s?", err, near)
	}
	return "", err
}

// scenarioOf returns the scenario of a run.
func (s *suite) scenarioOf(ctx context.Context, from string, q request, params cartesian.Params) (*star.Scenario, error) {
	name := q.scenario
	if name == "" {
		kind := params["type"]
		if kind == "" {
			return nil, errors.New("the variant has no param type, and run no scenario: name one")
		}
		name = kind + star.Extension
		if _, _, inLibrary := library.Cut(name); !inLibrary {
			if beside, err := s.Libraries.Resolve(from, name); err != nil || !s.Libraries.Exists(beside) {
				name = "@scenarios//" + name
			}
		}
	}
	full, err := s.resolve(from, name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	known := s.scenarios[full]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	loader := &star.Loader{Predeclared: s.predeclared, Libraries: s.Libraries, Limits: s.Limits}
	scenario, err := loader.Scenario(ctx, full)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scenarios[full] = scenario
	return scenario, nil
}

// folder returns a new folder for the results of a run.
func (s *suite) folder() (string, error) {
	s.mu.Lock()
	s.runs++
	dir := filepath.Join(s.dir, fmt.Sprint(s.runs))
	s.mu.Unlock()
	return dir, os.Mkdir(dir, 0o700)
}

// ended is how a run ended.
type ended struct {
	result.Outcome
	scenario   string
	migrations []result.Migration
	commands   []fake.Command
	unknown    []string
	log        string
	took       time.Duration
}

// execute runs a scenario on a fake world.
func (t *test) execute(q request) (*ended, error) {
	ctx, cancel := lifetime(q.timeout)
	defer cancel()
	v, err := t.variant(ctx, t.file, q)
	if err != nil {
		return nil, err
	}
	params := maps.Clone(v.Params)
	maps.Copy(params, fake.Params())
	maps.Copy(params, q.params)
	scenario, err := t.scenarioOf(ctx, t.file, q, params)
	if err != nil {
		return nil, err
	}
	hosts := cmp.Or(q.hosts, scenario.HostsNeeded, 2)
	var faults []*fake.Fault
	for _, f := range t.faults {
		faults = append(faults, f.Fault)
	}
	w, err := fake.New(fake.Options{
		Hosts: hosts, Params: params, Steps: migration.Steps(), Faults: faults,
		Settings: t.settings, Answers: t.answers, Replies: t.replies, Recorded: t.recorded, Files: t.files,
	})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := t.checkNames(params, w.HostNames()); err != nil {
		return nil, err
	}
	e, err := t.onWorld(ctx, w, scenario, &cartesian.Variant{Name: v.Name, ShortName: v.ShortName, Params: params}, hosts)
	if err != nil {
		return nil, err
	}
	for i, f := range faults {
		if !w.Happened(f) {
			err := fmt.Errorf("%s: it has not happened in the run of %s, which ended with %s%s", f, e.scenario, strings.TrimSpace(e.Status.String()+" "+e.Message), whyNot(f, w))
			return nil, &positioned{t.faults[i].at, err}
		}
	}
	return e, nil
}

// whyNot says why a fault has not happened.
func whyNot(f *fake.Fault, w *fake.World) string {
	reached := strings.Join(w.Reached(), ", ")
	switch {
	case f.When.Migration > 1:
		return fmt.Sprintf(": migration %d has not got so far", f.When.Migration)
	case f.When.Percent > 0:
		return fmt.Sprintf(": no migration of %s has sent %d %% of its memory", cmp.Or(f.VM, "a VM"), f.When.Percent)
	case f.When.At != "" || f.When.After != "":
		return ": the migrations had the steps " + cmp.Or(reached, "(none)")
	case f.When.Time > 0:
		return fmt.Sprintf(": it took less than %v", f.When.Time)
	}
	return ": " + cmp.Or(f.VM, f.Host) + " has not got so far"
}

// shipped is the file that stands for each of mhmig's own.
const shipped = "shipped"

// onWorld runs a scenario for a variant.
func (t *test) onWorld(ctx context.Context, w *fake.World, scenario *star.Scenario, v *cartesian.Variant, hosts int) (*ended, error) {
	began := time.Now()
	dir, err := t.folder()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, shipped)
	if err := os.WriteFile(file, []byte("one of mhmig's files\n"), 0o600); err != nil {
		return nil, err
	}
	var lost []error
	folder, err := result.Create(dir, result.Run{Command: []string{"mhmig", "test"}}, func(err error) { lost = append(lost, err) })
	if err != nil {
		return nil, err
	}
	folder.Public(jeos.Password) // as in a run
	record, err := ledger.Open(filepath.Join(folder.Dir(), "ledger.jsonl"))
	if err != nil {
		return nil, err
	}
	leased, err := pool.NewLocal(ctx, w.Remotes(), false)
	if err != nil {
		return nil, err
	}
	one := func(yield func(*cartesian.Variant, error) bool) { yield(v, nil) }
	_, err = run.Variants(ctx, run.Options{
		Pool: leased, ScenarioHosts: func(cartesian.Params) int { return hosts }, Results: folder, Ledger: record,
		Log:     slog.New(slog.NewMultiHandler(folder.Masked(folder.Handler()), w.Handler())),
		Shipped: func(string) (string, error) { return file, nil },
		Launch:  w.Launch,
		Scenario: func(ctx context.Context, bed *testbed.Bed) run.Verdict {
			return builtins.Run(ctx, bed, scenario, builtins.Options{Limits: t.Limits})
		},
		ScenarioReads: func(cartesian.Params) run.ScenarioReads { return scenario },
		SourceLine:    t.Libraries.SourceLine, Planned: 1, Seed: 1,
	}, one)
	err = errors.Join(append([]error{err, record.Close(), folder.Finish(result.Pass)}, lost...)...)
	e := &ended{scenario: scenario.Path, commands: w.Commands(), unknown: w.Unknown(), took: time.Since(began)}
	_, outcomes, loadErr := result.Load(folder.Dir())
	if loadErr != nil || len(outcomes) != 1 {
		return nil, errors.Join(err, loadErr, errors.New("the run has no outcome"))
	}
	e.Outcome = outcomes[0] // an error of the run, such as a lost host, is in it
	variant := filepath.Join(folder.Dir(), e.ID)
	if e.migrations, err = result.Migrations(variant); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(variant, "log.txt"))
	e.log = string(text)
	return e, err
}

// checkNames checks the VMs and hosts that the test names.
func (t *test) checkNames(params cartesian.Params, hosts []string) error {
	for _, m := range t.named {
		known := hosts
		if m.kind == "vm" {
			known = params.Objects("vms")
		}
		if slices.Contains(known, m.name) {
			continue
		}
		err := fmt.Errorf("fake.%s: the run has no %s, only %s", m.kind, m.name, cmp.Or(strings.Join(known, ", "), "none"))
		if near := diag.Nearest(m.name, known); near != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
		return &positioned{m.at, err}
	}
	return nil
}

// runScenario is the builtin run.
func runScenario(thread *starlark.Thread, fn *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	t := testOf(thread)
	if t == nil {
		return nil, fmt.Errorf("%s: only inside a function test_*, not while the file is loaded", fn.Name())
	}
	q := request{timeout: defaultTimeout}
	var scenario, config starlark.Value = starlark.None, starlark.None
	var params paramsArgument
	var filters filtersArgument
	var timeout seconds
	if err := starlark.UnpackArgs(fn.Name(), args, kwargs, "scenario?", &scenario, "params?", &params, "config?", &config, "filter?", &filters, "hosts?", &q.hosts, "timeout?", &timeout); err != nil {
		return nil, err
	}
	for _, a := range []struct {
		name string
		from starlark.Value
		to   *string
	}{{"scenario", scenario, &q.scenario}, {"config", config, &q.config}} {
		text, ok := starlark.AsString(a.from)
		if !ok && a.from != starlark.None {
			return nil, fmt.Errorf("%s: %s: got %s, want the name of a file", fn.Name(), a.name, a.from.Type())
		}
		*a.to = text
	}
	if q.hosts < 0 || q.hosts > mostHosts {
		return nil, fmt.Errorf("%s: hosts: got %d, want 1 to %d", fn.Name(), q.hosts, mostHosts)
	}
	q.params, q.filters, q.timeout = cartesian.Params(params), filters, cmp.Or(time.Duration(timeout), defaultTimeout)
	var e *ended
	var err error
	t.wait(thread, func() { e, err = t.execute(q) })
	if wrong := t.answerError(); wrong != nil {
		err = wrong
	}
	if err != nil {
		return nil, wrapf(fn.Name(), err)
	}
	summary := RunSummary{Scenario: e.scenario, Variant: e.ShortName, Status: e.Status.String(), Message: e.Message, Virtual: e.took.Seconds()}
	t.runs = append(t.runs, summary)
	t.last = ""
	if e.Message != "" || len(e.unknown) > 0 {
		t.last = fmt.Sprintf("%s ended with %s: %s", e.scenario, e.Status, e.Message)
		for _, command := range e.unknown {
			t.last += "\nno fake has the command that was asked for: " + command
		}
	}
	return e.value()
}

// wrapf adds the builtin's name to an error, but not to one that is at another place.
func wrapf(name string, err error) error {
	if _, other := errors.AsType[*positioned](err); other {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// The limits of a run.
const (
	defaultTimeout = 6 * time.Hour // of virtual time
	mostHosts      = 16
)
