// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
)

// shippedScenario returns the full name of a scenario that mhmig brings.
func shippedScenario(name string) string { return "@scenarios//" + name + star.Extension }

// scenarios are those of a run: one for all variants, or that which a variant's param
// type names.
type scenarios struct {
	*Request
	one    *star.Scenario // nil: by type
	byType map[string]*star.Scenario
}

// load loads a scenario.
func (s *scenarios) load(ctx context.Context, path string) (*star.Scenario, error) {
	scenario, err := s.Load(ctx, path)
	if err != nil && !s.Libraries.Exists(path) {
		err = s.missing(path)
	}
	return scenario, exit.Usage.Wrap(err)
}

// of returns the scenario of a variant.
func (s *scenarios) of(params cartesian.Params) *star.Scenario {
	if s.one != nil {
		return s.one
	}
	return s.byType[params["type"]]
}

// learn loads the scenario of a variant, if it is not known yet.
func (s *scenarios) learn(ctx context.Context, v *cartesian.Variant) error {
	name := v.Params["type"]
	if s.one != nil || s.byType[name] != nil {
		return nil
	}
	if name == "" || name != filepath.Base(name) || strings.HasSuffix(name, star.Extension) {
		return exit.Usage.Wrap(fmt.Errorf("variant %s: param type: got %q, want the name of a scenario, such as multihost_migration for multihost_migration%s", v.ShortName, name, star.Extension))
	}
	beside, err := library.Resolve(s.Config, name+star.Extension)
	if err != nil {
		return exit.Usage.Wrap(fmt.Errorf("variant %s: param type: %w", v.ShortName, err))
	}
	path := beside
	if !s.Libraries.Exists(path) {
		path = shippedScenario(name)
		if !s.Libraries.Exists(path) {
			return exit.Usage.Wrap(fmt.Errorf("variant %s: param type = %s: there is no %s, and mhmig brings no scenario of that name%s",
				v.ShortName, name, beside, didYouMean(typeOf(s.nearest(beside)))))
		}
	}
	scenario, err := s.load(ctx, path)
	if err != nil {
		return err
	}
	s.byType[name] = scenario
	return nil
}

// missing says that there is no scenario at path, and what was probably
// meant.
func (s *scenarios) missing(path string) error {
	_, err := s.Libraries.ReadFile(path)
	if _, unknown := errors.AsType[*library.UnknownError](err); unknown {
		return err
	}
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		err = missing.Err
	}
	return fmt.Errorf("scenario %s: %w%s", path, err, didYouMean(s.nearest(path)))
}

// nearest returns the file that was probably meant by one that does not
// exist, "" if there is none.
func (s *scenarios) nearest(name string) string {
	stem := strings.TrimSuffix(path.Base(filepath.ToSlash(name)), star.Extension)
	if near := s.Libraries.Nearest(name, star.Extension); near != "" {
		return near
	}
	if shipped := shippedScenario(stem); s.Libraries.Exists(shipped) {
		return shipped
	}
	if config := name + ".cfg"; s.Libraries.Exists(config) {
		return config
	}
	return s.Libraries.Nearest(shippedScenario(stem), star.Extension)
}

// typeOf returns the param type that names a scenario's file, "" for "".
func typeOf(file string) string {
	if file == "" {
		return ""
	}
	return strings.TrimSuffix(path.Base(file), star.Extension)
}

// didYouMean ends a message about what does not exist; near is "" when nothing is
// like it.
func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}
