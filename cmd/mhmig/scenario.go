// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// libraries are the .star files that mhmig brings along, by the name of the
// library: "@std//work.star".
var libraries = map[string]fs.FS{"std": stdlib.FS, "scenarios": scenarios.FS}

// scenarioExt is the ending of a scenario's file.
const scenarioExt = ".star"

// repertoire is the scenarios of a run: one for all variants, or that which a
// variant's param type names.
type repertoire struct {
	one    *star.Scenario // nil: by type
	byType map[string]*star.Scenario
	folder string // of the config: where the scenarios of types are looked for first
}

// loadScenario loads the one scenario of a run.
func loadScenario(ctx context.Context, path string) (*star.Scenario, error) {
	predeclared, err := builtins.Predeclared()
	if err != nil {
		return nil, err
	}
	loader := &star.Loader{Predeclared: predeclared, Libraries: libraries}
	scenario, err := loader.Scenario(ctx, path)
	if err != nil {
		if missing, ok := errors.AsType[*fs.PathError](err); ok && missing.Path == path {
			err = fmt.Errorf("scenario %s: %w", path, missing.Err)
		}
		return nil, usageError(err)
	}
	return scenario, nil
}

// of returns the scenario of a variant.
func (r *repertoire) of(params cartesian.Params) *star.Scenario {
	if r.one != nil {
		return r.one
	}
	return r.byType[params["type"]]
}

// learn loads the scenario of a variant, if it is not known yet.
func (r *repertoire) learn(ctx context.Context, v *cartesian.Variant) error {
	name := v.Params["type"]
	if r.one != nil || r.byType[name] != nil {
		return nil
	}
	if name == "" || name != filepath.Base(name) {
		return usageError(fmt.Errorf("variant %s: param type: got %q, want the name of a scenario, such as multihost_migration for multihost_migration%s", v.ShortName, name, scenarioExt))
	}
	path := filepath.Join(r.folder, name+scenarioExt)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Stat(scenarios.FS, name+scenarioExt); err != nil {
			return usageError(fmt.Errorf("variant %s: param type = %s: there is no %s, and mhmig brings no scenario of that name", v.ShortName, name, path))
		}
		path = "@scenarios//" + name + scenarioExt
	}
	scenario, err := loadScenario(ctx, path)
	if err != nil {
		return err
	}
	r.byType[name] = scenario
	return nil
}

var position = regexp.MustCompile(`^(.+):(\d+):(\d+)$`)

// sourceLine returns the line of a .star file that a position FILE:LINE:COLUMN is
// in, "" if it cannot be read any more.
func sourceLine(at string) string {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return ""
	}
	text, err := readScenario(m[1])
	number, _ := strconv.Atoi(m[2]) // digits only; too many are beyond the end
	lines := strings.Split(string(text), "\n")
	if err != nil || number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// readScenario reads a .star file, also one that mhmig brings along.
func readScenario(name string) ([]byte, error) {
	if shipped, ours := strings.CutPrefix(name, "@"); ours {
		library, file, _ := strings.Cut(shipped, "//")
		if fsys := libraries[library]; fsys != nil {
			return fs.ReadFile(fsys, file)
		}
	}
	return os.ReadFile(name)
}
