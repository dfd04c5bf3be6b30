// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/fake"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Record returns a test file that does again what the QEMUs of a run have done: for each
// variant a test with its scenario and params, the figures of its migrations, the
// commands that QEMU refused, and its events of faults. dir is the run's results folder;
// only, if it is not empty, the folder or short name of one variant. output is where the
// file will stand, for the scenario's relative path; "": in the working folder.
//
// What the guests did is not in a run's results: a test that was to fail because of that
// says it by fake.
func Record(ctx context.Context, dir, only, output string, o Options) ([]byte, error) {
	of, outcomes, err := result.Load(dir)
	if err != nil {
		return nil, err
	}
	s := &suite{Options: o, scenarios: map[string]*star.Scenario{}, configs: map[string]*configured{}}
	var b strings.Builder
	fmt.Fprintf(&b, "\"\"\"Recorded by mhmig record from the run %s.\n\nWhat the guests did is not recorded: fake.vm says it.\n\"\"\"\n", of.ID)
	var names []string
	seen, taken := map[string]bool{}, identifiers{}
	for _, outcome := range outcomes {
		names = append(names, outcome.ShortName)
		if only != "" && only != outcome.ID && only != outcome.ShortName || seen[outcome.ShortName] {
			continue
		}
		seen[outcome.ShortName] = true
		r := &recording{suite: s, run: of, outcome: outcome, dir: filepath.Join(dir, outcome.ID), output: output, taken: taken}
		if err := r.write(ctx, &b); err != nil {
			return nil, fmt.Errorf("%s: %w", outcome.ID, err)
		}
	}
	if len(seen) == 0 && only == "" {
		return nil, fmt.Errorf("%s: the run has no variant", dir)
	}
	if len(seen) == 0 {
		err := fmt.Errorf("%s: the run has no variant %s", dir, only)
		if near := diag.Nearest(only, names); near != "" {
			err = fmt.Errorf("%w; did you mean %s?", err, near)
		}
		return nil, err
	}
	return star.Reformat("recording"+Suffix, []byte(b.String()))
}

// recording is the recording of one variant.
type recording struct {
	*suite
	run     result.Run
	outcome result.Outcome
	dir     string
	output  string
	taken   identifiers // in the file
	params  cartesian.Params

	migrations map[string][][]recordedMoment // by VM
	refusals   []string                      // calls of fake.vm(…).reply
	events     []string                      // calls of fake.vm(…).event
}

// recordedMoment is what query-migrate answered at a time.
type recordedMoment struct {
	after   time.Duration
	figures map[string]any
}

// write writes the test.
func (r *recording) write(ctx context.Context, b *strings.Builder) error {
	data, err := os.ReadFile(filepath.Join(r.dir, result.ParamsFile))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &r.params); err != nil {
		return fmt.Errorf("%s: %w", result.ParamsFile, err)
	}
	if err := r.read(); err != nil {
		return err
	}
	constants := map[string][]string{} // by VM, what each migration was like
	for _, name := range slices.Sorted(maps.Keys(r.migrations)) {
		for i, moments := range r.migrations[name] {
			constant := strings.ToUpper(r.taken.add(fmt.Sprintf("%s_%s_%d", r.outcome.ShortName, name, i+1)))
			constants[name] = append(constants[name], constant)
			fmt.Fprintf(b, "\n%s = [\n", constant)
			for _, m := range moments {
				figures, err := builtins.ToStarlark(m.figures)
				if err != nil {
					return err
				}
				fmt.Fprintf(b, "    (%.3f, %s),\n", m.after.Seconds(), figures)
			}
			b.WriteString("]\n")
		}
	}
	call, err := r.call(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\ndef %s(t):\n", r.taken.add("test_"+r.outcome.ShortName))
	for _, name := range slices.Sorted(maps.Keys(constants)) {
		fmt.Fprintf(b, "    fake.vm(%q).replays([%s])\n", name, strings.Join(constants[name], ", "))
	}
	for _, line := range append(r.refusals, r.events...) {
		b.WriteString("    " + line + "\n")
	}
	fmt.Fprintf(b, "    r = %s\n", call)
	if r.outcome.Message != "" {
		first, _, _ := strings.Cut(r.outcome.Message, "\n")
		fmt.Fprintf(b, "\n    # %s\n", strings.TrimSpace(first))
	}
	fmt.Fprintf(b, "    expect.eq(r.status, %q)\n", r.outcome.Status.String())
	recorded, err := result.Migrations(r.dir)
	if err != nil || len(recorded) == 0 {
		return err
	}
	var statuses []string
	for _, m := range recorded {
		statuses = append(statuses, fmt.Sprintf("%q", m.Status))
	}
	fmt.Fprintf(b, "    expect.eq([m.status for m in r.migrations], [%s])\n", strings.Join(statuses, ", "))
	return nil
}

// identifiers are the names of a file's tests and constants, in upper case.
type identifiers map[string]bool

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// add returns an identifier like text, with a number where there is one like it already.
func (all identifiers) add(text string) string {
	like := notInNames.ReplaceAllString(text, "_")
	name := like
	for n := 2; all[strings.ToUpper(name)]; n++ {
		name = fmt.Sprintf("%s_%d", like, n)
	}
	all[strings.ToUpper(name)] = true
	return name
}

// call is the call of run.
func (r *recording) call(ctx context.Context) (string, error) {
	var args []string
	if r.run.Scenario != "" {
		scenario := r.run.Scenario
		if !strings.HasPrefix(scenario, "@") && r.output != "" {
			if relative, err := filepath.Rel(filepath.Dir(r.output), scenario); err == nil {
				scenario = relative
			}
		}
		args = append(args, fmt.Sprintf("%q", filepath.ToSlash(scenario)))
	}
	q := request{config: r.run.Config, filters: append(slices.Clone(r.run.Filters), "only "+strings.ReplaceAll(r.outcome.ShortName, ".", ".."))}
	v, err := r.variant(ctx, "", q)
	if err != nil { // the config may be another one now
		q = request{}
		if v, err = r.variant(ctx, "", q); err != nil {
			return "", err
		}
	}
	if q.config != "" {
		args = append(args, fmt.Sprintf("config = %q", q.config))
	}
	if len(q.filters) > 0 {
		var list strings.Builder
		list.WriteString("[")
		for _, f := range q.filters {
			list.WriteString(starlark.String(f).String() + ", ")
		}
		args = append(args, "filter = "+list.String()+"]")
	}
	if changed := changedParams(r.params, v.Params); len(changed) > 0 {
		var text strings.Builder
		text.WriteString("params = {")
		for _, key := range slices.Sorted(maps.Keys(changed)) {
			fmt.Fprintf(&text, "%s: %s, ", starlark.String(key), starlark.String(changed[key]))
		}
		args = append(args, text.String()+"}")
	}
	if n := len(r.outcome.Hosts); n != 2 && n > 0 {
		args = append(args, fmt.Sprintf("hosts = %d", n))
	}
	return "run(" + strings.Join(args, ", ") + ")", nil
}

// ofHosts matches params that are of the recorded hosts alone.
var ofHosts = regexp.MustCompile(`^(images_base_dir|state_dir|shell_|ssh_|mig_address|qemu_binary|qemu_dst_binary|qemu_img_binary|username_host|password)`)

// changedParams are the recorded params that a variant has not.
func changedParams(recorded, variant cartesian.Params) cartesian.Params {
	changed := cartesian.Params{}
	own := fake.Params()
	for key, value := range recorded {
		if _, folder := own[key]; !folder && variant[key] != value && !ofHosts.MatchString(key) && !strings.Contains(value, "***") {
			changed[key] = value
		}
	}
	return changed
}

// read reads the transcripts of all QEMUs of the variant.
func (r *recording) read() error {
	r.migrations = map[string][][]recordedMoment{}
	files, err := filepath.Glob(filepath.Join(r.dir, result.VMDir, "*@*", "qmp.jsonl"))
	if err != nil {
		return err
	}
	began := map[string][]time.Time{} // of the migrations, by VM
	for _, file := range files {
		name := r.vmOf(filepath.Base(filepath.Dir(file)))
		t := &transcript{requests: map[int64]string{}}
		if err := t.readFile(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for i, start := range t.began { // those of several hosts in the order of time
			at, _ := slices.BinarySearchFunc(began[name], start, time.Time.Compare)
			began[name] = slices.Insert(began[name], at, start)
			r.migrations[name] = slices.Insert(r.migrations[name], at, thin(t.migrations[i]))
		}
		for _, line := range t.refusals {
			r.refusals = append(r.refusals, fmt.Sprintf("fake.vm(%q).%s", name, line))
		}
		for _, line := range t.events {
			r.events = append(r.events, fmt.Sprintf("fake.vm(%q).%s", name, line))
		}
	}
	return nil
}

// mostInstances is how many QEMUs of a VM are looked for on a host.
const mostInstances = 20

// vmOf is the VM that a folder with the files of a QEMU is of: of one of several on a host,
// too.
func (r *recording) vmOf(folder string) string {
	own, _, _ := strings.Cut(folder, "@")
	for _, name := range r.params.Objects("vms") {
		for id := range mostInstances {
			file := result.VMPath(vm.InstanceName(name, id+1), "host", "qmp.jsonl")
			if instance, _, _ := strings.Cut(path.Base(path.Dir(file)), "@"); instance == own {
				return name
			}
		}
	}
	return own
}

// transcript is what one QEMU said.
type transcript struct {
	requests   map[int64]string // their commands, by ID
	incoming   bool
	began      []time.Time // of its migrations as the source
	migrations [][]recordedMoment
	refusals   []string
	events     []string
}

func (t *transcript) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for m, err := range qmp.ReadTranscript(f) {
		if err != nil {
			return err
		}
		if err := t.add(m); err != nil {
			return err
		}
	}
	return nil
}

// message is a message of QMP.
type message struct {
	Execute string         `json:"execute"`
	ID      int64          `json:"id"`
	QMP     map[string]any `json:"QMP"`
	Event   string         `json:"event"`
	Data    map[string]any `json:"data"`
	Return  any            `json:"return"`
	Error   *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Arguments struct {
		URI string `json:"uri"`
	} `json:"arguments"`
}

// faultEvents are the events that the fakes do not send by themselves.
var faultEvents = []string{"GUEST_PANICKED", "GUEST_CRASHLOADED", "BLOCK_IO_ERROR", "WATCHDOG"}

// unremarkable matches commands whose refusal is how mhmig learns what QEMU can do.
var unremarkable = regexp.MustCompile(`^(query-|calc-dirty-rate|qom-|human-monitor-command)`)

func (t *transcript) add(recorded qmp.Recorded) error {
	var m message
	if err := json.Unmarshal(recorded.Message, &m); err != nil {
		if _, typed := errors.AsType[*json.UnmarshalTypeError](err); typed {
			return nil // such as an error of QMP that has no ID
		}
		return err
	}
	last := len(t.migrations) - 1
	switch {
	case m.QMP != nil: // another QEMU that has the same place
		t.incoming = false
	case recorded.Sent:
		t.requests[m.ID] = m.Execute
		switch {
		case m.Execute == "migrate" && !strings.HasPrefix(m.Arguments.URI, "exec:"): // to a saved state
			t.began, t.migrations = append(t.began, recorded.Time), append(t.migrations, nil)
		case m.Execute == "migrate-incoming" && !strings.HasPrefix(m.Arguments.URI, "exec:"):
			t.incoming = true
		}
	case slices.Contains(faultEvents, m.Event):
		data, err := builtins.ToStarlark(m.Data)
		if err != nil {
			return err
		}
		t.events = append(t.events, fmt.Sprintf("event(%q, data = %s, at = \"migrate\")", m.Event, data))
	case m.Event == "MIGRATION" && last >= 0:
		figures := map[string]any{}
		if n := len(t.migrations[last]); n > 0 {
			figures = maps.Clone(t.migrations[last][n-1].figures)
		}
		figures["status"] = m.Data["status"]
		t.sample(recorded.Time, figures)
	case m.Error != nil && !unremarkable.MatchString(t.requests[m.ID]):
		side := sourceSide
		if t.incoming {
			side = destinationSide
		}
		t.refusals = append(t.refusals, fmt.Sprintf("reply(%q, error = %s, times = 1, on = %q)", t.requests[m.ID], starlark.String(m.Error.Desc), side))
	case t.requests[m.ID] == "query-migrate" && last >= 0 && m.Event == "":
		if figures, ok := m.Return.(map[string]any); ok {
			delete(figures, "socket-address")
			t.sample(recorded.Time, figures)
		}
	}
	return nil
}

// The sides of a migration.
const (
	sourceSide      = "source"
	destinationSide = "destination"
)

// sample adds what query-migrate answered, if the migration has not ended before.
func (t *transcript) sample(at time.Time, figures map[string]any) {
	last := len(t.migrations) - 1
	moments := t.migrations[last]
	if n := len(moments); n > 0 && hasEnded(moments[n-1].figures) {
		if hasEnded(figures) { // the final statistics
			moments[n-1].figures = figures
		}
		return
	}
	t.migrations[last] = append(moments, recordedMoment{at.Sub(t.began[last]), figures})
}

func hasEnded(figures map[string]any) bool {
	status, _ := figures["status"].(string)
	return qmp.MigrationStatus(status).Terminal()
}

// spacing is how far apart the moments are that differ in figures alone.
const spacing = 250 * time.Millisecond

// thin keeps the moments with another status than the one before, the last one, and of
// the others those that are apart.
func thin(moments []recordedMoment) []recordedMoment {
	var kept []recordedMoment
	for i, m := range moments {
		if n := len(kept); n == 0 || i == len(moments)-1 || kept[n-1].figures["status"] != m.figures["status"] || m.after-kept[n-1].after >= spacing {
			kept = append(kept, m)
		}
	}
	return kept
}

// RunFolder returns the results folder that a user names: itself, or a run in the default
// folder.
func RunFolder(name, results string) (string, error) {
	for _, dir := range []string{name, filepath.Join(results, name)} {
		if _, err := os.Stat(filepath.Join(dir, result.RunFile)); err == nil {
			return dir, nil
		}
	}
	return "", &fs.PathError{Op: "open", Path: cmp.Or(name, results), Err: errors.New("is no results folder of a run, nor is there such a run in " + results)}
}
