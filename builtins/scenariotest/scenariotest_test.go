// SPDX-License-Identifier: Apache-2.0

package scenariotest_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/lang/doc"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

func options() scenariotest.Options {
	return scenariotest.Options{
		Libraries: library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}, DefaultConfig: "@std//" + stdlib.DefaultConfig,
		Limits: star.DefaultLimits, Timeout: time.Minute,
	}
}

// results runs test files, and returns the results by the names of the tests.
func results(t *testing.T, o scenariotest.Options, files ...string) map[string]scenariotest.Result {
	t.Helper()
	all := map[string]scenariotest.Result{}
	_, err := scenariotest.Run(t.Context(), files, o, func(r scenariotest.Result) { all[r.Name] = r })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// write writes a test file with files beside it, and returns its name.
func write(t *testing.T, text string, beside map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range beside {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "my"+scenariotest.Suffix)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func show(r scenariotest.Result) string {
	var b strings.Builder
	scenariotest.Write(&b, r, true, 200)
	return b.String()
}

// The examples of mhmig doc are as they say, and pass.
func TestDocExamples(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	names := map[string]string{}
	for _, topic := range slices.Sorted(maps.Keys(doc.TestExamples())) {
		body := doc.TestExamples()[topic]
		if formatted, err := star.Reformat(topic, []byte(body)); err != nil || string(formatted) != body {
			t.Errorf("%s is not formatted: %v\n%s", topic, err, formatted)
		}
		if method := topic[strings.LastIndexByte(topic, '.')+1:]; strings.Contains(topic, ".") && !strings.Contains(body, "."+method+"(") {
			t.Errorf("the example of %s does not use it", topic)
		}
		name := "test_" + strings.ReplaceAll(topic, ".", "_")
		names[name] = topic
		text.WriteString("def " + name + "(t):\n    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n\n")
	}
	for name, r := range results(t, options(), write(t, text.String(), nil)) {
		if want := map[bool]scenariotest.Verdict{true: scenariotest.Skipped, false: scenariotest.Passed}[names[name] == "t.skip"]; r.Verdict != want {
			t.Errorf("%s: want that it ends with %s\n%s", names[name], want, show(r))
		}
	}
}
