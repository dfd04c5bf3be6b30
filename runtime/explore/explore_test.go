// SPDX-License-Identifier: Apache-2.0

package explore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/library"
	"github.com/mhmig/mhmig/lang/lint"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/explore"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/stdlib"
)

// able are hosts that lack nothing.
func able(hosts int) []explore.Abilities {
	one := explore.Abilities{
		Capabilities: []string{"xbzrle", "auto-converge", "postcopy-ram", "postcopy-preempt", "multifd"}, Parameters: []string{"tls-creds"},
		Userfaultfd: true, Firewall: true, Connector: true, Descriptors: true, Machine: "m",
	}
	return slices.Repeat([]explore.Abilities{one}, hosts)
}

// check follows the statements of a walk, by what they say alone, and returns the first
// that cannot be done.
func check(hosts int, texts []string) error {
	at := 1
	plugged := map[string]bool{}
	call := regexp.MustCompile(`^(\w+)\(walk, ("?)([\w.]+)"?(.*)\)$`)
	for i, text := range texts {
		m := call.FindStringSubmatch(text)
		if m == nil {
			return fmt.Errorf("step %d: %s: not a call", i, text)
		}
		function, argument := m[1], m[3]
		switch function {
		case "move", "cancel_move", "lose_destination":
			to, err := strconv.Atoi(argument)
			if err != nil || to == at || to < 1 || to > hosts {
				return fmt.Errorf("step %d: %s: the guest is on host %d of %d", i, text, at, hosts)
			}
			if function == "move" {
				at = to
			}
			has := func(word string) bool { return strings.Contains(text, word) }
			if has(`"file"`) && (has("multifd") || has("postcopy") || has("hold") || has("meanwhile")) || has("postcopy") && (has("multifd") || has("meanwhile")) {
				return fmt.Errorf("step %d: %s: QEMU cannot do that", i, text)
			}
			if has("mig_tls") && has("mig_protocol") {
				return fmt.Errorf("step %d: %s: TLS is over TCP", i, text)
			}
		case "plug_disk", "plug_nic":
			if plugged[argument] {
				return fmt.Errorf("step %d: %s: it is plugged", i, text)
			}
			plugged[argument] = true
		case "unplug":
			if !plugged[argument] {
				return fmt.Errorf("step %d: %s: it is not plugged", i, text)
			}
			delete(plugged, argument)
		case "pause", "reboot":
		default:
			return fmt.Errorf("step %d: %s: unknown", i, text)
		}
	}
	return nil
}

// wrong returns what is wrong with the scenario of a walk.
func wrong(hosts int, steps []explore.Step) error {
	source := explore.Scenario("About \\ and \"\"\".", hosts, steps)
	formatted, err := star.Reformat("walk.star", source)
	if err != nil {
		return err
	}
	if string(formatted) != string(source) {
		return fmt.Errorf("not formatted:\n%s", source)
	}
	texts := explore.Text(hosts, explore.Possible(hosts, steps))
	if body := strings.Join(append(texts, "end(walk)"), "\n    "); !strings.HasSuffix(string(source), "    walk = begin(env)\n    "+body+"\n") {
		return fmt.Errorf("got\n%s\nwant the statements\n%s", source, body)
	}
	return check(hosts, texts)
}

// Each walk, whatever the hosts are able to do, and each that is left of one when some of
// its steps are left out, can be done, and is a formatted scenario.
func FuzzWalk(f *testing.F) {
	f.Add(uint64(1), uint8(2), uint8(30), uint8(0), uint64(0))
	f.Add(uint64(42), uint8(3), uint8(200), uint8(255), uint64(7))
	f.Fuzz(func(t *testing.T, seed uint64, hosts, steps, lacks uint8, removed uint64) {
		all := able(2 + int(hosts)%4)
		for i, part := range []func(*explore.Abilities){
			func(a *explore.Abilities) { a.Capabilities = []string{"xbzrle"} },
			func(a *explore.Abilities) { a.Parameters = nil },
			func(a *explore.Abilities) { a.Userfaultfd = false },
			func(a *explore.Abilities) { a.Firewall = false },
			func(a *explore.Abilities) { a.Connector = false },
			func(a *explore.Abilities) { a.Descriptors = false },
			func(a *explore.Abilities) { a.Machine = "other" },
		} {
			if lacks&(1<<i) != 0 {
				part(&all[len(all)-1])
			}
		}
		v := explore.NewVocabulary(all)
		walk := v.Walk(seed, int(steps))
		if len(walk) != int(steps) || len(explore.Possible(len(all), walk)) != len(walk) {
			t.Fatalf("got %d steps, of which %d are possible, want %d", len(walk), len(explore.Possible(len(all), walk)), steps)
		}
		again := explore.NewVocabulary(all).Walk(seed, int(steps)+5)
		if !slices.Equal(explore.Text(len(all), again)[:steps], explore.Text(len(all), walk)) {
			t.Error("the same seed gives other steps")
		}
		random := rand.New(rand.NewPCG(removed, 0))
		part := slices.DeleteFunc(slices.Clone(walk), func(explore.Step) bool { return random.IntN(3) == 0 })
		for _, steps := range [][]explore.Step{walk, part} {
			if err := wrong(len(all), steps); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a host lacks is in no step, and is named.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	everything := strings.Join(explore.Text(2, explore.NewVocabulary(able(2)).Walk(1, 2000)), "\n")
	tests := []struct {
		name    string
		lack    func(*explore.Abilities)
		word    string // of the steps that are left out
		missing string
	}{
		{"multifd", func(a *explore.Abilities) { a.Capabilities = a.Capabilities[:4] }, "multifd", "multifd: a QEMU has no capability multifd"},
		{"preempt", func(a *explore.Abilities) { a.Capabilities = []string{"postcopy-ram"} }, "mig_postcopy_preempt", "postcopy-preempt: a QEMU has no capability postcopy-preempt"},
		{"TLS", func(a *explore.Abilities) { a.Parameters = nil }, "mig_tls", "a QEMU has no parameter tls-creds"},
		{"userfaultfd", func(a *explore.Abilities) { a.Userfaultfd = false }, "postcopy = True", "postcopy: a host does not let QEMU use userfaultfd"},
		{"nft", func(a *explore.Abilities) { a.Firewall = false }, `"cut"`, "blocked ports: they need root and nft on the hosts"},
		{"socat", func(a *explore.Abilities) { a.Connector = false }, `"exec"`, "mig_protocol = exec: a host has none of socat, ncat, busybox"},
		{"fd", func(a *explore.Abilities) { a.Descriptors = false }, `"fd"`, "mig_protocol = fd: a host is not Linux x86_64"},
		{"one machine", func(a *explore.Abilities) { a.Machine = "other" }, `"unix"`, "mig_protocol = unix: the hosts are not one machine"},
	}
	for _, test := range tests {
		all := able(2)
		test.lack(&all[1])
		v := explore.NewVocabulary(all)
		if text := strings.Join(explore.Text(2, v.Walk(1, 2000)), "\n"); !strings.Contains(everything, test.word) || strings.Contains(text, test.word) {
			t.Errorf("%s: want %s in the steps of all that there is, and not in the others", test.name, test.word)
		}
		if !strings.Contains(strings.Join(v.Missing, "\n"), test.missing) {
			t.Errorf("%s: got %q, want %q", test.name, v.Missing, test.missing)
		}
	}
	if !strings.Contains(everything, "lose_destination") || !strings.Contains(everything, "mig_multifd") || regexp.MustCompile(`lose_destination.*multifd`).MatchString(everything) {
		t.Error("want multifd in steps, and not in those whose destination ends")
	}
	if v := explore.NewVocabulary(able(3)); len(v.Missing) > 0 {
		t.Errorf("nothing is missing: got %q", v.Missing)
	}
}

// A scenario that is generated, and the one that asks the hosts, have no remarks of lint.
func TestLint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := explore.Scenario("A walk.", 3, explore.NewVocabulary(able(3)).Walk(5, 100))
	for name, content := range map[string][]byte{"walk.star": source, "abilities.star": explore.AbilitiesScenario} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if formatted, err := star.Reformat(name, content); err != nil || string(formatted) != string(content) {
			t.Errorf("%s is not formatted: %v", name, err)
		}
		if found := lint.Files(cartesian.Reader{Libraries: library.Set{"std": stdlib.FS}}, []string{file}); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

func TestParseAbilities(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`[{"capabilities": ["xbzrle"]}, {"capabilities": ["xbzrle"]}]`: "",
		`[{"capabilities": ["xbzrle"]}]`:                               "a walk needs two hosts, and the run has 1",
		`[{"capabilities": ["xbzrle"]}, {}]`:                           "a QEMU has no migration capabilities",
		`[`:                                                            "what the hosts are able to do: unexpected end of JSON input",
	} {
		if _, err := explore.ParseAbilities([]byte(text)); !strings.Contains(fmt.Sprint(err), want) && want != "" || want == "" && err != nil {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// shrink shrinks a walk whose violation is found by its text.
func shrink(t *testing.T, walk []explore.Step, change func(*explore.Shrinking), fails func(run int, text string) bool) (explore.Shrunk, error) {
	t.Helper()
	run := 0
	s := explore.Shrinking{Hosts: 2, Runs: 1000, Time: time.Minute, Run: func(_ context.Context, steps []explore.Step) (bool, error) {
		run++
		return fails(run, strings.Join(explore.Text(2, steps), "\n")), nil
	}}
	if change != nil {
		change(&s)
	}
	return s.Shrink(t.Context(), walk)
}

// What a violation does not need is left out, of the steps and in them.
func TestShrink(t *testing.T) {
	t.Parallel()
	walk := explore.NewVocabulary(able(2)).Walk(3, 200)
	tests := []struct {
		name   string
		needs  string // a regular expression
		want   string
		atMost int
	}{
		{"one step", `(?m)^reboot\(walk, "shell"\)$`, `reboot(walk, "shell")`, 1},
		{"a feature", `move\(.*mig_xbzrle`, `move(walk, 2, params = {"mig_xbzrle": "yes"})`, 1},
		{"a device and a later move", `(?s)plug_disk\(walk, "disk2"\).*\nmove\(walk, \d.*postcopy = True`, "plug_disk(walk, \"disk2\")\nmove(walk, 2, postcopy = True)", 2},
		{"there and back", `(?s)move\(walk, 2.*\nmove\(walk, 1`, "move(walk, 2)\nmove(walk, 1)", 2},
		{"a fault, then a hold", `(?s)"cut".*\nmove\(.*hold = True`, "move(walk, 2, meanwhile = \"cut\")\nmove(walk, 1, hold = True)", 2},
	}
	for _, test := range tests {
		needs := regexp.MustCompile(test.needs)
		got, err := shrink(t, walk, nil, func(_ int, text string) bool { return needs.MatchString(text) })
		text := strings.Join(explore.Text(2, got.Steps), "\n")
		if err != nil || text != test.want || !got.Complete || len(got.Steps) > test.atMost {
			t.Errorf("%s: %v, complete: %v, %d runs:\n%s\nwant\n%s", test.name, err, got.Complete, got.Runs, text, test.want)
		}
		if got.Runs > 60 {
			t.Errorf("%s: %d runs, want at most 60", test.name, got.Runs)
		}
	}
}

// A violation that does not show each time is found by trying again.
func TestShrinkWhatDoesNotAlwaysFail(t *testing.T) {
	t.Parallel()
	walk := explore.NewVocabulary(able(2)).Walk(3, 100)
	every := func(n int) func(int, string) bool {
		return func(run int, text string) bool { return run%n == 0 && strings.Contains(text, "move(") }
	}
	got, err := shrink(t, walk, func(s *explore.Shrinking) { s.Tries = 2 }, every(2))
	if err != nil || len(got.Steps) != 1 {
		t.Errorf("got %d steps, %v, want 1", len(got.Steps), err)
	}
}

// Limits end shrinking, and an error does: each with the smallest walk so far.
func TestShrinkEnds(t *testing.T) {
	t.Parallel()
	walk := explore.NewVocabulary(able(2)).Walk(3, 100)
	always := func(int, string) bool { return true }
	needsHalf := func(_ int, text string) bool { return strings.Count(text, "\n") > 50 }
	if got, err := shrink(t, walk, func(s *explore.Shrinking) { s.Runs = 0 }, always); err != nil || len(got.Steps) != 100 || got.Complete || got.Runs != 0 {
		t.Errorf("no runs: got %d steps, %d runs, complete: %v, %v", len(got.Steps), got.Runs, got.Complete, err)
	}
	if got, err := shrink(t, walk, func(s *explore.Shrinking) { s.Runs = 20 }, needsHalf); err != nil || got.Complete || got.Runs != 20 {
		t.Errorf("20 runs: got %d runs, complete: %v, %v", got.Runs, got.Complete, err)
	}
	if got, err := shrink(t, walk, func(s *explore.Shrinking) { s.Time = time.Nanosecond }, always); err != nil || got.Complete || got.Runs != 0 {
		t.Errorf("no time: got %d runs, complete: %v, %v", got.Runs, got.Complete, err)
	}
	lost := errors.New("the hosts are lost")
	runs := 0
	got, err := explore.Shrinking{Hosts: 2, Runs: 100, Time: time.Minute, Run: func(_ context.Context, steps []explore.Step) (bool, error) {
		if runs++; runs == 10 {
			return false, lost
		}
		return len(steps) > 40, nil
	}}.Shrink(t.Context(), walk)
	if !errors.Is(err, lost) || got.Complete || len(got.Steps) >= 100 || len(got.Steps) <= 40 {
		t.Errorf("error: got %d steps, complete: %v, %v", len(got.Steps), got.Complete, err)
	}
}

func TestViolation(t *testing.T) {
	t.Parallel()
	same := []string{
		"guest memory differs after the migration: 12 of 24640 pages: 0x1000, 0x2000; the first is 0x1000 of pc.ram",
		"guest memory differs after the migration: 3 of 32830 pages: 0xabc; the first is 0xabc of pc.ram",
	}
	if one, other := explore.Violation(same[0]), explore.Violation(same[1]); one != other || one != "guest memory differs after the migration of pages" {
		t.Errorf("got %q and %q, want the same", one, other)
	}
	if one, other := explore.Violation("vm1 is on host2, and was to run on host1"), explore.Violation("vm1 has rebooted, which no step was to do"); one == other {
		t.Errorf("got %q for both", one)
	}
}

// The steps that have begun are counted, not other records with that message.
func TestBegun(t *testing.T) {
	t.Parallel()
	step := result.Event{Message: "step", Fields: result.Fields{{Key: "number", Value: "1"}, {Key: "what", Value: "move"}}}
	events := []result.Event{{Message: "variant begins"}, step, {Message: "step"}, step, {Message: "memory verified"}}
	got, err := explore.Begun(func(yield func(result.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err != nil || got != 2 {
		t.Errorf("got %d, %v, want 2", got, err)
	}
}
