// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A serial login reacts to the console's last line, and only after a moment of
// silence, since a prompt may come in parts.
//
//	console output              reaction
//	login:                      the user's name
//	Password: (after the name)  the password
//	Login incorrect             nothing; the second time it is ErrRefused
//	a shell's prompt            the session's setup; without an answer: start over
//	anything else for 2 s       a newline, for a prompt that a kernel message hides;
//	                            Ctrl-C before it, if a command may still run
var (
	loginPrompt    = regexp.MustCompile(`(?i)(?:^|[^a-z])(?:login|username): *$`)
	passwordPrompt = regexp.MustCompile(`(?i)password[^\n]*: *`)
	incorrect      = regexp.MustCompile(`(?i)login incorrect|incorrect login|login failed|authentication fail`)
	ourPrompt      = regexp.MustCompile(`mhmig# $`) // of an earlier session's shell
)

const (
	promptSilence      = 150 * time.Millisecond
	maxNoise           = time.Second      // or this long, if output never stops
	requestPromptAfter = 2 * time.Second  // without a known prompt
	answerTimeout      = 10 * time.Second // for the answer to a name or a password
	setupTimeout       = 10 * time.Second // for the answer to the setup
	shownConsole       = 10               // lines of the console in errors
)

// Login logs in on the serial console and returns the session, also if a shell is
// logged in already. A session that has the console ends. ctx limits the login,
// which waits for the guest to boot; the error has the console's last lines and
// may be ErrRefused.
func (c *Console) Login(ctx context.Context, cred Credentials) (*Session, error) {
	s, occupied, err := c.attach()
	if err == nil {
		l := &serialLogin{s: s, cred: cred, occupied: occupied, waitingFor: "a login prompt"}
		if err = l.run(ctx); err == nil {
			return s, nil
		}
		_ = s.Close()
		err = fmt.Errorf("%w (waiting for %s)", err, l.waitingFor)
	}
	if tail := c.Tail(shownConsole); tail != "" {
		err = fmt.Errorf("%w; the console's last lines:\n%s", err, tail)
	} else {
		err = fmt.Errorf("%w; the console has shown nothing", err)
	}
	return nil, fmt.Errorf("serial login as %s: %w", cred.username(), err)
}

// serialLogin is the state of one login.
type serialLogin struct {
	s    *Session
	cred Credentials

	occupied bool // a command of an earlier session may still run

	sentName     bool // the name was sent
	sentPassword bool // the password was sent
	refusals     int
	lastSent     time.Time
	waitingFor   string // for errors
}

func (l *serialLogin) run(ctx context.Context) error {
	if err := l.requestPrompt(ctx); err != nil {
		return err
	}
	for {
		if err := l.waitForSilence(ctx); err != nil {
			return err
		}
		done, err := l.act(ctx)
		if done || err != nil {
			return err
		}
	}
}

// waitForSilence waits until output pauses, at most a second.
func (l *serialLogin) waitForSilence(ctx context.Context) error {
	noise, cancel := context.WithTimeout(ctx, maxNoise)
	defer cancel()
	if err := l.s.in.quiet(noise, promptSilence); err != nil && (ctx.Err() != nil || noise.Err() == nil) {
		return err
	}
	return nil
}

// act reacts to the console's output, and reports whether the session is ready.
func (l *serialLogin) act(ctx context.Context) (bool, error) {
	screen := visible(l.s.in.peek())
	last := screen[strings.LastIndexByte(screen, '\n')+1:]
	waited := time.Since(l.lastSent)
	switch {
	case l.sentPassword && incorrect.MatchString(screen):
		// The first may be our fault: a newline sent just before the password prompt.
		if l.refusals++; l.refusals > 1 {
			return false, fmt.Errorf("%w: the guest says %q", ErrRefused, incorrect.FindString(screen))
		}
		l.sentName, l.sentPassword = false, false
		l.s.in.take(idleOutput) // the login prompt comes again, by a newline if not by itself
		if loginPrompt.MatchString(last) {
			return false, l.sendName(ctx)
		}
	case l.sentName && !l.sentPassword && passwordPrompt.MatchString(screen):
		l.sentPassword = true
		l.waitingFor = "the answer to the password"
		return false, l.send(ctx, l.cred.Password.Reveal())
	case loginPrompt.MatchString(last):
		if !l.sentName || waited > answerTimeout {
			return false, l.sendName(ctx)
		}
	case l.promptMatches(last):
		return l.tryShell(ctx)
	case !l.sentName && waited > requestPromptAfter, waited > answerTimeout:
		return false, l.requestPrompt(ctx)
	}
	return false, nil
}

// requestPrompt sends a newline, so that an idle console shows its prompt again. A
// command left by an earlier session is interrupted each time: it may not have
// started at the first.
func (l *serialLogin) requestPrompt(ctx context.Context) error {
	if l.occupied && !l.sentName {
		if err := l.s.wire.interrupt(ctx); err != nil {
			return err
		}
	}
	return l.send(ctx, "")
}

func (l *serialLogin) sendName(ctx context.Context) error {
	l.sentName, l.sentPassword = true, false
	l.waitingFor = "the answer to the user's name"
	return l.send(ctx, l.cred.username())
}

func (l *serialLogin) promptMatches(last string) bool {
	prompt := l.cred.Prompt
	if prompt == nil {
		prompt = defaultPrompt
	}
	return last != "" && (prompt.MatchString(last) || ourPrompt.MatchString(last))
}

// tryShell sets the session up in what looks like a shell. If nothing answers, the
// login starts over.
func (l *serialLogin) tryShell(ctx context.Context) (bool, error) {
	l.waitingFor = "the shell's answer"
	l.s.in.take(idleOutput)
	limited, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	err := l.s.probeUntilAnswer(limited, quietTerminal+setup)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err == nil, err
	}
	l.sentName, l.sentPassword = false, false
	l.waitingFor = "a login prompt"
	return false, l.send(ctx, "")
}

// send sends a line and discards the output so far.
func (l *serialLogin) send(ctx context.Context, line string) error {
	l.s.in.take(idleOutput)
	l.lastSent = time.Now()
	return l.s.wire.send(ctx, []byte(line+"\n"))
}
