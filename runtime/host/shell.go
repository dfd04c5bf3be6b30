// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"
)

// A command is started in two steps, so that none runs before we know its
// process group, and nothing depends on the login shell's dialect:
//
//  1. bootstrap is the command line that sshd passes to the login shell. Between
//     its single quotes is no character that sh, bash, zsh, csh or fish treats
//     differently there. exec replaces the login shell by /bin/sh, which prints its
//     process id after a mark that separates it from the login shell's own output,
//     on both outputs, and waits for a line.
//  2. When we have read the marks, we send that line: the script in printf %b's
//     encoding. The shell's read consumes no further byte; what follows is the
//     command's standard input.
//
// When the connection ends between the steps, read fails and nothing runs.
// sshd makes each session's first process the leader of a group, and /bin/sh has
// replaced it: its process id is the group's.
func bootstrap(mark string) string {
	return `exec /bin/sh -c 'echo; echo ` + mark + ` $$; { echo; echo ` + mark + `; } >&2; ` +
		`IFS= read -r mhmig && eval "unset mhmig; $(printf %b "$mhmig")"'`
}

var encoder = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// encode encodes a script as one line, which printf %b decodes.
func encode(script string) string { return encoder.Replace(script) + "\n" }

const (
	maxBanner = 500              // bytes of a login shell's output kept for an error message
	killLimit = 10 * time.Second // for the whole kill, a new connection included
)

// shell is a /bin/sh on the host that waits for its script.
type shell struct {
	host           *Host
	conn           *connection
	session        *ssh.Session
	stdin          io.WriteCloser
	stdout, stderr *bufio.Reader
	pid            int
}

// openShell starts a shell, which the caller closes.
func (h *Host) openShell(ctx context.Context, u urgency) (*shell, error) {
	k, session, err := h.session(ctx, u)
	if err != nil {
		return nil, err
	}
	s := &shell{host: h, conn: k, session: session}
	if _, err := await(ctx, k, func() (struct{}, error) { return struct{}{}, s.begin() }, nil); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shell) close() {
	s.session.Close()
	s.host.release(s.conn)
}

// begin is the first step.
func (s *shell) begin() error {
	stdin, err := s.session.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := s.session.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := s.session.StderrPipe()
	if err != nil {
		return err
	}
	s.stdin, s.stdout, s.stderr = stdin, bufio.NewReader(stdout), bufio.NewReader(stderr)
	mark := "mhmig-" + rand.Text()
	if err := s.session.Start(bootstrap(mark)); err != nil {
		return err
	}
	rest, stdoutBanner, ok := skipTo(s.stdout, mark)
	if ok {
		s.pid, err = strconv.Atoi(strings.TrimSpace(rest))
		ok = err == nil
	}
	_, stderrBanner, marked := skipTo(s.stderr, mark)
	if !ok || !marked {
		err := fmt.Errorf("the login shell did not run /bin/sh; its output: %q", strings.TrimSpace(stdoutBanner+stderrBanner))
		return s.conn.reason(err) // the output ends also when the connection is lost
	}
	return nil
}

// run is the second step: it gives the shell its script and then stdin, which
// may be nil. The channel gets the result of the session.
func (s *shell) run(script string, stdin io.Reader) <-chan error {
	input := io.Reader(strings.NewReader(encode(script)))
	if stdin != nil {
		input = io.MultiReader(input, stdin)
	}
	go func() { // ends with the script, or, see Command.Stdin, when stdin lets it
		_, _ = io.Copy(s.stdin, input) // fails when the script does not read all of it
		s.stdin.Close()
	}()
	exited := make(chan error, 1)
	go func() { exited <- s.session.Wait() }() // ends with the session
	return exited
}

// skipTo reads up to the line with the mark. It returns the rest of that line, and
// the start of the output before it.
func skipTo(r *bufio.Reader, mark string) (rest, before string, found bool) {
	for {
		line, err := r.ReadSlice('\n')
		if after, ok := bytes.CutPrefix(line, []byte(mark)); ok {
			return string(after), before, true
		}
		if len(before) < maxBanner {
			before += string(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", before, false
		}
	}
}

// killScript ends the process group $group, if that is not 0, and all processes
// with the mark $mark in their environment, if that is not empty: SIGTERM, two
// seconds of grace, SIGKILL. It writes a line for each process that it found at
// first, and exits when none is left but zombies, which wait for their parents.
const killScript = `
look() {
	pids=
	for file in $(
		# A stat has the name in parentheses, the state, the parent and the group.
		[ "$group" -gt 0 ] && grep -lsE -e ") [^Z] [0-9]+ $group [0-9]" /proc/[0-9]*/stat
		[ -n "$mark" ] && grep -lsF -e "$mark" /proc/[0-9]*/environ
	); do
		pid=${file#/proc/}
		pids="$pids ${pid%/*}"
	done
	[ -n "$pids" ]
}
look || exit 0
for pid in $(printf '%s\n' $pids | sort -un); do
	printf 'process %s (%s)\n' "$pid" "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | cut -c 1-80)"
done
kill -TERM $pids 2>/dev/null
[ "$group" -gt 0 ] && kill -TERM -"$group" 2>/dev/null
kill -CONT $pids 2>/dev/null
seconds() { read -r up _ </proc/uptime; echo "${up%%.*}"; }
begun=$(seconds)
while look; do
	passed=$(($(seconds) - begun))
	if [ $passed -gt 2 ]; then
		[ "$group" -gt 0 ] && kill -KILL -"$group" 2>/dev/null
		kill -KILL $pids 2>/dev/null
	fi
	[ $passed -gt 7 ] && echo "still there: process$pids" >&2 && exit 1
	sleep 0.05
done`

// KillMarked is a script that kills all processes in whose environment the variable's
// value begins with mark: SIGTERM, two seconds of grace, SIGKILL. It writes a line
// for each, and exits when they are gone.
func KillMarked(variable, mark string) string { return killMarkedScript(0, variable+"="+mark) }

func killMarkedScript(group int, mark string) string {
	return fmt.Sprintf("group=%d mark=%s%s", group, shellescape.Quote(mark), killScript)
}

// killProcesses kills, in a separate session, a process group on the host and all
// processes with the mark, if that is not empty.
func (h *Host) killProcesses(ctx context.Context, group int, mark string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killLimit, &TimeoutError{killLimit})
	defer cancel()
	s, err := h.openShell(ctx, urgent)
	if err != nil {
		return fmt.Errorf("kill process group %d: %w", group, err)
	}
	defer s.close()
	if mark != "" {
		mark = MarkVariable + "=" + mark
	}
	select {
	case err = <-s.run(killMarkedScript(group, mark), nil):
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("kill process group %d: %w", group, err)
	}
	return nil
}
