// SPDX-License-Identifier: Apache-2.0

// Package scenariotest runs the tests of scenarios: the functions test_* of *_test.star
// files, on fake hosts and guests (package fake) in virtual time.
//
//	summary, err := scenariotest.Run(ctx, files, scenariotest.Options{Libraries: libraries, DefaultConfig: config}, report)
//
// A test calls run with a scenario and params, and gets how the run ended. What the hosts
// and guests do wrong, it says before, by fake. Beds, migrations and verdicts are those of
// mhmig exec.
package scenariotest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/virtualtime"
)

// Suffix is how the names of files with tests end.
const Suffix = star.TestSuffix

// Options are those of Run.
type Options struct {
	Libraries     library.Set
	DefaultConfig string         // its full name
	Wanted        *regexp.Regexp // of "FILE:NAME"; nil: all tests
	Limits        star.Limits
	Timeout       time.Duration // of real time, for each test
	Parallel      int           // tests at the same time; 0: as many as there are processors
}

// Verdict is how a test ended.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "pass"
	Failed  Verdict = "fail"
	Skipped Verdict = "skip"
)

// Result is how a test ended.
type Result struct {
	File    string         `json:"file"`
	Name    string         `json:"name"`
	Verdict Verdict        `json:"verdict"`
	Seconds float64        `json:"seconds"`         // real time
	Virtual float64        `json:"virtual_seconds"` // of its runs
	Reason  string         `json:"reason,omitempty"`
	Failure result.Failure `json:"failure,omitzero"`
	Output  []string       `json:"output,omitempty"` // what it has printed, and logged by t.log
	Runs    []RunSummary   `json:"runs,omitempty"`
}

// RunSummary is one run of a test.
type RunSummary struct {
	Scenario string  `json:"scenario"`
	Variant  string  `json:"variant"`
	Status   string  `json:"status"`
	Message  string  `json:"message,omitempty"`
	Virtual  float64 `json:"virtual_seconds"`
}

// Summary is how many tests ended how.
type Summary struct {
	Passed, Failed, Skipped int
	Took                    time.Duration
}

// Find returns the test files that paths name: files, and all in folders and below,
// without those whose name begins with a dot.
func Find(paths []string) ([]string, error) {
	var files []string
	for _, name := range paths {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if !strings.HasSuffix(name, Suffix) {
				return nil, fmt.Errorf("%s: want a folder, or a file whose name ends in %s", name, Suffix)
			}
			files = append(files, filepath.Clean(name))
			continue
		}
		err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && path != name && strings.HasPrefix(entry.Name(), "."):
				return filepath.SkipDir
			case !entry.IsDir() && strings.HasSuffix(path, Suffix):
				files = append(files, filepath.Clean(path))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// testCase is a test function.
type testCase struct {
	file string
	name string
	fn   *starlark.Function
}

// Run loads the files and runs their tests, and calls report with each result, in the
// order of the files and of the tests in them. The error is one of the files, or of ctx.
func Run(ctx context.Context, files []string, o Options, report func(Result)) (Summary, error) {
	began := time.Now()
	o.Limits.Guard = star.GuardMemory(o.Limits.Memory)
	defer o.Limits.Guard.Close()
	s := &suite{Options: o, scenarios: map[string]*star.Scenario{}, configs: map[string]*configured{}}
	var err error
	if s.predeclared, err = builtins.Predeclared(); err != nil {
		return Summary{}, err
	}
	var cases []testCase
	for _, file := range files {
		own, err := s.load(ctx, file)
		if err != nil {
			return Summary{}, err
		}
		cases = append(cases, own...)
	}
	if s.dir, err = os.MkdirTemp("", "mhmig-test-"); err != nil {
		return Summary{}, err
	}
	defer func() { _ = os.RemoveAll(s.dir) }() // what a test that was abandoned still writes stays
	var summary Summary
	err = s.all(ctx, cases, func(r Result) {
		switch r.Verdict {
		case Passed:
			summary.Passed++
		case Skipped:
			summary.Skipped++
		default:
			summary.Failed++
		}
		report(r)
	})
	summary.Took = time.Since(began)
	return summary, err
}

// all runs the tests, several at the same time, and reports them in their order.
func (s *suite) all(ctx context.Context, cases []testCase, report func(Result)) error {
	results := make([]chan Result, len(cases))
	for i := range results {
		results[i] = make(chan Result, 1)
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range cmp.Or(s.Parallel, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := range next {
				results[i] <- s.test(ctx, cases[i])
			}
		})
	}
	workers.Go(func() {
		defer close(next)
		for i := range cases {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	defer workers.Wait()
	for i := range results {
		select {
		case r := <-results[i]:
			if ctx.Err() != nil { // it was not done
				return context.Cause(ctx)
			}
			report(r)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// suite is what all tests share.
type suite struct {
	Options
	predeclared starlark.StringDict
	dir         string // for results

	mu        sync.Mutex // guards what follows
	runs      int
	scenarios map[string]*star.Scenario
	configs   map[string]*configured
}

// load loads a file, and returns its tests in the order in which they stand there.
func (s *suite) load(ctx context.Context, file string) ([]testCase, error) {
	names := starlark.StringDict{}
	maps.Copy(names, s.predeclared)
	maps.Copy(names, language())
	loader := &star.Loader{Predeclared: names, Libraries: s.Libraries, Limits: s.Limits}
	globals, err := loader.File(ctx, file)
	if err != nil {
		return nil, err
	}
	var cases []testCase
	for name, value := range globals {
		fn, ok := value.(*starlark.Function)
		if !ok || !strings.HasPrefix(name, "test_") || fn.Position().Filename() != file {
			continue
		}
		if fn.NumParams() > 1 {
			pos := fn.Position()
			return nil, diag.List{{
				Pos:     diag.Pos{File: file, Line: int(pos.Line), Col: int(pos.Col)},
				Message: fmt.Sprintf("%s takes %d parameters, want none, or one: t", name, fn.NumParams()),
			}}.Err()
		}
		if full := file + ":" + name; s.Wanted == nil || s.Wanted.MatchString(full) {
			cases = append(cases, testCase{file, name, fn})
		}
	}
	if len(cases) == 0 && s.Wanted == nil {
		return nil, diag.List{{Pos: diag.Pos{File: file}, Message: "no test: want a function whose name begins with test_"}}.Err()
	}
	slices.SortFunc(cases, func(a, b testCase) int { return int(a.fn.Position().Line) - int(b.fn.Position().Line) })
	return cases, nil
}

// test runs a test.
func (s *suite) test(ctx context.Context, c testCase) Result {
	began := time.Now()
	t := &test{suite: s, testCase: c}
	t.thread = t.newThread(c.name)
	r := Result{File: c.file, Name: c.name, Verdict: Passed}
	err := virtualtime.Run(ctx, s.Timeout, t.run)
	stuck, abandoned := errors.AsType[*virtualtime.StuckError](err)
	if abandoned {
		t.thread.Cancel("abandoned")
		r.Failure = result.Failure{Message: stuck.Error(), Evidence: stuck.Stack, Position: c.fn.Position().String()}
	} else {
		err = cmp.Or(t.err, err) // a test that has failed may leave something that waits
		r.Output, r.Runs = t.output, t.runs
		for _, run := range t.runs {
			r.Virtual += run.Virtual
		}
	}
	r.Seconds = time.Since(began).Seconds()
	skip, skipped := errors.AsType[*skipError](err)
	switch {
	case err == nil:
		return r
	case skipped:
		r.Verdict, r.Reason = Skipped, skip.reason
		return r
	case !abandoned:
		r.Failure = s.describe(err)
	}
	r.Verdict, r.Failure.Status = Failed, result.Fail
	if r.Failure.Position != "" {
		r.Failure.Source = s.Libraries.SourceLine(r.Failure.Position)
	}
	return r
}

// describe is the failure of a test, with the position in it.
func (s *suite) describe(err error) result.Failure {
	f := result.Failure{Message: err.Error(), Position: task.Position(err), Backtrace: task.Backtrace(err)}
	if eval, ok := errors.AsType[*starlark.EvalError](err); ok {
		f.Message = eval.Msg
		if inner := eval.Unwrap(); inner != nil {
			f.Message = inner.Error()
		}
	}
	if p, ok := errors.AsType[*positioned](err); ok {
		f.Position = p.at
	}
	return f
}

// positioned is an error that is at another place than the call that reports it.
type positioned struct {
	at  string
	err error
}

func (e *positioned) Error() string { return e.err.Error() }
func (e *positioned) Unwrap() error { return e.err }

// skipError ends a test that cannot be done.
type skipError struct{ reason string }

func (e *skipError) Error() string { return "skipped: " + e.reason }
