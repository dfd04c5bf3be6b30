// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"strings"

	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/version"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// shipped are mhmig's own libraries of configs and scenarios.
var shipped = library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}

// libraries are mhmig's own libraries, those of the project that the working directory is in, and those of --lib.
func (s *configFlags) libraries() (library.Set, error) {
	folders := map[string]string{}
	for _, flag := range s.folders {
		name, folder, ok := strings.Cut(flag, "=")
		if !ok || name == "" || folder == "" {
			return nil, wrongArgument("--lib %s: want NAME=PATH", flag)
		}
		folders[strings.TrimPrefix(name, "@")] = folder
	}
	p, err := openProject(s.project)
	if err != nil {
		return nil, err
	}
	set := library.Set{}
	if p != nil {
		set, err = p.Libraries(shipped, folders)
	} else {
		maps.Copy(set, shipped)
		err = project.Override(set, folders)
	}
	return set, exit.Usage.Wrap(err)
}

// openProject opens the project in a folder; "" means the one that the working directory is in, which is nil if there is
// none.
func openProject(dir string) (*project.Project, error) {
	if dir == "" {
		here, err := os.Getwd()
		if err != nil {
			return nil, exit.Hosts.Wrap(err)
		}
		if dir = project.Find(here); dir == "" {
			return nil, nil
		}
	}
	cache, err := jeos.DefaultCacheDir()
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	p, err := project.Open(dir, cache, version.Module())
	return p, exit.Usage.Wrap(err)
}
