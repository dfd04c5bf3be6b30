// SPDX-License-Identifier: Apache-2.0

package scenarios_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/stdlib"
)

// config is the config of virt-test's tests.
const config = "@std//cfg/multi-host.cfg"

// A suite is a config of tests, each with a fault that it is there to find.
type suite struct {
	config string
	hosts  int // of a lab
	starts []string
	leaves []leaf
}

// suites are the configs of tests that mhmig has.
var suites = []suite{
	{config, 2, []string{"auto", "cold"}, leaves},
	{"@std//cfg/more.cfg", 3, []string{"auto"}, moreLeaves},
}

// all is for make test-scenarios: without it, only some of the faults are planted.
var all = flag.Bool("all", false, "run every leaf, and plant every fault")

// mhmig builds the command.
func mhmig(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real QEMU, minutes: without -short")
	}
	binary := filepath.Join(t.TempDir(), "mhmig")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/mhmig").CombinedOutput(); err != nil {
		t.Fatalf("build mhmig: %v\n%s", err, out)
	}
	return binary
}

// variants expands a shipped config, and returns the variants by their short names.
func variants(t *testing.T, config string) map[string]*cartesian.Variant {
	t.Helper()
	c, err := cartesian.ParseFS(stdlib.FS, strings.TrimPrefix(config, "@std//"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*cartesian.Variant{}
	for v, err := range c.Variants(t.Context(), cartesian.Options{Defaults: true}) {
		if err != nil {
			t.Fatal(err)
		}
		found[v.ShortName] = v
	}
	return found
}

// outcomes runs mhmig exec, and returns how each variant ended.
func outcomes(t *testing.T, binary string, args ...string) []result.Outcome {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"exec", "--results", filepath.Join(dir, "results"), "--parallel", "1", "--timeout", "5m"}, args...)
	out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	_, ended, err := result.Load(filepath.Join(dir, "results", "latest"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(ended) == 0 {
		t.Fatalf("mhmig %s: no results:\n%s", strings.Join(args, " "), out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("mhmig %s\n%s", strings.Join(args, " "), out)
		}
	})
	return ended
}

// Every test of the configs has a row in their tables, and every row a test.
func TestEveryLeafIsListed(t *testing.T) {
	t.Parallel()
	for _, s := range suites {
		found := variants(t, s.config)
		for i, l := range s.leaves {
			if found[l.name] == nil {
				t.Errorf("row %d, %s: no such test in %s", i, l.name, s.config)
			}
			delete(found, l.name)
			if (l.fault == "") != (l.message == "") || l.fault == "" && l.skips == "" {
				t.Errorf("row %d, %s: want a fault with its message, or a reason why it always skips", i, l.name)
			}
		}
		for name := range found {
			t.Errorf("%s of %s has no row", name, s.config)
		}
	}
}

// lostWrite matches the loss of one write to memory. A QEMU under TCG marks a page as dirty
// before the guest writes to it: if the host preempts the virtual CPU in between, and the
// page is sent meanwhile, the write is lost. It was seen on machines under load.
var lostWrite = regexp.MustCompile(`memwork: FAILED: 1 damaged pages, .*expected generation`)

// Every leaf passes, or skips for its reason; with guests that boot as with guests that
// are restored from saved states, where a scenario leaves the choice.
func TestLeaves(t *testing.T) {
	if !*all {
		t.Skip("make test-scenarios runs all leaves")
	}
	binary := mhmig(t)
	for _, s := range suites {
		t.Run(path.Base(s.config), func(t *testing.T) {
			statuses := map[string]map[string]result.Status{}
			for _, start := range s.starts {
				statuses[start] = map[string]result.Status{}
				ended := map[string]result.Outcome{}
				for _, o := range outcomes(t, binary, s.config, "--defaults", "--lab", labKind(), "--lab-hosts", strconv.Itoa(s.hosts), "--param", "guest_start="+start) {
					ended[o.ShortName] = o
				}
				for _, l := range s.leaves {
					o := ended[l.name]
					known := l.fails != "" && regexp.MustCompile(l.fails).MatchString(o.Message) || lostWrite.MatchString(o.Message)
					if o.Status == result.Fail && known {
						t.Logf("%s: QEMU's own FAIL: %s", l.name, o.Message)
						continue
					}
					want(t, o, start+" start, "+l.name, l.skips)
					statuses[start][l.name] = o.Status
				}
			}
			for _, l := range s.leaves {
				for _, start := range s.starts[1:] {
					if one, other := statuses[s.starts[0]][l.name], statuses[start][l.name]; one != other {
						t.Errorf("%s: %v with guest_start = %s, %v with %s", l.name, one, s.starts[0], other, start)
					}
				}
			}
		})
	}
}

// want checks that a test has passed, or was skipped for the reason that skips matches.
func want(t *testing.T, o result.Outcome, name, skips string) {
	t.Helper()
	skipped := o.Status == result.Skip && skips != "" && regexp.MustCompile(skips).MatchString(o.Message)
	if o.Status != result.Pass && !skipped {
		t.Errorf("%s: %v: %s", name, o.Status, o.Message)
	}
	t.Logf("%-62s %5.1f s %v %s", name, o.Seconds, o.Status, o.Message)
}

// Every fault is found, and named.
func TestFaults(t *testing.T) {
	binary := mhmig(t)
	for _, s := range suites {
		found := variants(t, s.config)
		for _, l := range s.leaves {
			if l.fault == "" || !*all && !l.often {
				continue
			}
			t.Run(l.name, func(t *testing.T) {
				v := found[l.name]
				if v == nil {
					t.Fatalf("no such test in %s", s.config)
				}
				args := []string{
					plant(t, v.Params["type"], l), "--config", s.config, "--defaults", "--lab-hosts", strconv.Itoa(s.hosts),
					"--filter", "only " + strings.ReplaceAll(l.name, ".", ".."),
				}
				for _, p := range l.params {
					args = append(args, "--param", p)
				}
				o := outcomes(t, binary, args...)[0]
				if o.Status == result.Skip && l.skips != "" && regexp.MustCompile(l.skips).MatchString(o.Message) {
					t.Skip(o.Message)
				}
				if o.Status == result.Fail && l.fails != "" && regexp.MustCompile(l.fails).MatchString(o.Message) {
					t.Skipf("QEMU's own FAIL came first: %s", o.Message)
				}
				if o.Status != result.Fail || !regexp.MustCompile(l.message).MatchString(o.Message) {
					t.Errorf("got %v: %s, want FAIL: %s", o.Status, o.Message, l.message)
				}
				t.Logf("%.1f s: %s", o.Seconds, o.Message)
			})
		}
	}
}

// plant writes a scenario that runs the leaf's with the fault beside it.
func plant(t *testing.T, scenario string, l leaf) string {
	t.Helper()
	helpers, err := os.ReadFile("testdata/faults.star")
	if err != nil {
		t.Fatal(err)
	}
	body := l.plant
	if body == "" {
		body = "pass"
	}
	file := filepath.Join(t.TempDir(), "planted.star")
	text := fmt.Sprintf(`load("@scenarios//%s.star", scenario = "migration_scenario")

%s

def plant(env):
    %s

def migration_scenario(env):
    spawn(plant, env)
    scenario(env)
`, scenario, helpers, body)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
