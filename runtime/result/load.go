// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads a results folder: its run, and an outcome for each variant that
// was started, in that order. dir may be the link "latest".
func Load(dir string) (Run, []Outcome, error) {
	run, err := LoadRun(dir)
	if err != nil {
		return Run{}, nil, err
	}
	var outcomes []Outcome
	for o, err := range Outcomes(dir) {
		if err != nil {
			return Run{}, nil, err
		}
		outcomes = append(outcomes, o)
	}
	return run, outcomes, nil
}

// LoadRun reads the run.json of a results folder.
func LoadRun(dir string) (Run, error) {
	var run Run
	err := readJSON(filepath.Join(dir, RunFile), &run)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s is not a results folder: %w", dir, err)
	}
	return run, err
}

// Outcomes yields an outcome for each variant of a results folder that was
// started, in that order. A variant without outcome.json, as left by a killed run,
// has the status and message of the journal, usually Running. A variant whose files
// are damaged yields the journal's data and an error, and reading goes on.
func Outcomes(dir string) iter.Seq2[Outcome, error] {
	return func(yield func(Outcome, error) bool) {
		states, err := journal(filepath.Join(dir, JournalFile))
		if err != nil {
			yield(Outcome{}, err)
			return
		}
		for _, s := range states {
			o := Outcome{
				ID: s.ID, Name: s.Name, ShortName: s.ShortName, Repeat: s.Repeat, Hosts: s.Hosts, Started: s.Started, Seconds: s.Seconds,
				Failure: Failure{Status: s.Status, Message: s.Message},
			}
			known := o
			err := readJSON(filepath.Join(dir, s.ID, OutcomeFile), &o)
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			} else if err != nil {
				o = known
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// Planned reads the names of a run's planned variants. There are none when it was
// killed before it wrote them.
func Planned(dir string) (map[string]bool, error) {
	file, err := os.Open(filepath.Join(dir, PlanFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	names := map[string]bool{}
	for d := json.NewDecoder(file); ; {
		var name string
		if err := d.Decode(&name); err != nil { // the end, or where it was cut
			return names, nil // the complete lines
		}
		names[name] = true
	}
}

// journal reads a journal: the last line of each variant. Lines that were cut when
// the run was killed or the disk was full are skipped.
func journal(path string) ([]State, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // killed before the first variant
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read
	place := map[string]int{}
	var states []State
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxEventLine)
	for lines.Scan() {
		var s State
		if json.Unmarshal(lines.Bytes(), &s) != nil || s.ID == "" {
			continue
		}
		if !filepath.IsLocal(s.ID) {
			return nil, fmt.Errorf("%s: variant id %q: want a folder name", path, s.ID)
		}
		i, known := place[s.ID]
		if !known {
			i = len(states)
			place[s.ID] = i
			states = append(states, State{})
		}
		states[i] = s
	}
	return states, lines.Err()
}

// Migrations reads the records of a variant's migrations, in their order.
func Migrations(variantDir string) ([]Migration, error) {
	dir := filepath.Join(variantDir, MigrationsDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" || strings.HasPrefix(e.Name(), ".") {
			continue // left by a writer that was killed
		}
		var m Migration
		if err := readJSON(filepath.Join(dir, e.Name()), &m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Migration) int { return a.Number - b.Number })
	return all, nil
}

// Runs returns the results folders in base, the oldest first. That base does
// not exist is no error.
func Runs(base string) ([]string, error) {
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var dirs []string
	for _, e := range entries { // sorted: their names begin with the time
		dir := filepath.Join(base, e.Name())
		if _, err := os.Stat(filepath.Join(dir, RunFile)); err == nil && e.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
