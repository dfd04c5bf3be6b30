// SPDX-License-Identifier: Apache-2.0

// Package result is the result of a run: statuses and verdicts, the results folder
// that is written during the run, and reading it afterwards.
//
//	folder, err := result.Create("mhmig-results", result.Run{Command: os.Args}, complain)
//	log := slog.New(slog.NewMultiHandler(folder.Handler(), printer))
//	v, err := folder.Start(variant.Name, variant.ShortName, variant.Params)
//	log.With("variant", v.ID(), "host", "host1").Info("guest started", "boot", took)
//	v.Finish(result.Outcome{Status: result.Pass})
//	folder.Finish(result.Pass)
//
// There is one stream of records: log/slog records with the fixed keys run, variant,
// task, host, vm, side and step. The file events.jsonl, each variant's log.txt and
// the terminal are its readers.
//
// A run never ends because its results cannot be written: after a file has been
// opened, writing to it does not fail; the first error of each file is reported once
// (to the function given to Create), and returned by Close.
//
// Concurrency: all methods of Folder, Variant and of the writers
// they hand out may be called by any goroutine at any time. Nothing here
// starts a goroutine.
package result

import (
	"errors"
	"fmt"
)

// Status is how a variant, or a whole run, ended; the names are avocado's.
// The zero value is Running: not ended, or mhmig was killed.
type Status uint8

// The statuses, from the best to the worst; Worst orders by this.
const (
	Running Status = iota // not finished
	Pass                  // the system under test did what it should
	Skip                  // not started: the variant's requirements are not met here
	Cancel                // started, then cancelled: no verdict
	Warn                  // passed, with something to look at
	Fail                  // the system under test failed
	Error                 // the test could not be carried out
)

var statusNames = [...]string{"running", "PASS", "SKIP", "CANCEL", "WARN", "FAIL", "ERROR"}

// String returns the name of the status: PASS, FAIL…, or running.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// OK reports whether a run with this status exits 0: as in avocado, all except FAIL
// and ERROR, and except Running.
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

// Worst returns the combined status of parts: ERROR, else FAIL, else WARN, else
// CANCEL, else SKIP, else PASS; Running of no parts, or when all are Running. ERROR
// is above FAIL because the result of a test that could not be carried out is
// unknown.
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
// that of the first error in its tree with a method Status() Status, as errors.As
// finds it; any other error is an Error, not a failure of the system under test.
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
