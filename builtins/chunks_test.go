// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// The files in testdata are scenarios in chunks, which lines of "---" separate.
// A comment ### "regexp" says that the scenario must fail in its line with such
// a message; without one it must pass.
func TestChunks(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	files, err := filepath.Glob("testdata/*.star")
	if err != nil || len(files) == 0 {
		t.Fatal("no chunks: ", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".star"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			bed := newBed(t, bedtest.NoQEMU(t), 3)
			line := 0 // of the chunk's start, from 0
			for chunk := range strings.SplitSeq(string(text), "\n---\n") {
				c := chunkOf(t, file, line, chunk)
				t.Run("line "+strconv.Itoa(line+1), func(t *testing.T) { c.test(t, bed) })
				line += strings.Count(chunk, "\n") + 2
			}
		})
	}
}

// chunk is one scenario of a file, with its expected error.
type chunk struct {
	file, source string
	message      *regexp.Regexp // nil: not at all
	line         int            // where
}

var expectation = regexp.MustCompile(`(?m)^.*### (".*"|` + "`.*`" + `)$`)

func chunkOf(t *testing.T, file string, start int, text string) chunk {
	t.Helper()
	source := strings.Repeat("\n", start) + text // so that positions are those of the file
	c := chunk{file: filepath.Base(file), source: source}
	switch found := expectation.FindAllStringSubmatchIndex(source, -1); len(found) {
	case 0:
	case 1:
		pattern, err := strconv.Unquote(source[found[0][2]:found[0][3]])
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		c.message = regexp.MustCompile(pattern)
		c.line = 1 + strings.Count(source[:found[0][0]], "\n")
	default:
		t.Fatalf("%s: the chunk at line %d has more than one ###", file, start+1)
	}
	return c
}

func (c chunk) test(t *testing.T, bed *testbed.Bed) {
	message, position, backtrace := c.run(t, bed)
	switch {
	case c.message == nil && message != "":
		t.Errorf("got %s: %s, want no failure\n%s", position, message, backtrace)
	case c.message == nil:
	case !c.message.MatchString(message):
		t.Errorf("got %s: %q, want %q", position, message, c.message)
	case !strings.HasPrefix(position, "@test//"+c.file+":"+strconv.Itoa(c.line)+":"):
		t.Errorf("got %s: %s, want it in line %d", position, message, c.line)
	case !strings.Contains(backtrace, position):
		t.Errorf("got the backtrace\n%s\nwant %s in it", backtrace, position)
	}
}

// run runs the chunk and returns its first failure.
func (c chunk) run(t *testing.T, bed *testbed.Bed) (message, position, backtrace string) {
	scenario, err := (&testRun{source: c.source, file: c.file}).tryLoad(t)
	if load, ok := errors.AsType[*star.LoadError](err); ok {
		return load.Err.Error(), task.Position(load.Err), load.Error()
	} else if err != nil {
		t.Fatal(err)
	}
	failures := builtins.Run(t.Context(), bed, scenario, builtins.Options{}).Failures
	if len(failures) == 0 {
		return "", "", ""
	}
	for _, more := range failures[1:] {
		t.Errorf("further failure: %s: %v", more.Task, more)
	}
	return failures[0].Error(), task.Position(failures[0]), task.Backtrace(failures[0])
}

// newBed prepares a bed on hosts of the lab.
func newBed(t *testing.T, params cartesian.Params, hosts int) *testbed.Bed {
	t.Helper()
	s, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	bed := bedtest.New(t, s.hosts[:hosts], s.lab.Params(), params, nil)
	if err := bed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bed.Bed
}

// runOn runs a scenario on a prepared bed.
func runOn(t *testing.T, bed *testbed.Bed, extra starlark.StringDict, source string) run.Verdict {
	t.Helper()
	return builtins.Run(t.Context(), bed, (&testRun{source: source, extra: extra}).load(t), builtins.Options{})
}
