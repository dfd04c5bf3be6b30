// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// shownRuns is how many runs an error lists.
const shownRuns = 10

// FindRun returns the results folder that name means: a folder, a run's ID in base, or a
// unique prefix of one. "latest" is the name of a link there.
func FindRun(base, name string) (string, error) {
	for _, dir := range []string{name, filepath.Join(base, name)} {
		_, err := os.Stat(filepath.Join(dir, RunFile))
		if name != "" && err == nil {
			return dir, nil
		}
	}
	dirs, err := Runs(base)
	if err != nil {
		return "", err
	}
	var found []string
	for _, dir := range dirs {
		if name != "" && strings.HasPrefix(filepath.Base(dir), name) {
			found = append(found, dir)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("run %q: no such results folder, and none in %s has this prefix; mhmig report history --runs lists them", name, base)
	case 1:
		return found[0], nil
	}
	var ids strings.Builder
	for _, dir := range found[max(0, len(found)-shownRuns):] {
		ids.WriteString("\n  " + filepath.Base(dir))
	}
	return "", fmt.Errorf("run %q: %d in %s have this prefix:%s", name, len(found), base, &ids)
}

// RunFolder returns the results folder that dir is, or the newest one in it.
func RunFolder(dir string) (string, error) {
	for _, run := range []string{dir, filepath.Join(dir, LatestLink)} {
		if _, err := os.Stat(filepath.Join(run, RunFile)); err == nil {
			return run, nil
		}
	}
	return "", fmt.Errorf("%s is not a results folder: want a folder that mhmig exec wrote, such as mhmig-results/latest", dir)
}
