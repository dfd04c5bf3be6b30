// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// TestOracle holds the oracle itself to what the reference made of the corpus's snippets.
func TestOracle(t *testing.T) {
	t.Parallel()
	checkOracleIn(t, "testdata")
}

func TestOracleInLargeCorpus(t *testing.T) {
	t.Parallel()
	checkOracleIn(t, largeCorpus(t))
}

func checkOracleIn(t *testing.T, folder string) {
	t.Helper()
	files := map[string]string{}
	root := filepath.Join(folder, "snippets")
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		short, _ := filepath.Rel(root, name)
		files[filepath.ToSlash(short)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range files {
		if base, ok := strings.CutSuffix(name, ".cfg"); ok && !strings.Contains(name, "/") {
			t.Run(base, func(t *testing.T) {
				t.Parallel()
				checkOracle(t, files, name, files[base+".json"])
			})
		}
	}
}

func checkOracle(t *testing.T, files map[string]string, name, result string) {
	t.Helper()
	var want snippet
	if err := json.Unmarshal([]byte(result), &want); err != nil {
		t.Fatal(err)
	}
	got := askOracle(files, name, want.Filters, want.Defaults)
	if got.skip != "" {
		t.Fatalf("the oracle says nothing: %s", got.skip)
	}
	if (got.err != nil) != (want.Error != nil) {
		t.Fatalf("the oracle's error is %+v, want %+v", got.err, want.Error)
	}
	if e := want.Error; e != nil {
		if e.File != nil && e.Linenum != nil && *e.Linenum > 0 && (path.Base(got.err.file) != *e.File || got.err.line != *e.Linenum) {
			t.Errorf("the oracle's error is %+v, want it in line %d of %s", got.err, *e.Linenum, *e.File)
		}
		return
	}
	var lines []string
	for _, d := range want.Dicts {
		lines = append(lines, string(canonical(t, d)))
	}
	if want.Limit != nil {
		got.lines = got.lines[:min(*want.Limit, len(got.lines))]
	}
	if diff := cmp.Diff(strings.Join(lines, "\n"), strings.Join(got.lines, "\n")); diff != "" {
		t.Errorf("variants (-want +oracle):\n%s", diff)
	}
}

// An oracleCase is a config with all that belongs to it.
type oracleCase struct {
	files map[string]string // "main.cfg" is the config, others are for inclusion
	extra []string
}

// compare asks both the package and the oracle, and tells what the oracle said: variants, an error, or why nothing.
func (c oracleCase) compare(t *testing.T, defaults bool) (want oracleResult, ok bool) {
	t.Helper()
	want = askOracle(c.files, "main.cfg", c.extra, defaults)
	if want.skip != "" {
		return want, true
	}
	got, err := c.expand(t, defaults, len(want.lines)+1)
	switch {
	case want.err != nil && err == nil:
		t.Errorf("%s\ngot %d variants, want the error %+v", c, len(got), want.err)
	case want.err == nil && err != nil:
		t.Errorf("%s\ngot error %v, want %d variants", c, err, len(want.lines))
	case want.err != nil:
		if places := diag.Of(err); want.err.line == 0 || len(places) == 0 || want.err.foundIn(places) {
			return want, true
		}
		t.Errorf("%s\ngot error %v, want %+v", c, err, want.err)
	default:
		diff := cmp.Diff(strings.Join(want.lines, "\n"), strings.Join(got, "\n"))
		if diff == "" {
			return want, true
		}
		t.Errorf("%s\nvariants, defaults %t (-oracle +got):\n%s", c, defaults, diff)
	}
	return want, false
}

// foundIn reports whether the package saw the fault too, and none before it in the same file. A missing default is known
// by the line after its set, but shown at the set.
func (e *oracleError) foundIn(list diag.List) bool {
	for _, d := range list {
		_, after, late := strings.Cut(d.Message, ", which ends ")
		switch {
		case d.Pos.File != e.file:
		case late && strings.HasPrefix(after, fmt.Sprintf("before line %d,", e.line)):
			return true
		case !late:
			return d.Pos.Line == e.line
		}
	}
	return false
}

// expand returns up to limit variants, as the package makes them.
func (c oracleCase) expand(t *testing.T, defaults bool, limit int) (lines []string, err error) {
	fsys := fstest.MapFS{}
	for name, text := range c.files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	config, err := cartesian.ParseFS(fsys, "main.cfg", c.extra...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := cartesian.Options{Defaults: defaults}
	for v, e := range config.Variants(ctx, o) {
		if e != nil {
			err = e
			break
		}
		lines = append(lines, string(v.AppendJSON(nil)))
		if len(lines) == limit {
			break
		}
	}
	if problem := otherWays(ctx, config, o, lines, limit, err); problem != "" {
		t.Errorf("%s\ndefaults %t: %s", c, defaults, problem)
	}
	return lines, err
}

// otherWays compares the other ways of listing variants with what came of the first.
func otherWays(ctx context.Context, config *cartesian.Config, o cartesian.Options, lines []string, limit int, first error) (problem string) {
	var wanted strings.Builder
	for _, line := range lines {
		wanted.WriteString(line + "\n")
	}
	for _, bounds := range [][2]int{{0, 0}, {1, 0}, {3, 500}, {3, 1 << 20}} {
		var got strings.Builder
		var err error
		if bounds[0] == 0 {
			_, err = config.Write(ctx, &got, cartesian.JSON, limit, o)
		} else {
			_, err = config.WriteTogether(ctx, &got, cartesian.JSON, limit, o, bounds[0], bounds[1])
		}
		if (err == nil) != (first == nil) || err != nil && err.Error() != first.Error() || got.String() != wanted.String() {
			return fmt.Sprintf("Write with bounds %v: error %v, but %v at first; lines (-Variants +Write):\n%s",
				bounds, err, first, cmp.Diff(wanted.String(), got.String()))
		}
	}
	n, err := config.Count(ctx, o)
	if (err == nil) != (first == nil) || err == nil && len(lines) < limit && n.Cmp(big.NewInt(int64(len(lines)))) != 0 {
		return fmt.Sprintf("Count gives %v, %v, want %d, %v", n, err, len(lines), first)
	}
	if len(lines) < limit {
		for _, most := range []int{0, len(lines) - 1, len(lines)} {
			more, err := config.Exceeds(ctx, max(most, 0), o)
			switch beyond := len(lines) > max(most, 0); {
			case beyond && !more, !beyond && (more || (err == nil) != (first == nil)):
				return fmt.Sprintf("Exceeds(%d) is %t, %v, of %d variants and error %v", most, more, err, len(lines), first)
			}
		}
	}
	var names, short, tree strings.Builder
	_, namesErr := config.Write(ctx, &names, cartesian.Names, limit, o)
	_, shortErr := config.WriteTogether(ctx, &short, cartesian.ShortNames, limit, o, 2, 0)
	_, treeErr := config.WriteTree(ctx, &tree, -1, o)
	if (namesErr == nil) != (first == nil) || (shortErr == nil) != (first == nil) || (treeErr == nil) != (first == nil) {
		return fmt.Sprintf("names %v, short names %v, tree %v: want error %v", namesErr, shortErr, treeErr, first)
	}
	if first == nil {
		var wantNames, wantShort strings.Builder
		for _, line := range lines {
			var v struct{ Name, ShortName string }
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				return err.Error()
			}
			wantNames.WriteString(v.Name + "\n")
			wantShort.WriteString(v.ShortName + "\n")
		}
		if wantNames.String() != names.String() || wantShort.String() != short.String() {
			return fmt.Sprintf("names differ from those in JSON:\n%s%s",
				cmp.Diff(wantNames.String(), names.String()), cmp.Diff(wantShort.String(), short.String()))
		}
	}
	return ""
}

// String is the config as it can be read and tried again.
func (c oracleCase) String() string {
	var b strings.Builder
	for _, name := range []string{"main.cfg", "one/set.cfg", "two/set.cfg", "plain.cfg"} {
		if text, ok := c.files[name]; ok {
			b.WriteString("--- " + name + "\n" + text)
		}
	}
	for _, s := range c.extra {
		b.WriteString("--- extra string\n" + s + "\n")
	}
	return b.String()
}

// oracleSeed begins the seeds of TestAgainstOracle, and oracleSeeds counts them.
var (
	oracleSeed  = flag.Uint64("oracle.seed", 1, "the first seed of TestAgainstOracle")
	oracleSeeds = flag.Uint64("oracle.seeds", 200, "how many seeds TestAgainstOracle tries")
)

// TestAgainstOracle compares the package with the oracle over random configs, each of them valid and damaged.
func TestAgainstOracle(t *testing.T) {
	t.Parallel()
	seeds := *oracleSeeds
	if testing.Short() {
		seeds = min(seeds, 200)
	}
	told := map[string]int{}
	bad := 0
	for seed := *oracleSeed; seed < *oracleSeed+seeds; seed++ {
		g := newGenerator(seed)
		c := g.generate()
		for round := range 3 {
			if round > 0 {
				c.files["main.cfg"] = damage(g.Rand, c.files["main.cfg"])
			}
			for _, defaults := range []bool{false, true} {
				want, ok := c.compare(t, defaults)
				if !ok {
					t.Logf("seed %d, round %d", seed, round)
					if bad++; bad == 5 {
						t.FailNow()
					}
					break
				}
				told[fmt.Sprintf("round %d: %s", round, want.kind())]++
				if round > 0 {
					break
				}
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(told)) {
		t.Logf("%6d %s", told[what], what)
	}
}

// kind is what sort of result the oracle gave, for counting.
func (r oracleResult) kind() string {
	switch {
	case r.skip != "":
		return "says nothing: " + r.skip
	case r.err != nil && r.err.line > 0:
		return "an error in a line"
	case r.err != nil:
		return "an error"
	case len(r.lines) < 2:
		return fmt.Sprint("variants: ", len(r.lines))
	}
	return "variants: 1" + strings.Repeat("0", len(fmt.Sprint(len(r.lines)))-1) + " or more"
}

// FuzzAgainstOracle compares the package with the oracle over any text, with the files that a seed makes, and over the
// text that a seed makes where there is none.
func FuzzAgainstOracle(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join("testdata", "snippets", "*.cfg"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds (%v)", err)
	}
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint64(i), string(text), false)
		f.Add(uint64(i), "", true)
	}
	for seed := range uint64(200) {
		f.Add(seed, newGenerator(seed).generate().files["main.cfg"], seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string, defaults bool) {
		if len(text) > 4000 {
			return
		}
		c := newGenerator(seed).generate()
		if text != "" {
			c.files["main.cfg"] = text
		}
		c.compare(t, defaults)
	})
}
