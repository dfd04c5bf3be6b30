// SPDX-License-Identifier: Apache-2.0

package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Load reads a results folder: its run, and an outcome for each variant that
// was started, in that order. A variant without outcome.json, as a killed run
// leaves it, has the status and message of run.json, usually Running.
// dir may be the link "latest".
func Load(dir string) (Run, []Outcome, error) {
	var run Run
	if err := readJSON(filepath.Join(dir, RunFile), &run); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Run{}, nil, fmt.Errorf("%s is not a results folder: %w", dir, err)
		}
		return Run{}, nil, err
	}
	outcomes := make([]Outcome, len(run.Variants))
	for i, s := range run.Variants {
		if !filepath.IsLocal(s.ID) {
			return Run{}, nil, fmt.Errorf("%s: variant id %q: want a folder's name", filepath.Join(dir, RunFile), s.ID)
		}
		err := readJSON(filepath.Join(dir, s.ID, OutcomeFile), &outcomes[i])
		if errors.Is(err, fs.ErrNotExist) {
			outcomes[i] = Outcome{
				ID: s.ID, Name: s.Name, ShortName: s.ShortName, Started: s.Started, Seconds: s.Seconds,
				Failure: Failure{Status: s.Status, Message: s.Message},
			}
		} else if err != nil {
			return Run{}, nil, err
		}
	}
	return run, outcomes, nil
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
