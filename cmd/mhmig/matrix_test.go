// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/exit"
)

// mixed is 20 variants, and how each ends.
var mixed = map[string]string{
	"pass1": "PASS", "pass2": "PASS", "pass3": "PASS", "pass4": "PASS", "pass5": "PASS", "pass6": "PASS", "after_pass": "PASS",
	"fail1": "FAIL", "fail2": "FAIL", "fail3": "FAIL",
	"error1": "ERROR", "error2": "ERROR",
	"skip1": "SKIP", "skip2": "SKIP", "needs_five_hosts": "SKIP",
	"warn1": "WARN", "warn2": "WARN", "known": "WARN",
	"after_fail": "CANCEL", "after_that": "CANCEL",
}

const mixedConfig = `vms = vm1
mem = 32
accel = tcg
variants:
    - pass1:
    - pass2:
    - fail1:
        verdict = fail
    - warn1:
        verdict = warn
    - error1:
        verdict = error
    - skip1:
        verdict = skip
    - after_fail: fail1
    - after_that: after_fail
    - after_pass: pass1
    - known:
        verdict = fail
    - pass3:
    - fail2:
        verdict = fail
    - needs_five_hosts:
        hosts_needed = 5
    - warn2:
        verdict = warn
    - error2:
        verdict = error
    - skip2:
        verdict = skip
    - fail3:
        verdict = fail
    - pass4:
    - pass5:
    - pass6:
`

const mixedScenario = `
def migration_scenario(env):
    verdict = env.params.get("verdict", "pass")
    if verdict == "fail":
        fail("the guest is <lost> & gone")
    if verdict == "error":
        error("no ]]> disk")
    if verdict == "skip":
        skip("not here")
    if verdict == "warn":
        warn("slow")
`

const mixedQuarantine = `[[quarantine]]
variant = "known"
reason = "loses its guest"
tracker = "https://bugs.example.com/7"
expires = 2999-01-01
`

// TestMixedRun runs variants that end in all ways, and finds each of them as it
// ended in all that tells of the run.
func TestMixedRun(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	w := newWorld(t)
	w.write("mixed.cfg", mixedConfig)
	w.write("judge.star", mixedScenario)
	w.write("known.toml", mixedQuarantine)
	args := []string{"exec", "judge.star", "--config", "mixed.cfg", "--lab-hosts", "4", "--quarantine", "known.toml"}

	t.Run("lines and TAP", func(t *testing.T) {
		cmd := w.command(append(args, "--format", "tap")...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != int(exit.Failed) {
			t.Fatalf("exit status: got %d (%v), want %d:\n%s", code, err, int(exit.Failed), &stderr)
		}
		same(t, "the table", tableStatuses(stderr.String()))
		if want := "20 variants: 7 PASS, 3 SKIP, 2 CANCEL, 3 WARN, 3 FAIL, 2 ERROR\n"; !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in:\n%s", want, &stderr)
		}
		same(t, "TAP", tapStatuses(t, stdout.String()))
	})
	latest := filepath.Join(w.dir, "mhmig-results", "latest")
	t.Run("JUnit", func(t *testing.T) { same(t, "JUnit", junitStatuses(t, filepath.Join(latest, "junit.xml"))) })
	t.Run("JSON", func(t *testing.T) { same(t, "results.json", jsonStatuses(t, filepath.Join(latest, "results.json"))) })
	t.Run("HTML", func(t *testing.T) { same(t, "report.html", pageStatuses(t, filepath.Join(latest, "report.html"))) })
	t.Run("terminal", func(t *testing.T) {
		cmd := w.command(args...)
		cmd.Env = append(cmd.Env, "TERM=xterm")
		text := runInTerminal(t, cmd, 80)
		plain := movement.ReplaceAllString(escape.ReplaceAllString(text, ""), "\n")
		same(t, "the table", tableStatuses(plain))
		ended := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^([A-Z]+) +\d+ (\w+)  `).FindAllStringSubmatch(plain, -1) {
			ended[m[2]] = m[1]
		}
		same(t, "the lines of the live view", ended)
		if !strings.Contains(plain, "20/20 7 PASS 3 SKIP 2 CANCEL 3 WARN 3 FAIL 2 ERROR 0 running") {
			t.Errorf("the live view does not count right:\n%s", plain)
		}
	})
	t.Run("events", func(t *testing.T) {
		cmd := w.command(append(args, "--json")...)
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		_ = cmd.Run() // its status is known
		ended := map[string]string{}
		for line := range strings.Lines(stdout.String()) {
			var e struct {
				Message, Variant string
				Fields           struct{ Status string }
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.Message == "variant ends" {
				_, name, _ := strings.Cut(e.Variant, "-")
				ended[name] = e.Fields.Status
			}
		}
		same(t, "the events", ended)
	})
	w.wantNothingLeft()
}

// same compares what a report says with how the variants ended. Where a report
// has fewer words, it has them by hand.
func same(t *testing.T, what string, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(mixed, got); diff != "" {
		t.Errorf("%s (- want, + got):\n%s", what, diff)
	}
}

func tableStatuses(text string) map[string]string {
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\d+ (\w+) +([A-Z]+) +[0-9.]+s\r?$`).FindAllStringSubmatch(text, -1) {
		got[m[1]] = m[2]
	}
	return got
}

// tapStatuses reads test points; what they have in YAML must agree.
func tapStatuses(t *testing.T, text string) map[string]string {
	t.Helper()
	if !strings.HasPrefix(text, "TAP version 14\n") || !strings.HasSuffix(text, "\n1..20\n") {
		t.Errorf("TAP begins or ends wrong:\n%s", text)
	}
	got := map[string]string{}
	for _, point := range regexp.MustCompile(`(?m)^((?:not )?ok) \d+ - (\w+)(?: # (\w+).*)?\n(?:  ---\n  status: "(\w+)")?`).FindAllStringSubmatch(text, -1) {
		status := point[4]
		want := map[string]string{"PASS": "ok ", "": "ok ", "WARN": "ok ", "SKIP": "ok SKIP", "CANCEL": "ok SKIP", "FAIL": "not ok ", "ERROR": "not ok "}[status]
		if point[2] == "known" {
			want = "not ok TODO"
		}
		if said := point[1] + " " + point[3]; said != want {
			t.Errorf("%s is %s: got %q, want %q", point[2], status, said, want)
		}
		if status == "" {
			status = "PASS"
		}
		got[point[2]] = status
	}
	return got
}

func junitStatuses(t *testing.T, path string) map[string]string {
	t.Helper()
	var suites struct {
		Suites []struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Skipped  int `xml:"skipped,attr"`
			Cases    []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct {
					Message string `xml:"message,attr"`
				} `xml:"skipped"`
				Out string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if len(suites.Suites) != 1 {
		t.Fatalf("%d suites", len(suites.Suites))
	}
	suite := suites.Suites[0]
	if got := fmt.Sprint(suite.Tests, suite.Failures, suite.Errors, suite.Skipped); got != "20 3 2 5" {
		t.Errorf("tests, failures, errors, skipped: got %s", got)
	}
	got := map[string]string{}
	for _, c := range suite.Cases {
		status := "PASS"
		switch {
		case c.Failure != nil:
			status = "FAIL"
		case c.Error != nil:
			status = "ERROR"
		case c.Skipped != nil && strings.Contains(c.Skipped.Message, "depends on"):
			status = "CANCEL"
		case c.Skipped != nil:
			status = "SKIP"
		case strings.Contains(strings.ToLower(c.Out), "warn"):
			status = "WARN"
		}
		got[c.Name] = status
	}
	return got
}

func jsonStatuses(t *testing.T, path string) map[string]string {
	t.Helper()
	var results struct {
		Variants []struct {
			ShortName string `json:"shortname"`
			Status    string `json:"status"`
		} `json:"variants"`
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &results)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range results.Variants {
		got[v.ShortName] = v.Status
	}
	return got
}

// pageStatuses reads the table that a browser shows.
func pageStatuses(t *testing.T, path string) map[string]string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("NOT TESTED: no chromium here")
	}
	out, err := exec.CommandContext(t.Context(), browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--dump-dom", "file://"+path).Output()
	if err != nil {
		t.Fatal(err)
	}
	body := regexp.MustCompile(`(?s)<table[^>]*id="variants".*?</table>`).FindString(string(out))
	if body == "" {
		body = string(out)
	}
	statuses := strings.Join([]string{"PASS", "WARN", "SKIP", "CANCEL", "FAIL", "ERROR"}, "|")
	got := map[string]string{}
	for _, row := range regexp.MustCompile(`(?s)<tr.*?</tr>`).FindAllString(body, -1) {
		text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(row, " ")
		status := regexp.MustCompile(`\b(` + statuses + `)\b`).FindString(text)
		for name := range maps.Keys(mixed) {
			if status != "" && regexp.MustCompile(`^[^a-z]*`+name+`\b`).MatchString(strings.ReplaceAll(text, status, "")) {
				got[name] = status
			}
		}
	}
	return got
}
