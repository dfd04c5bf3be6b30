// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// The corpus is configs and what the reference implementation makes of them. A small one lies in testdata; MHMIG_CORPUS
// names the folder of the large one.
func largeCorpus(tb testing.TB) string {
	tb.Helper()
	large := os.Getenv("MHMIG_CORPUS")
	if large == "" {
		large = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(large); err != nil {
		tb.Skipf("THE LARGE CORPUS IS NOT TRIED: it is not at %s; MHMIG_CORPUS names its folder", large)
	}
	return large
}

// A snippet is what must come of one small config.
type snippet struct {
	Filters  []string
	Defaults bool
	Limit    *int
	Error    *struct {
		File    *string
		Linenum *int
	}
	Dicts []json.RawMessage
}

func TestSnippets(t *testing.T) {
	t.Parallel()
	checkSnippets(t, "testdata")
}

func TestSnippetsOfLargeCorpus(t *testing.T) {
	t.Parallel()
	checkSnippets(t, largeCorpus(t))
}

func checkSnippets(t *testing.T, folder string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "snippets", "*.cfg"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no snippets in %s (%v)", folder, err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".cfg")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkSnippet(t, path)
		})
	}
}

func checkSnippet(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(path, ".cfg") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var want snippet
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	limit := -1
	if want.Limit != nil {
		limit = *want.Limit
	}
	var got bytes.Buffer
	err = list(t, path, want.Filters, want.Defaults, limit, "jsonl", &got)
	checkIterator(t, path, want, limit, got.String(), err)
	if want.Error != nil {
		checkError(t, err, want.Error.File, want.Error.Linenum)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, d := range want.Dicts {
		lines.Write(canonical(t, d))
		lines.WriteByte('\n')
	}
	if diff := cmp.Diff(lines.String(), got.String()); diff != "" {
		t.Errorf("variants (-want +got):\n%s", diff)
	}
}

// checkIterator compares what Variants gives with what Write has written.
func checkIterator(t *testing.T, path string, want snippet, limit int, written string, writeErr error) {
	t.Helper()
	c, err := cartesian.ParseFile(path, want.Filters...)
	if err != nil {
		return
	}
	var lines strings.Builder
	n := 0
	for v, e := range c.Variants(t.Context(), cartesian.Options{Defaults: want.Defaults}) {
		if err = e; e != nil || n == limit {
			break
		}
		lines.Write(append(v.AppendJSON(nil), '\n'))
		if n++; n == limit {
			break
		}
	}
	if diff := cmp.Diff(lines.String(), written); diff != "" || fmt.Sprint(err) != fmt.Sprint(writeErr) {
		t.Errorf("Variants (-) and Write (+) differ, errors %v and %v:\n%s", err, writeErr, diff)
	}
}

// checkError looks for the file and the line, as a number of its own, where the reference knew them.
func checkError(t *testing.T, err error, file *string, line *int) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	if file == nil || line == nil || *line < 0 {
		return
	}
	message := err.Error()
	number := regexp.MustCompile(`(^|\D)` + strconv.Itoa(*line) + `(\D|$)`)
	if !strings.Contains(message, *file) || !number.MatchString(message) {
		t.Errorf("error %q, want one in line %d of %s", message, *line, *file)
	}
	for _, d := range diag.Of(err) {
		if d.Pos.Line < 1 || d.Pos.Col < 1 || d.Source == "" {
			t.Errorf("diagnostic without a place: %+v", d)
		}
	}
}

// canonical rewrites JSON with sorted keys and without blanks, by other means than the code under test.
func canonical(t *testing.T, text []byte) []byte {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	// encoding/json always escapes these two, and writes \u007f as it is.
	return bytes.TrimSpace([]byte(strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(b.String())))
}

// list writes the config's variants in a format of `mhmig list`.
func list(t *testing.T, path string, filters []string, defaults bool, limit int, format string, w io.Writer) error {
	t.Helper()
	c, err := cartesian.ParseFile(path, filters...)
	if err != nil {
		return err
	}
	o := cartesian.Options{Defaults: defaults}
	if format == "count" {
		n, err := c.Count(t.Context(), o)
		if limit >= 0 && n.Cmp(big.NewInt(int64(limit))) > 0 {
			n.SetInt64(int64(limit))
		}
		fmt.Fprintln(w, n)
		return err
	}
	_, err = c.Write(t.Context(), w, formats[format], limit, o)
	return err
}

var formats = map[string]cartesian.Format{
	"jsonl": cartesian.JSON, "names": cartesian.Names, "shortnames": cartesian.ShortNames,
}

// enough is how many variants of a large config are looked at with -short.
const enough = 1000

// A golden is the digest of what must come of a large config.
type golden struct {
	ID, File, Mode, SHA256 string
	Filters                []string
	Defaults               bool
	Limit                  *int
	Count                  int
	Checkpoints            map[string]string
	Error                  *struct {
		File    *string
		Linenum *int
	}
	RefSeconds      float64 `json:"ref_seconds"`
	RefParseSeconds float64 `json:"ref_parse_seconds"`
}

func goldensOf(tb testing.TB, folder string) []golden {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "huge", "goldens.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var goldens []golden
	if err := json.Unmarshal(text, &goldens); err != nil {
		tb.Fatal(err)
	}
	return goldens
}

func TestGoldens(t *testing.T) {
	t.Parallel()
	folder := largeCorpus(t)
	for _, g := range goldensOf(t, folder) {
		t.Run(g.ID, func(t *testing.T) { checkGolden(t, folder, g) })
	}
}

func checkGolden(t *testing.T, folder string, g golden) {
	t.Helper()
	limit := -1
	if g.Limit != nil {
		limit = *g.Limit
	}
	whole := g.Count <= enough || !testing.Short()
	if !whole {
		limit = enough
		maps.DeleteFunc(g.Checkpoints, func(n, _ string) bool { return len(n) > len(strconv.Itoa(enough)) })
	}
	digest := &lineDigest{Hash: sha256.New(), at: map[string]string{}}
	for n := range g.Checkpoints {
		digest.at[n] = ""
	}
	start := time.Now()
	err := list(t, filepath.Join(folder, "huge", g.File), g.Filters, g.Defaults, limit, g.Mode, digest)
	took := time.Since(start)
	if g.Error != nil {
		checkError(t, err, g.Error.File, g.Error.Linenum)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d variants in %v; the reference took %v s for all", digest.lines, g.Count, took, g.RefSeconds)
	if diff := cmp.Diff(g.Checkpoints, digest.at); diff != "" {
		t.Errorf("digests after so many lines (-want +got):\n%s", diff)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); whole && got != g.SHA256 {
		t.Errorf("digest of %d lines = %s, want %s of %d lines", digest.lines, got, g.SHA256, g.Count)
	}
}

// lineDigest keeps the digests after certain numbers of lines.
type lineDigest struct {
	hash.Hash
	lines int
	at    map[string]string
}

func (d *lineDigest) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		d.Hash.Write(line)
		d.lines++
		if key := strconv.Itoa(d.lines); d.at[key] == "" {
			if _, wanted := d.at[key]; wanted {
				d.at[key] = hex.EncodeToString(d.Sum(nil))
			}
		}
	}
	return len(text), nil
}
