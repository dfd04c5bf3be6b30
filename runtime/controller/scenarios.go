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

// shippedScenario returns the full name of a scenario of mhmig.
func shippedScenario(name string) string { return "@scenarios//" + name + star.Extension }

// scenarios are the scenarios of a run: one for all variants, or one for each value of
// the param type.
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

// loadFor loads the scenario of a variant, if it is not loaded yet.
func (s *scenarios) loadFor(ctx context.Context, v *cartesian.Variant) error {
	name := v.Params["type"]
	if s.one != nil || s.byType[name] != nil {
		return nil
	}
	path, err := s.pathOf(name)
	if err != nil {
		return exit.Usage.Wrap(fmt.Errorf("variant %s: param type%w", v.ShortName, err))
	}
	scenario, err := s.load(ctx, path)
	if err != nil {
		return err
	}
	s.byType[name] = scenario
	return nil
}

// pathOf returns the file of the scenario that a param type names: one of a library, one beside the config, or one of
// mhmig. Errors continue "param type".
func (s *scenarios) pathOf(name string) (string, error) {
	if _, _, inLibrary := library.Cut(name); inLibrary {
		path, err := s.Libraries.Resolve(s.Config, name+star.Extension)
		if err == nil && !s.Libraries.Exists(path) {
			err = s.missing(path)
		}
		if err != nil {
			err = fmt.Errorf(" = %s: %w", name, err)
		}
		return path, err
	}
	if name == "" || name != filepath.Base(name) || strings.HasSuffix(name, star.Extension) {
		return "", fmt.Errorf(": got %q, want the name of a scenario, such as multihost_migration for multihost_migration%s", name, star.Extension)
	}
	local, err := s.Libraries.Resolve(s.Config, name+star.Extension)
	if err != nil {
		return "", fmt.Errorf(": %w", err)
	}
	if s.Libraries.Exists(local) {
		return local, nil
	}
	if path := shippedScenario(name); s.Libraries.Exists(path) {
		return path, nil
	}
	return "", fmt.Errorf(" = %s: there is no %s, and mhmig has no scenario of that name%s", name, local, didYouMean(typeOf(s.nearest(local))))
}

// missing is the error of a missing scenario, with a suggestion.
func (s *scenarios) missing(path string) error {
	_, err := s.Libraries.ReadFile(path)
	if _, unknown := errors.AsType[*library.UnknownError](err); unknown {
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("scenario %s: %w", path, err)
	}
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		err = missing.Err
	}
	return fmt.Errorf("scenario %s: %w%s", path, err, didYouMean(s.nearest(path)))
}

// nearest returns the file with the most similar name, "" if there is none.
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

// typeOf returns the value of the param type for a scenario's file, "" for "".
func typeOf(file string) string {
	if file == "" {
		return ""
	}
	return strings.TrimSuffix(path.Base(file), star.Extension)
}

// didYouMean is a suggestion at the end of an error; near is "" if there is none.
func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", near)
}
