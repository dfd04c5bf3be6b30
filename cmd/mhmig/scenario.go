// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// libraries are what mhmig brings along for configs and scenarios.
var libraries = library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}

// shippedScenario returns the full name of a scenario that mhmig brings.
func shippedScenario(name string) string { return "@scenarios//" + name + star.Ending }

// repertoire is the scenarios of a run: one for all variants, or that which a
// variant's param type names.
type repertoire struct {
	one    *star.Scenario // nil: by type
	byType map[string]*star.Scenario
	config string // its full name: beside it the scenarios of types are looked for first
}

// loadScenario loads the one scenario of a run.
func loadScenario(ctx context.Context, path string) (*star.Scenario, error) {
	predeclared, err := builtins.Predeclared()
	if err != nil {
		return nil, err
	}
	loader := &star.Loader{Predeclared: predeclared, Libraries: libraries, Print: func(at, message string) {
		terminal.WriteLines(disarmed(os.Stderr), "", at+": "+message, terminal.Width(os.Stderr))
	}}
	scenario, err := loader.Scenario(ctx, path)
	if err != nil {
		if !libraries.Exists(path) {
			err = missingScenario(path)
		}
		return nil, exit.Usage.Wrap(err)
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
	if name == "" || name != filepath.Base(name) || strings.HasSuffix(name, star.Ending) {
		return exit.Usage.Wrap(fmt.Errorf("variant %s: param type: got %q, want the name of a scenario, such as multihost_migration for multihost_migration%s", v.ShortName, name, star.Ending))
	}
	beside, err := library.Resolve(r.config, name+star.Ending)
	if err != nil {
		return exit.Usage.Wrap(fmt.Errorf("variant %s: param type: %w", v.ShortName, err))
	}
	path := beside
	if !libraries.Exists(path) {
		path = shippedScenario(name)
		if !libraries.Exists(path) {
			return exit.Usage.Wrap(fmt.Errorf("variant %s: param type = %s: there is no %s, and mhmig brings no scenario of that name%s",
				v.ShortName, name, beside, didYouMean(typeOf(nearestScenario(beside)))))
		}
	}
	scenario, err := loadScenario(ctx, path)
	if err != nil {
		return err
	}
	r.byType[name] = scenario
	return nil
}

// missingScenario says that there is no scenario at path, and what was probably
// meant.
func missingScenario(path string) error {
	_, err := libraries.ReadFile(path)
	if _, unknown := errors.AsType[*library.UnknownError](err); unknown {
		return err
	}
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		err = missing.Err
	}
	return fmt.Errorf("scenario %s: %w%s", path, err, didYouMean(nearestScenario(path)))
}

// nearestScenario returns the file that was probably meant by one that does not
// exist, "" if there is none.
func nearestScenario(name string) string {
	stem := strings.TrimSuffix(path.Base(filepath.ToSlash(name)), star.Ending)
	if near := libraries.Nearest(name, star.Ending); near != "" {
		return near
	}
	if shipped := shippedScenario(stem); libraries.Exists(shipped) {
		return shipped
	}
	if config := name + configEnding; libraries.Exists(config) {
		return config
	}
	return libraries.Nearest(shippedScenario(stem), star.Ending)
}

// typeOf returns the param type that names a scenario's file, "" for "".
func typeOf(file string) string {
	if file == "" {
		return ""
	}
	return strings.TrimSuffix(path.Base(file), star.Ending)
}

var position = regexp.MustCompile(`^(.+):(\d+):(\d+)$`)

// sourceLine returns the line of a .star file that a position FILE:LINE:COLUMN is
// in, "" if it cannot be read any more.
func sourceLine(at string) string {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return ""
	}
	text, err := libraries.ReadFile(m[1])
	number, _ := strconv.Atoi(m[2]) // digits only; too many are beyond the end
	lines := strings.Split(string(text), "\n")
	if err != nil || number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}
