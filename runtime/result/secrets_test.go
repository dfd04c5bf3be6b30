// SPDX-License-Identifier: Apache-2.0

package result_test

import (
	"encoding/json"
	"fmt"
	"html"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/result"
)

// TestSecretsAreHidden: whatever a password is made of, and however it is written.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"hunter2", "pw1", "z", "7", `a"b`, `back\slash`, `x<y`, `p&q`, `it's`, `"<&>\'`, "né", "a,b c", "tab\there", "a\nb", "!!!"} {
		t.Run(secret, func(t *testing.T) {
			t.Parallel()
			f := create(t, result.Run{Command: []string{"mhmig", "exec", "--param", "x=" + secret}, Filters: []string{"only " + secret}})
			f.Public("mhmig")
			v := start(t, f, "one", map[string]string{"password": secret, "cmdline": "pw=" + secret + " quiet", "password_vm2": "mhmig"})
			inJSON, err := json.Marshal(map[string]string{"text": "<" + secret + "> and " + secret})
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, spelt := range []string{
				secret, fmt.Sprintf("%q", secret), string(inJSON), fmt.Sprintf("%q", inJSON), html.EscapeString(secret), url.QueryEscape(secret),
				"'" + strings.ReplaceAll(secret, "'", `'\''`) + "'", "login:\n" + secret, strconv.Quote("login:\n" + secret), "\x1b[31m" + secret + "\x1b[0m",
			} {
				fmt.Fprintf(&all, "it says %s\n", spelt)
			}
			log := slog.New(f.Masked(f.Handler())).With("variant", v.ID(), "cmd", all.String())
			log.Error(all.String(), "error", fmt.Errorf("no login: %s", all.String()), "group", slog.GroupValue(slog.String("said", secret)))
			log.Info("mhmig runs", "migration", 7)
			write := func(name string, piece int, text string) {
				w, err := v.VMFile("vm1", "host1", name)
				if err != nil {
					t.Fatal(err)
				}
				for part := range slices.Chunk([]byte(text), piece) {
					if _, err := w.Write(part); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			write("console.log", 1, all.String())
			write("qemu.log", 7, all.String())
			line, err := json.Marshal(map[string]any{"message": json.RawMessage(inJSON), "id": 7, "cmd": all.String()})
			if err != nil {
				t.Fatal(err)
			}
			write("qmp.jsonl", len(line)+1, string(line)+"\n")
			failure := result.Failure{Status: result.Fail, Message: all.String(), Backtrace: all.String(), Source: all.String(), Evidence: all.String()}
			if err := v.Finish(result.Outcome{Failure: failure, Further: []result.Failure{failure}, Warnings: []string{all.String()}, Notices: []string{all.String()}}); err != nil {
				t.Fatal(err)
			}
			if err := f.Finish(result.Fail); err != nil {
				t.Fatal(err)
			}

			console := filepath.Join(f.Dir(), v.ID(), "vm", "vm1@host1")
			if diff := cmp.Diff(read(t, console, "console.log"), read(t, console, "qemu.log")); diff != "" {
				t.Errorf("in pieces (-of 1 +of 7):\n%s", diff)
			}
			var message struct{ ID int }
			if err := json.Unmarshal([]byte(read(t, console, "qmp.jsonl")), &message); err != nil || message.ID != 7 {
				t.Errorf("transcript: got %s: %v", read(t, console, "qmp.jsonl"), err)
			}
			if events := read(t, f.Dir(), result.EventsFile); !strings.Contains(events, "mhmig runs") || !strings.Contains(events, `"migration":7`) {
				t.Errorf("events: got %s, want all that is no password", events)
			}
			files := 0
			err = filepath.WalkDir(f.Dir(), func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				files++
				data, err := os.ReadFile(path)
				text := strings.NewReplacer(`"status"`, "", `"seconds"`, "").Replace(string(data))
				for _, spelt := range []string{" " + secret, secret + "\n", ">" + secret, "=" + secret, inner(strconv.Quote(secret)), inner(strconv.Quote(inner(strconv.Quote(secret))))} {
					if len(secret) > 1 && strings.Contains(text, spelt) || strings.Contains(text, " says "+secret) || strings.Contains(text, "and "+secret) {
						t.Errorf("%s: %q is in it:\n%s", path, spelt, text)
						break
					}
				}
				return err
			})
			if err != nil || files < 8 {
				t.Errorf("looked at %d files: %v", files, err)
			}
		})
	}
}

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// TestShortSecrets: what is short is hidden as a word, what everybody knows is not,
// and where that is not all, it is said.
func TestShortSecrets(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	f.Public("mhmig")
	if got := f.Hide(map[string]string{"password": "mhmig", "ssh_password": "hunter2", "mem": "12"}); got != nil {
		t.Errorf("got %v, want all hidden", got)
	}
	short := []result.Unhidden{{Param: "password_vm1", Where: "inside words, and in numbers"}}
	if diff := cmp.Diff(short, f.Hide(map[string]string{"password_vm1": "root"})); diff != "" {
		t.Errorf("short (-want +got):\n%s", diff)
	}
	v, err := f.Start(result.Entry{Name: "a", Hosts: []string{"host1"}, Params: map[string]string{
		"password_vm1": "root", "password_vm2": "host1", "vnc_password": "no", "ssh_password": "!", "vms": "vm1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []result.Unhidden{
		{Param: "password_vm2", Where: "inside words, and in numbers"},
		{Param: "password_vm2", Where: "in names of hosts, VMs and variants"},
		{Param: "ssh_password", Where: "anywhere but in its own param: it is too common"},
		{Param: "vnc_password", Where: "anywhere but in its own param: it is too common"},
	}
	if diff := cmp.Diff(want, v.Unhidden()); diff != "" {
		t.Errorf("unhidden (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"root: rootfs root_dir /root \\nroot uproot root": "***: rootfs root_dir /*** \\n*** uproot ***",
		"mhmig of hunter2x no!":                           "mhmig of ***x no!",
	} {
		if got := f.Mask(text); got != want {
			t.Errorf("Mask(%q): got %q, want %q", text, got, want)
		}
	}
	log := slog.New(f.Masked(f.Handler()))
	log.Info("up", "variant", v.ID(), "host", "host1", "on", "host1")
	if events := read(t, f.Dir(), result.EventsFile); !strings.Contains(events, `"host":"host1","fields":{"on":"***"}`) {
		t.Errorf("got %s, want the name as a place to stay", events)
	}
	if log := read(t, v.Dir(), result.LogFile); !strings.Contains(log, "[host1] up on=***") {
		t.Errorf("log: got %q", log)
	}
	if err := v.Finish(result.Outcome{}); err != nil {
		t.Error(err)
	}
	if err := f.Finish(result.Pass); err != nil {
		t.Error(err)
	}
}

// TestMaskedFileLosesNothing: of text without a password nothing is lost, in whatever
// pieces it comes.
func TestMaskedFileLosesNothing(t *testing.T) {
	t.Parallel()
	f := create(t, result.Run{})
	v := start(t, f, "one", map[string]string{"password": "abcab!", "password_vm1": "ab"})
	number := 0
	rapid.Check(t, func(r *rapid.T) {
		pieces := rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune("abc! ")), 0, 6, -1), 0, 8).Draw(r, "pieces")
		number++
		name := fmt.Sprint("log", number)
		w, err := v.VMFile("vm1", "host1", name)
		if err != nil {
			r.Fatal(err)
		}
		for _, piece := range pieces {
			if _, err := w.Write([]byte(piece)); err != nil {
				r.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			r.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(v.Dir(), "vm", "vm1@host1", name))
		if want := f.Mask(strings.Join(pieces, "")); err != nil || string(got) != want {
			r.Fatalf("%q: got %q, %v; want %q", pieces, got, err, want)
		}
	})
	if err := v.Finish(result.Outcome{}); err != nil {
		t.Error(err)
	}
	if err := f.Finish(result.Pass); err != nil {
		t.Error(err)
	}
}
