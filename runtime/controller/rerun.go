// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/result"
)

func (q *Request) latest() string { return filepath.Join(q.Results, result.LatestLink) }

// failedBefore returns the names of the variants that did not pass in the latest run, or
// were not started.
func (q *Request) failedBefore() (map[string]bool, error) {
	if _, err := result.LoadRun(q.latest()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("there is no latest run in %s", q.Results)
		}
		return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
	}
	names, err := result.Planned(q.latest())
	if err != nil {
		return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
	}
	if names == nil {
		names = map[string]bool{}
	}
	bad := map[string]bool{} // true if any repeat failed
	for o, err := range result.Outcomes(q.latest()) {
		if err != nil {
			return nil, exit.Usage.Wrap(fmt.Errorf("--rerun failed: %w", err))
		}
		bad[o.Name] = bad[o.Name] || !o.Status.OK() || o.Status == result.Cancel
		names[o.Name] = bad[o.Name]
	}
	maps.DeleteFunc(names, func(_ string, wanted bool) bool { return !wanted })
	return names, nil
}
