// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
)

// create makes a folder that may not complain.
func create(t *testing.T, run result.Run) *result.Folder {
	t.Helper()
	f, err := result.Create(filepath.Join(t.TempDir(), "new", "results"), run, func(err error) {
		t.Errorf("complaint: %v", err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func start(t *testing.T, f *result.Folder, name string, params map[string]string) *result.Variant {
	t.Helper()
	v, err := f.Start(result.Entry{Name: name, Params: params})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, w io.WriteCloser, err error, text string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRun goes once through a run, and reads it as a killed one on the way.
func TestRun(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{
		Command: []string{"mhmig", "exec", "x.star", "--param", "ssh_password=hunter2", "--filter", "only JeOS\npassword_vm1 = hunter2"},
		Filters: []string{"only JeOS", "password = hunter2"},
		Version: "v1", Scenario: "x.star", Hosts: []string{"host1", "host2"},
	})
	if name := filepath.Base(f.Dir()); !regexp.MustCompile(`^\d{8}T\d{6}Z-[0-9a-f]{6}$`).MatchString(name) || f.ID() != name {
		t.Errorf("folder: got %q, ID %q", name, f.ID())
	}
	v := start(t, f, "virtio.JeOS.x86_64", map[string]string{"mem": "128", "password_vm1": "hunter2", "ssh_passphrase": ""})
	if v.ID() != "001-virtio.JeOS.x86_64" {
		t.Errorf("variant's ID: got %q", v.ID())
	}

	log := slog.New(f.Handler()).With("variant", v.ID())
	log.With("host", "host1", "vm", "vm1", "side", "source").Info("guest started", "boot", 2100*time.Millisecond, "password", host.Secret("hunter2"))
	log.Debug("command", "line", "uname -r")
	slog.New(f.Handler()).Info("hosts are ready", "count", 2)

	killed, outcomes, err := result.Load(filepath.Join(filepath.Dir(f.Dir()), result.LatestLink))
	if err != nil {
		t.Fatal(err)
	}
	if killed.Status != result.Running || len(outcomes) != 1 || outcomes[0].Status != result.Running || outcomes[0].ID != v.ID() {
		t.Errorf("in the middle: got %+v, %+v", killed, outcomes)
	}
	if killed.PID != os.Getpid() {
		t.Errorf("pid: got %d", killed.PID)
	}

	if err := v.Migration(result.Migration{Number: 7}); err != nil {
		t.Fatal(err)
	}
	if err := v.Migration(result.Migration{Number: 8}); err != nil {
		t.Fatal(err)
	}
	outcome := result.Outcome{
		Failure: result.Failure{
			Status: result.Fail, Message: "guest lost", Host: "host2", VM: "vm1", Side: "destination",
			Phase: "login", Position: "x.star:3:5", Backtrace: "Traceback…",
		},
		Further: []result.Failure{{Status: result.Error, Message: "cleanup"}},
	}
	if err := v.Finish(outcome); err != nil {
		t.Fatal(err)
	}
	if err := v.Finish(result.Outcome{}); err != nil {
		t.Errorf("second Finish: %v", err)
	}
	log.Info("late")
	if err := f.Finish(result.Fail); err != nil {
		t.Fatal(err)
	}
	log.Info("too late") // no panic, no complaint

	run, outcomes, err := result.Load(f.Dir())
	if err != nil {
		t.Fatal(err)
	}
	outcome.ID, outcome.Name, outcome.ShortName = v.ID(), "virtio.JeOS.x86_64", "virtio.JeOS.x86_64"
	outcome.Started, outcome.Seconds = outcomes[0].Started, outcomes[0].Seconds
	if diff := cmp.Diff([]result.Outcome{outcome}, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if outcome.Started.IsZero() || outcome.Seconds <= 0 || run.Finished.IsZero() || run.Seconds <= 0 {
		t.Errorf("times: %+v, %+v", run, outcome)
	}
	if run.Status != result.Fail {
		t.Errorf("run: got %+v", run)
	}
	wantCommand := []string{"mhmig", "exec", "x.star", "--param", "ssh_password=***", "--filter", "only JeOS\npassword_vm1 = ***"}
	if diff := cmp.Diff(wantCommand, run.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}

	var params map[string]string
	if err := json.Unmarshal([]byte(read(t, v.Dir(), result.ParamsFile)), &params); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"mem": "128", "password_vm1": "***", "ssh_passphrase": ""}, params); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
	for i, want := range []string{"7", "8"} {
		if got := read(t, v.Dir(), "migrations", fmt.Sprint(i+1)+".json"); !strings.Contains(got, want) {
			t.Errorf("migration %d: got %s", i+1, got)
		}
	}

	logLines := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `).ReplaceAllString(read(t, v.Dir(), result.LogFile), "T ")
	if diff := cmp.Diff("T INFO  [host1 vm1 source] guest started boot=2.1s password=***\nT DEBUG command line=\"uname -r\"\n", logLines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	var messages []string
	for e, err := range result.ReadEvents(strings.NewReader(read(t, f.Dir(), result.EventsFile))) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Run != f.ID() || e.Level != slog.LevelInfo || e.Time.IsZero() {
			t.Errorf("event: got %+v", e)
		}
		messages = append(messages, strings.Join([]string{e.Variant, e.Host, e.VM, e.Side, e.Message}, "|"))
	}
	want := []string{v.ID() + "|host1|vm1|source|guest started", "||||hosts are ready", v.ID() + "||||late"}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	_ = filepath.Walk(f.Dir(), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && strings.Contains(read(t, path), "hunter2") {
			t.Errorf("%s has a secret in it", path)
		}
		return err
	})
}

func TestRunsInTheSameSecond(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	started := time.Date(2026, 11, 23, 20, 50, 10, 0, time.UTC)
	seen := make(chan string, 50)
	var wg sync.WaitGroup
	for range cap(seen) {
		wg.Go(func() {
			f, err := result.Create(base, result.Run{Started: started}, func(err error) { t.Error(err) })
			if err != nil {
				t.Error(err)
				return
			}
			seen <- f.ID()
			f.BecomeLatest()
			if err := f.Finish(result.Pass); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(seen)
	dirs := map[string]bool{}
	for id := range seen {
		dirs[id] = true
	}
	if len(dirs) != cap(seen) {
		t.Errorf("got %d folders, want %d", len(dirs), cap(seen))
	}
	latest, err := os.Readlink(filepath.Join(base, result.LatestLink))
	if err != nil || !dirs[latest] {
		t.Errorf("latest: got %q, %v", latest, err)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != len(dirs)+1 {
		t.Errorf("base: got %d entries, %v; want the folders and the link", len(entries), err)
	}
}

func TestBaseThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bases := []string{filepath.Join(file, "results"), "/proc/mhmig-results"}
	if os.Getuid() != 0 {
		readOnly := t.TempDir()
		if err := os.Chmod(readOnly, 0o555); err != nil {
			t.Fatal(err)
		}
		bases = append(bases, readOnly)
	}
	for _, base := range bases {
		_, err := result.Create(base, result.Run{}, func(error) {})
		if err == nil || !strings.Contains(err.Error(), base[:strings.LastIndexByte(base, '/')]) || !strings.Contains(err.Error(), "--results DIR") {
			t.Errorf("Create(%s): got %v, want an error that says where, and what to do", base, err)
		}
	}
}

// TestLatestIsInTheWay: results matter more than the link.
func TestLatestIsInTheWay(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	if err := os.MkdirAll(filepath.Join(base, result.LatestLink, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	var complaints []error
	f, err := result.Create(base, result.Run{}, func(err error) { complaints = append(complaints, err) })
	if err != nil {
		t.Fatal(err)
	}
	f.BecomeLatest()
	if err := f.Finish(result.Pass); err != nil {
		t.Error(err)
	}
	if len(complaints) != 1 || !strings.Contains(complaints[0].Error(), "latest") {
		t.Errorf("complaints: got %v", complaints)
	}
}

func TestFolderRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var complaints []error
	f, err := result.Create(t.TempDir(), result.Run{}, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		complaints = append(complaints, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	v := start(t, f, "a", nil)
	if err := os.RemoveAll(f.Dir()); err != nil {
		t.Fatal(err)
	}
	slog.New(f.Handler()).Info("still here", "variant", v.ID())
	if _, err := f.Start(result.Entry{Name: "b"}); err == nil {
		t.Error("Start: got no error")
	}
	if err := v.Finish(result.Outcome{Failure: result.Failure{Status: result.Pass}}); err == nil {
		t.Error("Finish: got no error")
	}
	if err := f.Finish(result.Pass); err == nil {
		t.Error("Finish: got no error")
	}
	if len(complaints) != 0 {
		t.Errorf("complaints: got %v, want none: Start and Finish have told", complaints)
	}
}

func TestVariantNames(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	names := []string{
		"a", "a", "", "../../etc/passwd", "/", "..", ".hidden", "-rf", "a/b\\c d\x00e\n", "žluťoučký.kůň", "移行",
		strings.Repeat("long.", 100) + "end", "\xff\xfe", "CON", strings.Repeat("/", 300),
	}
	seen := map[string]bool{}
	for _, name := range names {
		v := start(t, f, name, map[string]string{"name": name})
		if !regexp.MustCompile(`^\d{3}(-[A-Za-z0-9_][A-Za-z0-9._-]{0,79})?$`).MatchString(v.ID()) || seen[v.ID()] {
			t.Errorf("folder of %.40q: got %q", name, v.ID())
		}
		seen[v.ID()] = true
		if err := v.Finish(result.Outcome{Failure: result.Failure{Status: result.Pass}}); err != nil {
			t.Error(err)
		}
	}
	if err := f.Finish(result.Pass); err != nil {
		t.Fatal(err)
	}
	_, outcomes, err := result.Load(f.Dir())
	if err != nil || len(outcomes) != len(names) {
		t.Fatalf("Load: got %d, %v", len(outcomes), err)
	}
	for i, o := range outcomes {
		if want := strings.ToValidUTF8(names[i], "\uFFFD"); o.Name != want && !strings.Contains(o.Name, "\uFFFD") {
			t.Errorf("name: got %q, want %q", o.Name, want)
		}
	}
	if !strings.HasSuffix(outcomes[11].ID, "end") {
		t.Errorf("a long name keeps its end: got %q", outcomes[11].ID)
	}
}

func TestVMFiles(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	v := start(t, f, "a", nil)
	defer f.Finish(result.Pass)
	for _, text := range []string{"first\n", "second\n"} { // ping-pong: the VM comes back
		w, err := v.VMFile("vm1", "root@[::1]:22", "console.log")
		write(t, w, err, text)
	}
	if got := read(t, v.Dir(), "vm", "vm1@root_1_22", "console.log"); got != "first\nsecond\n" {
		t.Errorf("console.log: got %q", got)
	}
	w, err := v.VMFile("../../vm", "..", "../x")
	write(t, w, err, "x")
	if got := read(t, v.Dir(), "vm", "vm@", "x"); got != "x" {
		t.Errorf("odd names: got %q", got)
	}
}

func TestArtifacts(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	v := start(t, f, "a", nil)
	defer f.Finish(result.Pass)
	for _, name := range []string{"dmesg.txt", "host1/dmesg.txt", "zpráva 1.txt", "a..b"} {
		for _, text := range []string{"a longer text", "short"} {
			w, err := v.Artifact(name)
			write(t, w, err, text)
		}
		if got := read(t, v.Dir(), "artifacts", name); got != "short" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for _, name := range []string{
		"", ".", "..", "../x", "/etc/passwd", "a/../../x", "a//b", "a/", ".hidden", "a/.b", "-rf", "a\nb", "a\x00b", "a\\b", "\xff",
		strings.Repeat("x", 300), "./a",
	} {
		if w, err := v.Artifact(name); err == nil {
			_ = w.Close()
			t.Errorf("Artifact(%.20q): got no error", name)
		}
	}
	// A link that leads out is not followed.
	out := t.TempDir()
	if err := os.Symlink(out, filepath.Join(v.Dir(), "artifacts", "out")); err != nil {
		t.Fatal(err)
	}
	if w, err := v.Artifact("out/x"); err == nil {
		_ = w.Close()
		t.Error("a link out of the folder was followed")
	}
}

func TestManyVariantsAtOnce(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	const variants, records = 20, 20
	root := slog.New(f.Handler())
	var wg sync.WaitGroup
	for range variants {
		wg.Go(func() {
			v, err := f.Start(result.Entry{Name: "same.name"})
			if err != nil {
				t.Error(err)
				return
			}
			log := root.With("variant", v.ID())
			for i := range records {
				log.Info("step", "i", i)
				w, err := v.VMFile("vm1", "host1", "qemu.log")
				if err == nil {
					_, _ = io.WriteString(w, "line\n")
					err = w.Close()
				}
				if err := errors.Join(err, v.Migration(result.Migration{Number: i})); err != nil {
					t.Error(err)
				}
			}
			if err := v.Finish(result.Outcome{Failure: result.Failure{Status: result.Pass}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := f.Finish(result.Pass); err != nil {
		t.Fatal(err)
	}
	_, outcomes, err := result.Load(f.Dir())
	if err != nil || len(outcomes) != variants {
		t.Fatalf("Load: got %d, %v", len(outcomes), err)
	}
	for _, o := range outcomes {
		if o.Status != result.Pass {
			t.Errorf("%s: got %s", o.ID, o.Status)
		}
		if got := strings.Count(read(t, f.Dir(), o.ID, result.LogFile), "\n"); got != records {
			t.Errorf("%s: log has %d lines, want %d", o.ID, got, records)
		}
		if got := strings.Count(read(t, f.Dir(), o.ID, "vm/vm1@host1/qemu.log"), "\n"); got != records {
			t.Errorf("%s: qemu.log has %d lines, want %d", o.ID, got, records)
		}
		migrations, err := os.ReadDir(filepath.Join(f.Dir(), o.ID, "migrations"))
		if err != nil || len(migrations) != records {
			t.Errorf("%s: %d migrations, %v", o.ID, len(migrations), err)
		}
	}
	n := 0
	for _, err := range result.ReadEvents(strings.NewReader(read(t, f.Dir(), result.EventsFile))) {
		if err != nil {
			t.Error(err)
		}
		n++
	}
	if n != variants*records {
		t.Errorf("got %d events, want %d", n, variants*records)
	}
}

func TestLoadBroken(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, run, journal, outcome, want string }{
		{name: "nothing", want: "is not a results folder"},
		{name: "no JSON", run: "{", want: "run.json"},
		{name: "unknown status", run: `{"status":"GREAT"}`, want: "GREAT"},
		{name: "a way out", run: `{"status":"PASS"}`, journal: `{"id":"../../x","status":"PASS"}`, want: "variant id"},
		{name: "broken outcome", run: `{"status":"PASS"}`, journal: `{"id":"001-a","status":"PASS"}`, outcome: "[]", want: "001-a/outcome.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "001-a"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{result.RunFile: tt.run, result.JournalFile: tt.journal, "001-a/" + result.OutcomeFile: tt.outcome} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := result.Load(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load: got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestHandlerConforms(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	defer f.Finish(result.Pass)
	if f.Handler().Enabled(context.Background(), slog.LevelDebug-1) {
		t.Error("enabled below Debug")
	}
	log := slog.New(f.Handler()).WithGroup("g").With("host", "inner", "a", 1).WithGroup("").WithGroup("h")
	log.Info("m", "b", 2, slog.Group("", "c", 3), slog.Group("d", "e", 4), "empty", nil, "err", io.EOF, "list", []string{"x", "y"}, "wait", time.Second)
	for e, err := range result.ReadEvents(strings.NewReader(read(t, f.Dir(), result.EventsFile))) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(e.Fields)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"g.host":"inner","g.a":1,"g.h.b":2,"g.h.c":3,"g.h.d":{"e":4},"g.h.empty":null,"g.h.err":"EOF","g.h.list":["x","y"],"g.h.wait":"1s"}`
		if string(data) != want || e.Host != "" {
			t.Errorf("fields: got %s, host %q, want %s", data, e.Host, want)
		}
	}
}
