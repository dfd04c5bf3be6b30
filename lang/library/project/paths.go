// SPDX-License-Identifier: Apache-2.0

package project

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mhmig/mhmig/lang/library"
)

// SourceFromHere returns a source as Add takes it: a folder that is relative to the working
// directory is made relative to the project's folder.
func (p *Project) SourceFromHere(source string) string {
	path, _ := SplitSource(source)
	if !IsFolder(path) || filepath.IsAbs(path) {
		return source
	}
	here, err := os.Getwd()
	if err != nil {
		return source
	}
	if inner, err := filepath.Rel(p.Dir, here); err == nil && inner != "." {
		return filepath.ToSlash(inner) + "/" + source
	}
	return source
}

// inside returns a file's path in the project; names of libraries' files, and "", are kept.
func (p *Project) inside(name string) (string, error) {
	if _, _, inLibrary := library.Cut(name); inLibrary || name == "" {
		return name, nil
	}
	full, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	inner, err := filepath.Rel(p.Dir, full)
	if err != nil || !filepath.IsLocal(inner) {
		return "", fmt.Errorf("%s is not in the project's folder %s, which is archived", name, p.Dir)
	}
	return filepath.ToSlash(inner), nil
}

// Call returns what an archive of the project runs: of files as the user names them, which
// must be of the project or of a library.
func (p *Project) Call(scenario, config string) (Call, error) {
	scenario, errScenario := p.inside(scenario)
	config, errConfig := p.inside(config)
	return Call{Scenario: scenario, Config: config}, errors.Join(errScenario, errConfig)
}
