// SPDX-License-Identifier: Apache-2.0

package lint_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/mhmig/mhmig/lang/lint"
)

// planted is a mistake: "#! COLUMN RULE TEXT" in the line before it.
var planted = regexp.MustCompile(`^ *#! (\d+) (\S+) (.+)$`)

// Each of the planted mistakes is found where it is, and nothing is said about what stands beside them.
func TestPlantedMistakes(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/planted.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := txtar.Write(archive, dir); err != nil {
		t.Fatal(err)
	}
	folders := map[string]map[string]string{} // by place, what is planted there
	count := 0
	rules := map[string]int{}
	for _, file := range archive.Files {
		folder := filepath.Dir(file.Name)
		if folders[folder] == nil {
			folders[folder] = map[string]string{}
		}
		lines := strings.Split(string(file.Data), "\n")
		for i, line := range lines {
			p := planted.FindStringSubmatch(line)
			if p == nil {
				continue
			}
			at := i + 1
			for planted.MatchString(lines[at]) {
				at++
			}
			folders[folder][fmt.Sprintf("%s:%d:%s %s", file.Name, at+1, p[1], p[2])] = p[3]
			count++
			rules[p[2]]++
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		want := folders[folder]
		for _, d := range lint.Files(reader, []string{filepath.Join(dir, folder)}) {
			name, err := filepath.Rel(dir, d.Pos.File)
			if err != nil {
				t.Fatal(err)
			}
			place := fmt.Sprintf("%s:%d:%s %s", name, d.Pos.Line, strconv.Itoa(d.Pos.Col), d.Rule)
			if text, is := want[place]; !is || !strings.Contains(d.Message, text) {
				t.Errorf("%s: %s; planted there: %q", place, d.Message, text)
			}
			delete(want, place)
		}
		for place, text := range want {
			t.Errorf("%s: %s is not found", place, text)
		}
	}
	if count < 40 {
		t.Errorf("only %d mistakes are planted", count)
	}
	t.Logf("%d mistakes: %v", count, rules)
}

// What is said about the large corpus, configs for another program, is said in time, and each finding is of a rule whose
// findings there are true: none about params, which that program reads.
func TestCorpus(t *testing.T) {
	t.Parallel()
	large := cmp.Or(os.Getenv("MHMIG_CORPUS"), filepath.Join("..", "..", "..", "shared", "corpus"))
	if _, err := os.Stat(large); err != nil {
		t.Skipf("THE LARGE CORPUS IS NOT TRIED: it is not at %s; MHMIG_CORPUS names its folder", large)
	}
	for _, name := range []string{"qemu/cfg/all.cfg", "huge/test1.cfg", "huge/tests.cfg"} {
		list := lint.Files(reader, []string{filepath.Join(large, name)})
		rules := map[string]int{}
		for _, d := range list {
			if rules[d.Rule]++; d.Rule == "" || strings.HasSuffix(d.Rule, "-param") {
				t.Errorf("%v", d)
			}
		}
		t.Logf("%s: %d findings: %v", name, len(list), rules)
	}
}
