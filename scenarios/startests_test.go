// SPDX-License-Identifier: Apache-2.0

package scenarios_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/scenarios"
	"github.com/mhmig/mhmig/stdlib"
)

// The tests of the scenarios pass, and each scenario has some: of its pass, of its fail, and
// of a bad day.
func TestStarTests(t *testing.T) {
	t.Parallel()
	files, err := scenariotest.Find([]string{"."})
	if err != nil {
		t.Fatal(err)
	}
	var wanted *regexp.Regexp
	if testing.Short() { // of each scenario what passes
		wanted = regexp.MustCompile(":test_pass$")
	}
	kinds := map[string]string{} // of the tests of a file
	summary, err := scenariotest.Run(t.Context(), files, scenariotest.Options{
		Libraries: library.Set{"std": stdlib.FS, "scenarios": scenarios.FS}, DefaultConfig: "@std//" + stdlib.DefaultConfig,
		Wanted: wanted, Limits: star.DefaultLimits, Timeout: 5 * time.Minute,
	}, func(r scenariotest.Result) {
		kinds[r.File] += r.Name + " "
		if r.Verdict != scenariotest.Passed {
			var text strings.Builder
			scenariotest.Write(&text, r, true, 200)
			t.Error(text.String())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, scenario := range shipped(t) {
		file := strings.TrimSuffix(scenario, star.Extension) + star.TestSuffix
		for _, kind := range []string{"test_pass", "test_fail", "test_bad_day"} {
			if (wanted == nil || wanted.MatchString(":"+kind)) && !strings.Contains(kinds[file], kind) {
				t.Errorf("%s has no %s", file, kind)
			}
		}
	}
	t.Log(summary)
}
