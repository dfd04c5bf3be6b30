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

// A serial login answers what the console shows. It acts on the last line, and
// only after a moment of silence, since a prompt may come in parts.
//
//	the console shows           the login types
//	login:                      the user's name
//	Password: (after the name)  the password
//	Login incorrect             nothing; the second time it is ErrRefused
//	a shell's prompt            the session's setup; without an answer: begins again
//	anything else, 2 s long     a newline, for a prompt that a kernel message hides;
//	                            Ctrl-C before it, where a command may have been left
var (
	loginPrompt    = regexp.MustCompile(`(?i)(?:^|[^a-z])(?:login|username): *$`)
	passwordPrompt = regexp.MustCompile(`(?i)password[^\n]*: *`)
	incorrect      = regexp.MustCompile(`(?i)login incorrect|incorrect login|login failed|authentication fail`)
	ourPrompt      = regexp.MustCompile(`mhmig# $`) // of an earlier session's shell
)

const (
	promptSilence      = 150 * time.Millisecond
	maxNoise           = time.Second      // or so much time, where there is never silence
	requestPromptAfter = 2 * time.Second  // of nothing to answer
	answerTimeout      = 10 * time.Second // for the answer to a name or a password
	setupTimeout       = 10 * time.Second // for the answer to the setup
	shownConsole       = 10               // lines of the console in errors
)

// Login logs in on the serial console and returns the session, also where a
// shell is logged in already. A session that has the console ends. ctx limits
// the login, which waits for the guest to boot; its end is told with the
// console's last lines. ErrRefused: see there.
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

// serialLogin is one login in the making.
type serialLogin struct {
	s    *Session
	cred Credentials

	occupied bool // an earlier session may have left a command that still runs

	sentName     bool // the name was typed
	sentPassword bool // the password was typed
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

// waitForSilence waits for something new to look at: silence, or a second of noise.
func (l *serialLogin) waitForSilence(ctx context.Context) error {
	noise, cancel := context.WithTimeout(ctx, maxNoise)
	defer cancel()
	if err := l.s.in.quiet(noise, promptSilence); err != nil && (ctx.Err() != nil || noise.Err() == nil) {
		return err
	}
	return nil
}

// act answers what the console shows, and tells whether the session is ready.
func (l *serialLogin) act(ctx context.Context) (bool, error) {
	screen := visible(l.s.in.peek())
	last := screen[strings.LastIndexByte(screen, '\n')+1:]
	waited := time.Since(l.lastSent)
	switch {
	case l.sentPassword && incorrect.MatchString(screen):
		// Once may be our own doing: a newline typed when the question came.
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

// requestPrompt makes an idle console show its prompt again. What an earlier session
// left running is interrupted, each time: it may not have begun at the first.
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
		prompt = DefaultPrompt
	}
	return last != "" && (prompt.MatchString(last) || ourPrompt.MatchString(last))
}

// tryShell sets the session up in what looks like a shell. If it was something
// else, the login begins again.
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

// send types a line; what was on the screen is dealt with.
func (l *serialLogin) send(ctx context.Context, line string) error {
	l.s.in.take(idleOutput)
	l.lastSent = time.Now()
	return l.s.wire.send(ctx, []byte(line+"\n"))
}
