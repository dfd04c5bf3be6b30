// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/report"
	"github.com/mhmig/mhmig/runtime/result"
)

func write(t testing.TB, format report.Format, dir string) string {
	t.Helper()
	var b bytes.Buffer
	check(t, format(&b, dir))
	return b.String()
}

// validate asks a program of others whether junit is what the schema wants.
func validate(t testing.TB, junit string) {
	t.Helper()
	lint := exec.CommandContext(t.Context(), "xmllint", "--noout", "--nonet", "--schema", "testdata/junit.xsd", "-")
	lint.Stdin = strings.NewReader(junit)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s\n%s", err, out, junit)
	}
}

// suites are the parts of a JUnit report that tests look at.
type suites struct {
	Suite struct {
		Hostname string `xml:"hostname,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Cases    []struct {
			Class   string `xml:"classname,attr"`
			Name    string `xml:"name,attr"`
			Out     string `xml:"system-out"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failures []reason `xml:"failure"`
			Errors   []reason `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type reason struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func readJUnit(t testing.TB, text string) suites {
	t.Helper()
	var s suites
	if err := xml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	text := write(t, report.JUnit, makeRun(t, false))
	validate(t, text)
	s := readJUnit(t, text).Suite
	if s.Tests != 5 || s.Failures != 1 || s.Errors != 0 || s.Skipped != 1 || len(s.Cases) != 5 {
		t.Errorf("got %d tests, %d failures, %d errors, %d skipped, %d cases", s.Tests, s.Failures, s.Errors, s.Skipped, len(s.Cases))
	}
	if s.Hostname != "host1" {
		t.Errorf("hostname: got %q, want that of the first host", s.Hostname)
	}
	broken := s.Cases[2]
	if broken.Class != "mhmig.moves" || broken.Name != "broken.Linux.JeOS" || len(broken.Failures) != 1 || len(broken.Errors) != 1 {
		t.Fatalf("case: got %+v", broken)
	}
	for _, want := range []string{
		"at scenarios/moves.star:30:17", "check_memory_work(session)", "on destination host2 vm1 check_work", "in check", "guest console", "]]></system-out></script>",
	} {
		if !strings.Contains(broken.Failures[0].Text, want) {
			t.Errorf("failure: got %q, want it to say %q", broken.Failures[0].Text, want)
		}
	}
	if out := s.Cases[3].Out; len(s.Cases[3].Failures) != 0 || !strings.Contains(out, "in quarantine until 2030-01-02") || !strings.Contains(out, "log: 004-quarantined/log.txt") {
		t.Errorf("case in quarantine: got %+v", s.Cases[3])
	}
	if skipped := s.Cases[4].Skipped; skipped == nil || skipped.Message != "no RDMA card on host1" {
		t.Errorf("skipped: got %+v", skipped)
	}
}

// TestKilledRunIsNotGreen: what did not end is an error, wherever the run was
// killed.
func TestKilledRunIsNotGreen(t *testing.T) {
	t.Parallel()
	dir := makeRun(t, true)
	text := write(t, report.JUnit, dir)
	validate(t, text)
	s := readJUnit(t, text).Suite
	if last := s.Cases[len(s.Cases)-1]; s.Errors != 1 || len(last.Errors) != 1 || !strings.Contains(last.Errors[0].Message, "did not end") {
		t.Errorf("killed in a variant: got %+v", s)
	}
	for _, c := range []struct {
		name, want string
		red        bool
		change     func(f *result.Folder)
	}{
		{"killed before all had begun", "the run did not end: mhmig was killed, or is still running; 3 of 4 variants did not begin", true, func(f *result.Folder) {
			run(t, f, "one", result.Outcome{Failure: result.Failure{Status: result.Pass}}, -1)
		}},
		{"killed in the first variant", "the run did not end: mhmig was killed, or is still running; 3 of 4 variants did not begin", true, func(f *result.Folder) {
			_, err := f.Start(result.Entry{Name: "one"})
			check(t, err)
		}},
		{"killed before the first variant", "did not end", true, func(*result.Folder) {}},
		{"hosts could not be used", "ended with ERROR", true, func(f *result.Folder) { check(t, f.Finish(result.Error)) }},
		{"interrupted", "interrupted", true, func(f *result.Folder) { check(t, f.Finish(result.Cancel)) }},
		{"stopped early", "3 of 4 variants did not begin: time is up", true, func(f *result.Folder) {
			run(t, f, "one", result.Outcome{Failure: result.Failure{Status: result.Pass}}, -1)
			f.NotRun(3, "time is up")
			check(t, f.Finish(result.Pass))
		}},
		{"stopped at a failure", "", true, func(f *result.Folder) {
			run(t, f, "one", result.Outcome{Failure: result.Failure{Status: result.Fail, Message: "wrong"}}, -1)
			f.NotRun(3, "--fail-fast")
			check(t, f.Finish(result.Fail))
		}},
		{"passed", "", false, func(f *result.Folder) {
			run(t, f, "one", result.Outcome{Failure: result.Failure{Status: result.Pass}}, -1)
			check(t, f.Finish(result.Pass))
		}},
	} {
		f, err := result.Create(t.TempDir(), result.Run{Scenario: "a.star", Planned: 4}, func(err error) { t.Error(err) })
		check(t, err)
		c.change(f)
		text := write(t, report.JUnit, f.Dir())
		validate(t, text)
		s := readJUnit(t, text).Suite
		if s.Hostname == "" {
			t.Errorf("%s: got no hostname", c.name)
		}
		if remark, err := report.RunProblem(f.Dir()); err != nil || !strings.Contains(remark, c.want) {
			t.Errorf("%s: remark: got %q, %v, want %q", c.name, remark, err, c.want)
		}
		if red := s.Errors+s.Failures > 0; red != c.red || !strings.Contains(text, c.want) {
			t.Errorf("%s: got %s, want red: %v, and %q", c.name, text, c.red, c.want)
		}
		if tap := write(t, report.TAP, f.Dir()); strings.Contains(tap, "\nnot ok") != c.red || !strings.Contains(tap, c.want) {
			t.Errorf("%s: TAP: got %s", c.name, tap)
		}
		if md := write(t, report.Markdown, f.Dir()); !strings.Contains(md, c.want) {
			t.Errorf("%s: Markdown: got %s, want %q", c.name, md, c.want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, unfinished := range []bool{false, true} {
		text := write(t, report.JSON, makeRun(t, unfinished))
		if err := matchesSchema(t, text); err != nil {
			t.Errorf("unfinished %v: %v\n%s", unfinished, err, text)
		}
		var got struct {
			Run      struct{ Status string }
			Totals   map[string]int
			Variants []struct {
				Status     string
				Migrations []struct {
					VMs []struct {
						Downtime float64 `json:"downtime_ms"`
						Passes   int
						Guest    int    `json:"guest_downtime_ms"`
						Stop     int    `json:"guest_clock_stop_ms"`
						Brownout int    `json:"guest_brownout_ms"`
						Gap      int    `json:"guest_longest_gap_ms"`
						Pages    int    `json:"memory_proof_pages"`
						Differ   int    `json:"memory_proof_differ"`
						Took     int    `json:"memory_proof_ms"`
						Moved    int    `json:"memory_proof_moved_bytes"`
						Skipped  string `json:"memory_proof_skipped"`

						Predictions []struct {
							From      string
							Converges bool
							Verdict   string
							Error     float64
						}
					}
				}
				Artifacts []struct{ Path string }
			}
		}
		check(t, json.Unmarshal([]byte(text), &got))
		if got.Totals["pass"] != 2 || got.Totals["variants"] != len(got.Variants) || (got.Totals["running"] == 1) != unfinished {
			t.Errorf("totals: got %v", got.Totals)
		}
		if vm := got.Variants[1].Migrations[0].VMs[0]; vm.Downtime != 40 || vm.Passes != 7 || vm.Guest != 52 || vm.Stop != 41 || vm.Brownout == 0 || vm.Gap != 60 ||
			vm.Pages != 32768 || vm.Differ != 3 || vm.Took != 1222 || vm.Moved != 1382 || vm.Skipped != "" {
			t.Errorf("figures: got %+v", vm)
		}
		if p := got.Variants[1].Migrations[0].VMs[0].Predictions; len(p) != 2 || p[0].From != "dirty rate" || p[0].Converges || p[0].Verdict != "wrong" || !p[1].Converges || p[1].Error != 1.25 {
			t.Errorf("predictions: got %+v", p)
		}
		if vm := got.Variants[0].Migrations[0].VMs[0]; vm.Skipped != "post-copy" || vm.Pages != 0 {
			t.Errorf("a memory proof that was skipped: got %+v", vm)
		}
		if files := got.Variants[0].Artifacts; len(files) != 1 || files[0].Path != "001-idle/artifacts/dmesg of guest.txt" {
			t.Errorf("artifacts: got %v", files)
		}
	}
	if err := matchesSchema(t, `{"format": 1, "run": {}, "variants": [], "totals": {}}`); err == nil {
		t.Error("schema: took a run without a name")
	}
}

// TestPlainText: what a person reads is not spelt for browsers, and Markdown has the
// warnings of a variant that passed.
func TestPlainText(t *testing.T) {
	t.Parallel()
	f, err := result.Create(t.TempDir(), result.Run{Scenario: "a.star"}, func(err error) { t.Error(err) })
	check(t, err)
	run(t, f, "slow", result.Outcome{Failure: result.Failure{Status: result.Warn}, Warnings: []string{"a < b && c > d", "and slow"}, Notices: []string{"vm1 is another guest"}}, -1)
	check(t, f.Finish(result.Warn))
	for _, format := range []report.Format{report.TAP, report.JSON} {
		if got := write(t, format, f.Dir()); !strings.Contains(got, `"a < b && c > d"`) {
			t.Errorf("got %s, want a < b && c > d", got)
		}
	}
	if got := write(t, report.Markdown, f.Dir()); !strings.Contains(got, "</b> slow: a &lt; b &amp;&amp; c &gt; d</summary>\n\n```\nWARN a < b && c > d\nWARN and slow\n```\n\n```\nvm1 is another guest\n```\n") {
		t.Errorf("got %s, want both warnings and the notice", got)
	}
}

func matchesSchema(t testing.TB, text string) error {
	t.Helper()
	schema, err := resultsSchema()
	check(t, err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

var resultsSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.Schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("results.schema.json", document); err != nil {
		return nil, err
	}
	return c.Compile("results.schema.json")
})

func TestTAP(t *testing.T) {
	t.Parallel()
	got := write(t, report.TAP, makeRun(t, true))
	for _, want := range []string{
		"TAP version 14\nok 1 - idle\nok 2 - load\nnot ok 3 - broken\n  ---\n  status: \"FAIL\"\n",
		"  at: \"scenarios/moves.star:30:17\"\n  host: \"host2\"\n  vm: \"vm1\"\n  side: \"destination\"\n  phase: \"check_work\"\n",
		"not ok 4 - quarantined # TODO known \\# bug https://bugs.example.com/17\n",
		"ok 5 - nordma # SKIP no RDMA card on host1\n",
		"not ok 6 - killed.<i>",
		"\n1..6\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant in it\n%s", got, want)
		}
	}
	for line := range strings.Lines(got) {
		if !regexp.MustCompile(`^(TAP version 14|(not )?ok \d+ - [^#]*([^#\\]|\\#)*( # (TODO|SKIP) .*)?|  (---|\.\.\.|\w+: ("([^"\\]|\\.)*"|\d+))|1\.\.6)\n$`).MatchString(line) {
			t.Errorf("line %q: not TAP", line)
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	got := write(t, report.Markdown, makeRun(t, true))
	for _, want := range []string{
		"### mhmig: moves running\n",
		"| 6 | 2 | 1 | 1 | 0 | 1 | 0 | 1 | ",
		"<details><summary><b>FAIL</b> broken: memory differs: ",
		"| load | 1: host1 → host2 | vm1 | completed | 40 ms | 52 ms | ",
		"| idle | 1: host1 → host2 | vm1 | completed | 40 ms |  | ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant in it\n%s", got, want)
		}
	}
	outside := regexp.MustCompile("(?s)````\n.*?\n````\n").ReplaceAllString(got, "")
	for _, bad := range []string{"<script", "<img", "<i>", "\x00", "\x1b"} {
		if strings.Contains(outside, bad) {
			t.Errorf("got\n%s\nwant no %q outside of code", outside, bad)
		}
	}
	if !utf8.ValidString(got) {
		t.Error("got broken UTF-8")
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	got := write(t, report.Annotations, makeRun(t, false))
	for _, want := range []string{
		"::error file=scenarios/moves.star,line=30,col=17,title=FAIL broken::memory differs: ",
		"::error title=ERROR broken::QEMU did not end%0Aon host1\n",
		"::warning file=scenarios/moves.star,line=12,col=5,title=WARN quarantined::downtime too long\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant in it\n%s", got, want)
		}
	}
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "::error ") && !strings.HasPrefix(line, "::warning ") || strings.ContainsAny(line, "\r\x00") {
			t.Errorf("line %q: want nothing but annotations", line)
		}
	}
}

// TestBrokenFolder: what is broken in one variant hides nothing of the others.
func TestBrokenFolder(t *testing.T) {
	t.Parallel()
	dir := makeRun(t, false)
	for _, name := range []string{result.OutcomeFile, result.TimelineFile, result.ParamsFile, "migrations/1.json"} {
		check(t, os.WriteFile(filepath.Join(dir, "001-idle", name), []byte(`{"id":`), 0o644))
	}
	junit := write(t, report.JUnit, dir)
	validate(t, junit)
	if s := readJUnit(t, junit).Suite; s.Tests != 5 || !strings.Contains(s.Cases[0].Out, "results are incomplete") {
		t.Errorf("JUnit: got %s", junit)
	}
	if text := write(t, report.JSON, dir); matchesSchema(t, text) != nil || !strings.Contains(text, "results are incomplete") {
		t.Errorf("JSON: got %s", text)
	}
	write(t, report.HTML, dir)
	for name, format := range formats {
		if err := format(io.Discard, t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "is not a results folder") {
			t.Errorf("%s of an empty folder: got error %v", name, err)
		}
	}
}

var formats = map[string]report.Format{
	"JUnit": report.JUnit, "JSON": report.JSON, "TAP": report.TAP, "Markdown": report.Markdown, "HTML": report.HTML, "Annotations": report.Annotations,
}

// TestFaultOfWriter: a full disk is an error of every format, not half a report.
func TestFaultOfWriter(t *testing.T) {
	t.Parallel()
	dir := makeRun(t, false)
	for name, format := range formats {
		if err := format(fullDisk{}, dir); !errors.Is(err, errFull) {
			t.Errorf("%s: got error %v, want %v", name, err, errFull)
		}
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// FuzzHostileText: whatever a guest prints, reports are well-formed.
func FuzzHostileText(f *testing.F) {
	for _, text := range []string{hostile, "", "]]>", "</ScRiPt>", "<!--<script>", "\xed\xa0\x80\ufffe", "{{.}}", "\u2029*/"} {
		f.Add(text)
	}
	f.Fuzz(checkHostile)
}

// TestHostileText is the same with texts made of what is dangerous.
func TestHostileText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"]]>", "</script", ">", "<!--", "*/", "::", "\x00", "\xff", "\u2028", "\ufffe", "```", "|", "\r\n", "%", "{{", "\\", `"`, "#", "\u202e", "##[", "\n ::error::"}),
			rapid.StringN(0, 5, -1), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 5), func(b []byte) string { return string(b) }))
		checkHostile(t, strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(r, "text"), ""))
	})
}

func checkHostile(t *testing.T, text string) {
	t.Helper()
	folder, err := result.Create(t.TempDir(), result.Run{Scenario: text, Command: []string{text}}, func(err error) { t.Error(err) })
	check(t, err)
	v, err := folder.Start(result.Entry{Name: text, Params: map[string]string{text: text}, Origins: map[string]string{text: text}})
	check(t, err)
	check(t, v.Finish(result.Outcome{Failure: result.Failure{Status: result.Fail, Message: text, Position: text, Source: text, Evidence: text}, Warnings: []string{text}}))
	check(t, folder.Finish(result.Fail))
	readJUnit(t, write(t, report.JUnit, folder.Dir()))
	if err := matchesSchema(t, write(t, report.JSON, folder.Dir())); err != nil {
		t.Error(err)
	}
	page := write(t, report.HTML, folder.Dir())
	if n := strings.Count(strings.ToLower(page), "<script"); n != scripts {
		t.Errorf("page: got %d scripts, want %d\n%s", n, scripts, page)
	}
	if n := strings.Count(strings.ToLower(page), "</script"); n != scripts || strings.Count(page, "<!--") != 0 {
		t.Errorf("page: got %d ends of scripts, want %d\n%s", n, scripts, page)
	}
	for name, format := range formats {
		shown := write(t, format, folder.Dir())
		if name == "HTML" { // what it shows, browsers show
			continue
		}
		for _, r := range shown {
			if r != '\n' && !printable.Is(r) && r != '\u200b' { // Markdown's @ notifies nobody
				t.Errorf("%s: got %q in\n%s", name, r, shown)
			}
		}
		if command := obeyed.FindString(shown); command != "" && (name == "JUnit" || name == "JSON" || name == "TAP") {
			t.Errorf("%s: %q is obeyed", name, command)
		}
	}
	if command := obeyed.FindString(page); command != "" {
		t.Errorf("page: %q is obeyed", command)
	}
	for line := range strings.Lines(write(t, report.Annotations, folder.Dir())) {
		if !strings.HasPrefix(line, "::") {
			t.Errorf("annotations: got line %q", line)
		}
	}
}

// obeyed is what the systems that read a job's output take for a command.
var obeyed = regexp.MustCompile(`(?:^|[\r\n])[\s\v\x{85}\p{Z}]*::.*|##[A-Za-z]*\[.*`)

// scripts is how many script elements the page of one variant has.
const scripts = 5

func TestThinned(t *testing.T) {
	t.Parallel()
	values := make([]float64, 100_000)
	values[54_321] = 7 // a peak that must not be lost
	if kept, most := report.ThinnedLength(values, 300); kept > 302 || kept < 50 || most != 7 {
		t.Errorf("got %d points up to %v, want about 300 at most, with the peak of 7", kept, most)
	}
	if kept, _ := report.ThinnedLength(values[:300], 300); kept != 300 {
		t.Errorf("got %d points of 300, want all", kept)
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.txt")
	for _, c := range []struct {
		lines, bytes, want int
		cut                bool
	}{{10, 1000, 10, false}, {500, 100_000, 200, true}, {100, 100, 9, true}, {10, 0, 0, true}} {
		check(t, os.WriteFile(path, []byte(strings.Repeat("123456789\n", c.lines)), 0o644))
		text, cut := report.Tail(path, c.bytes)
		if n := strings.Count(text, "123456789\n"); n != c.want || cut != c.cut {
			t.Errorf("%d lines, %d bytes: got %d lines, cut %v", c.lines, c.bytes, n, cut)
		}
	}
}
