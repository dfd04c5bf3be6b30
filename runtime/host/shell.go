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

	"golang.org/x/crypto/ssh"
)

// A command is started in two steps, so that none runs before we know its
// process group, and nothing depends on the login shell's dialect:
//
//  1. bootstrap is the command line that sshd gives to the login shell. Between
//     its single quotes is no character that sh, bash, zsh, csh or fish treats
//     differently there. /bin/sh takes the login shell's place, says its process
//     id after a mark that separates it from the login shell's chatter, on both
//     outputs, and waits for a line.
//  2. When we have read the marks, we send that line: the script in printf %b's
//     encoding. The shell's read takes no byte more; what follows is the
//     command's standard input.
//
// When the connection ends between the steps, read fails and nothing runs.
// sshd makes each session's first process the leader of a group, and /bin/sh
// has taken its place: its process id is the group's.
func bootstrap(mark string) string {
	return `exec /bin/sh -c 'echo; echo ` + mark + ` $$; { echo; echo ` + mark + `; } >&2; ` +
		`IFS= read -r mhmig && eval "unset mhmig; $(printf %b "$mhmig")"'`
}

var encoder = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// encode makes one line of a script; printf %b makes the script of it again.
func encode(script string) string { return encoder.Replace(script) + "\n" }

const (
	chatterKept = 500              // bytes of a login shell's output kept for an error message
	killLimit   = 10 * time.Second // for the whole kill, its own connection included
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
	rest, said, ok := skipTo(s.stdout, mark)
	if ok {
		s.pid, err = strconv.Atoi(strings.TrimSpace(rest))
		ok = err == nil
	}
	_, complained, marked := skipTo(s.stderr, mark)
	if !ok || !marked {
		return fmt.Errorf("the login shell did not run /bin/sh; it said %q", strings.TrimSpace(said+complained))
	}
	return nil
}

// run is the second step: it gives the shell its script and then stdin, which
// may be nil. The channel gets the session's word for how the script ended.
func (s *shell) run(script string, stdin io.Reader) <-chan error {
	input := io.Reader(strings.NewReader(encode(script)))
	if stdin != nil {
		input = io.MultiReader(input, stdin)
	}
	go func() { // ends with the script, or, see Command.Stdin, when stdin lets it
		_, _ = io.Copy(s.stdin, input) // fails when the script does not want it all
		s.stdin.Close()
	}()
	exited := make(chan error, 1)
	go func() { exited <- s.session.Wait() }() // ends with the session
	return exited
}

// skipTo reads up to the line with the mark and returns what follows the mark on
// it, and the begin of what came before.
func skipTo(r *bufio.Reader, mark string) (rest, before string, found bool) {
	for {
		line, err := r.ReadSlice('\n')
		if after, ok := bytes.CutPrefix(line, []byte(mark)); ok {
			return string(after), before, true
		}
		if len(before) < chatterKept {
			before += string(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", before, false
		}
	}
}

// killScript ends a process group: TERM, two seconds of grace, KILL. It exits
// when no process of the group is left but for zombies, which wait for parents
// that are not our concern.
const killScript = `
alive() {
	for stat in /proc/[0-9]*/stat; do
		read -r line 2>/dev/null <"$stat" || continue
		set -- ${line##*) } # state, parent, group
		[ "$3" = "$group" ] && [ "$1" != Z ] && return 0
	done
	return 1
}
kill -TERM -"$group" 2>/dev/null
kill -CONT -"$group" 2>/dev/null
polls=0
while alive; do
	polls=$((polls + 1))
	[ $polls -ge 40 ] && kill -KILL -"$group" 2>/dev/null
	[ $polls -ge 80 ] && exit 1
	sleep 0.05
done`

// killGroup kills a process group on the host by a session of its own.
func (h *Host) killGroup(ctx context.Context, group int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, killLimit, &TimeoutError{killLimit})
	defer cancel()
	s, err := h.openShell(ctx, urgent)
	if err != nil {
		return fmt.Errorf("kill process group %d: %w", group, err)
	}
	defer s.close()
	select {
	case err = <-s.run(fmt.Sprintf("group=%d%s", group, killScript), nil):
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("kill process group %d: %w", group, err)
	}
	return nil
}
