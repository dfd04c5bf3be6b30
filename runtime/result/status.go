// SPDX-License-Identifier: Apache-2.0

// Package result says how a run went: statuses and verdicts, the results
// folder that is written while the run goes on, and the reading of a folder
// afterwards.
//
//	folder, err := result.Create("mhmig-results", result.Run{Command: os.Args}, complain)
//	log := slog.New(slog.NewMultiHandler(folder.Handler(), printer))
//	v, err := folder.Start(variant.Name, variant.ShortName, variant.Params)
//	log.With("variant", v.ID(), "host", "host1").Info("guest started", "boot", took)
//	v.Finish(result.Outcome{Status: result.Pass})
//	folder.Finish(result.Pass)
//
// There is one stream of records: what is logged through log/slog with the
// fixed keys run, variant, task, host, vm, side and step. The file
// events.jsonl, each variant's log.txt and the terminal are readers of it.
//
// A run never ends because its results cannot be written: after a file has
// been opened, writing to it does not fail; the first fault of each file is
// said once (to the function given to Create), and told by Close.
//
// Concurrency: all methods of Folder, Variant and of the writers
// they hand out may be called by any goroutine at any time. Nothing here
// starts a goroutine.
package result

import (
	"errors"
	"fmt"
)

// Status is how a variant, or a whole run, ended; the words are avocado's.
// The zero value is Running: not ended, or ended by the death of mhmig.
type Status uint8

// The statuses, from the best to the worst; Worst orders by this.
const (
	Running Status = iota // not finished
	Pass                  // the system under test did what it should
	Skip                  // nothing was begun: the variant's needs are not met here
	Cancel                // begun, then given up: neither right nor wrong
	Warn                  // passed, with something that a person should look at
	Fail                  // the system under test is wrong
	Error                 // the test could not be done
)

var statusNames = [...]string{"running", "PASS", "SKIP", "CANCEL", "WARN", "FAIL", "ERROR"}

// String returns the status as users see it: PASS, FAIL…, or running.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// OK reports whether a run with this status exits 0: as in avocado, all but
// FAIL and ERROR, and but a variant that never ended.
func (s Status) OK() bool { return s != Running && s < Fail }

// MarshalText writes the status as String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Status) UnmarshalText(text []byte) error {
	for i, name := range statusNames {
		if name == string(text) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("status %q: want one of %q", text, statusNames)
}

// Worst returns the status of a whole whose parts ended so: ERROR, else FAIL,
// else WARN, else CANCEL, else SKIP, else PASS; Running of nothing, or when
// every part is Running. ERROR stands above FAIL because where a test could
// not be done, nobody knows what it would have found.
func Worst(parts ...Status) Status {
	worst := Running
	for _, s := range parts {
		worst = max(worst, s)
	}
	return worst
}

// Wrap makes err a verdict of status s, keeping it for errors.Is and
// errors.As. A verdict inside err is overruled. Wrap of nil is nil.
//
//	return result.Fail.Wrap(err)
func (s Status) Wrap(err error) error {
	if err == nil {
		return nil
	}
	return &verdict{status: s, err: err}
}

// Errorf is fmt.Errorf for a verdict of status s:
//
//	return result.Skip.Errorf("%s has no KVM", host)
func (s Status) Errorf(format string, args ...any) error {
	return &verdict{status: s, err: fmt.Errorf(format, args...)}
}

// verdict gives an error a status.
type verdict struct {
	status Status
	err    error
}

func (v *verdict) Error() string  { return v.err.Error() }
func (v *verdict) Unwrap() error  { return v.err }
func (v *verdict) Status() Status { return v.status }

// StatusOf returns the status that err stands for: Pass when it is nil, else
// that of the first error in its tree with a method Status() Status, as
// errors.As finds it; any other error is an Error, since what nobody judged
// is not the fault of the system under test.
func StatusOf(err error) Status {
	if err == nil {
		return Pass
	}
	var withStatus interface{ Status() Status }
	if errors.As(err, &withStatus) {
		return withStatus.Status()
	}
	return Error
}
