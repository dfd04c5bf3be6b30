// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

var discard = slog.New(slog.DiscardHandler)

// TestMain also is the process of a kept lab, and that of a lab whose owner is
// killed.
func TestMain(m *testing.M) {
	switch os.Getenv("MHMIG_LAB_TEST") {
	case "serve":
		exitOn(serve())
	case "serve elsewhere":
		exitOn(serveElsewhere())
	case "hold":
		exitOn(hold())
	default:
		goleak.VerifyTestMain(m)
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return lab.Serve(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// serveElsewhere is serve, but when the lab is up, its state says that host1 is where
// nobody listens.
func serveElsewhere() error {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MHMIG_LAB_TEST=serve")
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stderr, []*os.File{reportEnd}
	if err := errors.Join(cmd.Start(), reportEnd.Close()); err != nil {
		return err
	}
	text, err := io.ReadAll(report)
	if err != nil {
		return err
	}
	file := filepath.Join(os.Getenv("MHMIG_CACHE"), "lab", "kept", "lab.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s lab.State
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	s.Hosts[0].Port = 1
	if data, err = json.Marshal(s); err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	up := os.NewFile(3, "report")
	if _, err := up.Write(text); err != nil {
		return err
	}
	return errors.Join(up.Close(), cmd.Wait())
}

// hold starts a lab in the folder $DIR, runs a command and a daemon on each of
// its hosts, says so, and waits for its death.
func hold() error {
	l, err := lab.Start(context.Background(), lab.Options{Hosts: 2, Kind: lab.Kind(os.Getenv("KIND")), Dir: os.Getenv("DIR")})
	if err != nil {
		return err
	}
	for _, c := range l.Hosts() {
		h, err := host.Dial(context.Background(), c, discard)
		if err != nil {
			return err
		}
		if _, err := h.Run(context.Background(), host.Command{Script: daemon}); err != nil {
			return err
		}
		if _, err := h.Start(context.Background(), host.Command{Args: []string{"sleep", "1000"}}); err != nil {
			return err
		}
	}
	fmt.Println("up")
	select {}
}

// daemon leaves a process behind that is in a session of its own, and prints its
// number.
const daemon = "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' </dev/null &"

// kinds are the labs that can be tried here.
func kinds(t *testing.T) []lab.Kind {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("NOT TESTED: netns labs, which need root")
		return []lab.Kind{lab.Embedded}
	}
	return []lab.Kind{lab.Embedded, lab.Netns}
}

func eachKind(t *testing.T, test func(t *testing.T, kind lab.Kind)) {
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

// start starts a lab, and at the test's end closes it and looks for remains.
func start(t *testing.T, kind lab.Kind, hosts int) *lab.Lab {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	l, err := lab.Start(t.Context(), lab.Options{Hosts: hosts, Kind: kind, Dir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, l.State())
	})
	return l
}

func wantNothingLeft(t *testing.T, s *lab.State) {
	t.Helper()
	for _, path := range []string{s.Dir, s.ShortDir} {
		if _, err := os.Lstat(path); path != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if left := processesOf(t, s.ID); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
	links, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Skip("NOT TESTED: no links are left: ", err)
	}
	if strings.Contains(string(links), s.ID) {
		t.Errorf("links are left:\n%s", links)
	}
}

// processesOf returns the command lines of the processes of a lab.
func processesOf(t *testing.T, id string) []string {
	t.Helper()
	var found []string
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range environs {
		environ, _ := os.ReadFile(file) // that of a process that has just ended is not there
		if strings.Contains(string(environ), "MHMIG_LAB="+id) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			found = append(found, filepath.Dir(file)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func dial(t *testing.T, c host.Config) *host.Host {
	t.Helper()
	h, err := host.Dial(t.Context(), c, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func run(t *testing.T, h *host.Host, script string) string {
	t.Helper()
	out, err := h.Run(t.Context(), host.Command{Script: script, Timeout: time.Minute})
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out.Stdout, out.Stderr)
	}
	return strings.TrimSpace(string(out.Stdout))
}

func TestHosts(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		cache := t.TempDir()
		if err := os.MkdirAll(filepath.Join(cache, "qemu", "9.9"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("MHMIG_CACHE", cache)
		l := start(t, kind, 3)
		seen := map[string]bool{}
		for i, c := range l.Hosts() {
			h := dial(t, c)
			name := fmt.Sprintf("host%d", i+1)
			if got := run(t, h, "echo $MHMIG_LAB_HOST"); got != name || c.Name != name {
				t.Errorf("host %d: got %s, Name %s, want %s", i, got, c.Name, name)
			}
			if seen[c.Address] {
				t.Errorf("%s: the address %s is another's too", name, c.Address)
			}
			seen[c.Address] = true
			if home := run(t, h, "cd && pwd && touch mine"); seen[home] && kind == lab.Embedded {
				t.Errorf("%s: the home %s is another's too", name, home)
			} else {
				seen[home] = true
			}
			if got := run(t, h, "ls -A ~ | grep -vx .cache | tr '\\n' ' '"); got != ".bashrc mine" {
				t.Errorf("%s: home has %q", name, got)
			}
			if got := run(t, h, fmt.Sprintf("cd %s && ls", l.Params()["qemu_versions_dir"])); got != "9.9" {
				t.Errorf("%s: the folder of QEMUs has %q, want that of the cache", name, got)
			}
			state, shared := l.Params()["state_dir_"+name], l.Params()["images_base_dir"]
			if got := run(t, h, fmt.Sprintf("cd %s && ls -A && touch state; ls -A; cd %s && ls -A && touch %s", state, shared, name)); (i == 0) != (got == "state") {
				t.Errorf("%s: state and shared folder have %q", name, got)
			}
			if len(state)+len("/a-long-name-of-a-variant-of-40-characters/vm1.monitor") > 100 {
				t.Errorf("%s: state_dir %s is too long for sockets", name, state)
			}
		}
	})
}

// A lab is there at once: a tenth of a second and a second on a machine that does nothing
// else, several times as much on a busy one. A wait for something that does not come takes
// longer.
func TestStartIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	for kind, limit := range map[lab.Kind]time.Duration{lab.Embedded: 2 * time.Second, lab.Netns: 10 * time.Second} {
		t.Run(string(kind), func(t *testing.T) {
			if kind == lab.Netns && os.Geteuid() != 0 {
				t.Skip("NOT TESTED: netns labs need root")
			}
			best := time.Hour // of three, as the machine may do other things
			for range 3 {
				began := time.Now()
				l := start(t, kind, 3)
				best = min(best, time.Since(began))
				l.Close()
			}
			t.Log(best)
			if best > limit {
				t.Errorf("took %s, want %s at most", best, limit)
			}
		})
	}
}

func TestKilledOwner(t *testing.T) {
	eachKind(t, func(t *testing.T, kind lab.Kind) {
		dir := filepath.Join(t.TempDir(), "lab")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MHMIG_LAB_TEST=hold", "KIND="+string(kind), "DIR="+dir)
		cmd.Stderr = t.Output()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, new(string)); err != nil {
			t.Fatal(err)
		}
		s := readState(t, dir)
		if _, err := lab.Remove(t.Context(), dir); !errors.Is(err, lab.ErrAlive) {
			t.Errorf("Remove of a lab in use: got %v, want %v", err, lab.ErrAlive)
		}
		eventually(t, "processes on the hosts", func() error { // what was started may not have begun
			if got := len(processesOf(t, s.ID)); got < 4 {
				return fmt.Errorf("got %d, want 4 at least", got)
			}
			return nil
		})
		cmd.Process.Kill()
		cmd.Wait()
		if err := os.WriteFile(filepath.Join(dir, ".lab.json123"), []byte(`{"id`), 0o600); err != nil { // it was writing its state
			t.Fatal(err)
		}
		l, err := lab.Start(t.Context(), lab.Options{Hosts: 1, Dir: dir}) // removes what is left
		if err != nil {
			t.Fatal(err)
		}
		if left := processesOf(t, s.ID); len(left) > 0 {
			t.Errorf("processes are left: %q", left)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wantNothingLeft(t, s)
		if _, err := lab.Remove(t.Context(), dir); err != nil {
			t.Errorf("Remove of nothing: %v", err)
		}
	})
}

func readState(t *testing.T, dir string) *lab.State {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := &lab.State{}
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBadOptions(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options lab.Options
		want    string
	}{
		{"no hosts", lab.Options{}, "hosts: got 0, want 1 to 64"},
		{"many hosts", lab.Options{Hosts: 65}, "hosts: got 65, want 1 to 64"},
		{"kind", lab.Options{Hosts: 1, Kind: "docker"}, `kind: got "docker", want embedded or netns`},
		{"folder in use", lab.Options{Hosts: 1, Dir: full}, "is not empty: it has precious"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := lab.Start(t.Context(), test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
	if diff := cmp.Diff([]string{"precious"}, names(t, full)); diff != "" {
		t.Error(diff)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
