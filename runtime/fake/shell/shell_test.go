// SPDX-License-Identifier: Apache-2.0

package shell_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/runtime/fake/shell"
)

// scripts have the same output and exit status in the fake shell and in a real one. They
// find an empty folder that they may write to in $dir.
var scripts = map[string]string{
	"lists":           `true && echo a || echo b; false && echo c || echo d; ! true; echo $?`,
	"quotes":          `x='a  b'; echo $x "$x" '$x' "\$x"`,
	"variables":       `a=1; a=$a$a; echo ${a}x ${b:-none} $((a * 2))`,
	"substitution":    "echo $(echo a; echo b) \"$(printf 'a\\nb')\"",
	"pipes":           `printf 'b\na\nb\n' | sort -u; printf 'b\na\n' | sort | head -1 | wc -l`,
	"if":              `if test 2 -gt 1; then echo yes; elif true; then echo no; else echo never; fi`,
	"for":             `for x in a b c; do [ "$x" = b ] || echo $x; done`,
	"while":           `i=0; while [ $i -lt 3 ]; do i=$((i + 1)); echo $i; done`,
	"case":            `for x in foo bar baz; do case $x in f*) echo F;; *r) echo R;; *) echo other;; esac; done`,
	"subshell":        `x=1; (x=2; echo $x); echo $x; { x=3; }; echo $x`,
	"files":           `cd "$dir"; echo one >f; echo two >>f; cat f; wc -l <f; rm f; test -e f; echo $?`,
	"here document":   "x=1\ncat <<END\na $x\nEND\ncat <<'END'\na $x\nEND",
	"no such file":    `cat "$dir"/none 2>/dev/null; echo $?`,
	"no such thing":   `nosuchcommand 2>/dev/null; echo $?`,
	"split":           `cd "$dir"; printf abcdefg >f; split -b 3 -a 3 f b. && cat b.aac; sha256sum b.*`,
	"checksums":       `cd "$dir"; printf abc >f; sha256sum f; md5sum <f`,
	"dd":              `cd "$dir"; dd if=/dev/zero of=f bs=1k count=2 2>/dev/null; printf X | dd of=f bs=1 seek=5 conv=notrunc 2>/dev/null; wc -c <f; dd if=f bs=1 skip=5 count=1 2>/dev/null`,
	"dd by pieces":    `cd "$dir"; printf abcdefg | (set -e; while dd bs=3 count=1 iflag=fullblock of=f.part 2>/dev/null || exit; [ -s f.part ]; do cat f.part; echo; done >f); cat f`,
	"move and copy":   `cd "$dir"; mkdir -p a/b; echo x >a/b/c; mv a/b/c a/d; cp a/d a/e; cat a/d a/e; ls a; cmp a/d a/e && echo same`,
	"globs":           `cd "$dir"; touch f1 f2 g; echo f*; echo x*`,
	"grep":            `printf 'a b\nc d\n' >"$dir"/f; grep -q '^c' "$dir"/f && grep -c . "$dir"/f; grep -v a "$dir"/f; grep x "$dir"/f; echo $?`,
	"cut and tr":      `echo a:b:c | cut -d: -f2 | tr b B`,
	"head and tail":   `seq 5 | head -2; seq 5 | tail -n 2; seq 5 | tail -n +5; seq 5 | head -c 3`,
	"command -v":      `command -v nosuchcommand >/dev/null; echo $?; command -v cat >/dev/null; echo $?`,
	"read":            `echo a b c >"$dir"/f; read -r x y <"$dir"/f; echo "$x-$y"`,
	"eval":            `c='echo a; false'; command eval "$c"; echo $?`,
	"exit":            `(exit 3); echo $?; exit 4; echo never`,
	"dirname":         `dirname /a/b/c; basename /a/b/c`,
	"printf reuse":    `printf '<%s%s>\n' a b c d`,
	"redirect stderr": `(echo out; echo err >&2) 2>&1 | sort`,
}

func TestLikeARealShell(t *testing.T) {
	t.Parallel()
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			real := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
			real.Env = append(real.Environ(), "dir="+t.TempDir())
			want, err := real.Output()
			if _, exited := err.(*exec.ExitError); err != nil && !exited {
				t.Fatal(err)
			}
			files := shell.NewFiles()
			if err := files.MkdirAll("/tmp/dir"); err != nil {
				t.Fatal(err)
			}
			got := shell.New(files).Run(t.Context(), t.Context(), script, nil, map[string]string{"dir": "/tmp/dir"})
			if string(got.Stdout) != string(want) || got.Status != real.ProcessState.ExitCode() {
				t.Errorf("%s\ngot  %q, status %d (%s)\nwant %q, status %d", script, got.Stdout, got.Status, got.Stderr, want, real.ProcessState.ExitCode())
			}
		})
	}
}

func run(t *testing.T, m *shell.Machine, script string) string {
	t.Helper()
	out := m.Run(t.Context(), t.Context(), script, nil, nil)
	return strings.TrimSpace(string(out.Stdout) + string(out.Stderr))
}

// Commands in the background run in virtual time, and can be killed.
func TestBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m := shell.New(shell.NewFiles())
		m.Run(ctx, ctx, "(sleep 60; echo done >/tmp/done) & nohup dd if=/dev/zero of=/dev/null &", nil, nil)
		synctest.Wait()
		if got := run(t, m, "killall -0 dd && echo runs; cat /tmp/done"); got != "runs\ncat: /tmp/done: No such file or directory" {
			t.Errorf("at first: got %q", got)
		}
		time.Sleep(61 * time.Second)
		if got := run(t, m, "cat /tmp/done; killall -9 dd; killall -0 dd"); got != "done\nkillall: dd: no process found" {
			t.Errorf("later: got %q", got)
		}
		cancel()
		m.Wait()
	})
}

// A session keeps its variables and its folder; one command of it can be ended.
func TestSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := shell.New(shell.NewFiles()).Login(t.Context())
		s.Run(t.Context(), "cd /tmp; x=1")
		limited, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if out := s.Run(limited, "sleep 3600; echo never"); out.Status == 0 || len(out.Stdout) > 0 {
			t.Errorf("got %q, status %d, want that it was killed", out.Stdout, out.Status)
		}
		if out := s.Run(t.Context(), "echo $x; touch f; ls /tmp"); string(out.Stdout) != "1\nf\n" {
			t.Errorf("got %q", out.Stdout)
		}
	})
}

// What is missing is said.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	var unknown []string
	m := shell.New(shell.NewFiles())
	m.Unknown = func(command string) { unknown = append(unknown, command) }
	for script, want := range map[string]string{
		"nmap host":              "sh: nmap: not found",
		"f() { true; }":          "sh: the fake shell does not support",
		"if":                     "sh: ",
		"while true; do :; done": "sh: the fake shell does not support a loop of so many iterations",
	} {
		if got := run(t, m, script); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", script, got, want)
		}
	}
	if len(unknown) != 1 || unknown[0] != "nmap" {
		t.Errorf("unknown commands: got %q, want nmap", unknown)
	}
}
