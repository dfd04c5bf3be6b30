// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// Quarantine is a list of variants whose failures are known: until an expiry date they
// are only warnings.
type Quarantine struct {
	path    string
	entries []quarantined
}

// quarantined is an entry of a quarantine file.
type quarantined struct {
	Variant string `toml:"variant"`
	Reason  string `toml:"reason"`
	Tracker string `toml:"tracker"`
	Expires any    `toml:"expires"` // a toml.LocalDate, once checked

	pattern *cartesian.Pattern
	day     toml.LocalDate
}

// ReadQuarantine reads a quarantine file: TOML, with a table for each pattern of
// variants; all keys are required:
//
//	[[quarantine]]
//	variant = "RHEL.6.4..tcp"              # as after "only" in a config
//	reason  = "loses the NIC after resume"
//	tracker = "https://bugs.example.com/1234"
//	expires = 2027-03-01                   # from this day on, its failures count
func ReadQuarantine(path string) (*Quarantine, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	var content struct {
		Quarantine []quarantined `toml:"quarantine"`
	}
	if err := toml.NewDecoder(file).DisallowUnknownFields().Decode(&content); err != nil {
		return nil, at(path, err)
	}
	q := &Quarantine{path: path, entries: content.Quarantine}
	var errs []error
	for i := range q.entries {
		if err := q.entries[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("quarantine %s, entry %d: %w", path, i+1, err))
		}
	}
	return q, errors.Join(errs...)
}

// at adds the position in a file to an error.
func at(path string, err error) error {
	var line int
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ = wrong.Position()
	}
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		line, _ = strict.Errors[0].Position()
		err = fmt.Errorf("unknown key %s, want variant, reason, tracker, expires", strings.Join(strict.Errors[0].Key(), "."))
	}
	return fmt.Errorf("quarantine %s:%d: %w", path, max(line, 1), err)
}

func (e *quarantined) check() (err error) {
	switch address, urlErr := url.Parse(e.Tracker); {
	case strings.TrimSpace(e.Variant) == "":
		return errors.New("variant: missing, want a pattern as after \"only\" in a config")
	case strings.TrimSpace(e.Reason) == "":
		return errors.New("reason: missing, want the reason of the known failure")
	case urlErr != nil || address.Scheme == "" || address.Host == "":
		return fmt.Errorf("tracker: got %q, want the URL of the defect", e.Tracker)
	case e.Expires == nil:
		return errors.New("expires: missing, want a day such as 2027-03-01")
	}
	var isDay bool
	if e.day, isDay = e.Expires.(toml.LocalDate); !isDay {
		return fmt.Errorf("expires: got %v, want a day such as 2027-03-01, without quotes", e.Expires)
	}
	if e.pattern, err = cartesian.ParsePattern(e.Variant); err != nil {
		return fmt.Errorf("variant: %w", err)
	}
	return nil
}

// Expired returns a line for each entry that has expired.
func (q *Quarantine) Expired(now time.Time) []string {
	if q == nil {
		return nil
	}
	var lines []string
	for _, e := range q.entries {
		if day := e.day.AsTime(time.Local); !now.Before(day) {
			lines = append(lines, fmt.Sprintf("quarantine %s: %q has expired (%s): its failures are failures again: %s", q.path, e.Variant, e.day, e.Tracker))
		}
	}
	return lines
}

// apply changes a failure of a variant in quarantine to a warning, and returns a message
// about it. A nil Quarantine is empty.
func (q *Quarantine) apply(variant string, o *result.Outcome) (notice string) {
	if q == nil {
		return ""
	}
	now := time.Now()
	for _, e := range q.entries {
		expires := e.day.AsTime(time.Local)
		if !e.pattern.Match(variant) || !now.Before(expires) {
			continue
		}
		if o.Status.OK() {
			return ""
		}
		o.Quarantine = &result.Quarantine{Status: o.Status, Reason: e.Reason, Tracker: e.Tracker, Expires: expires}
		o.Status = result.Warn
		return fmt.Sprintf("in quarantine until %s: %s (%s)", e.day, e.Reason, e.Tracker)
	}
	return ""
}
