// SPDX-License-Identifier: Apache-2.0

// Package guest runs commands inside guests, in sessions: open logins by SSH
// or on the serial console, whose methods have virt-test's names and meanings.
//
// A Session is one shell that stays: the directory, the environment and the
// background jobs of one command are there for the next.
//
//	conn, err := instance.DialShell(ctx)
//	session, err := guest.SSH(ctx, conn, guest.Credentials{Username: "root", Password: "123456"})
//	defer session.Close()
//	session.Sendline(ctx, "nohup dd if=/dev/zero of=/dev/null &")
//	_, err = session.Cmd(ctx, "killall -0 dd", 0)
//
// # How a command's output is found
//
// The shell's terminal shows more than the command's output: the echo of what
// was typed, prompts, messages of background jobs and, on a serial console, of
// the kernel. So each command is typed between two commands that print markers
// with a random number, and the number is typed in two parts, so that its echo
// is not a marker:
//
//	printf '<%s%s>\n' mhb: 5d0f…; command eval 'CMD'; printf '<%s%s%s>\n' mhe: 5d0f…: $?
//
// Each marker is printed twice, because a kernel message may break one. What
// the kernel prints while a command runs on a serial console is part of its
// output and cannot be separated from it. CMD is given to eval, so that a syntax
// error in it ends it and not the session; line editing, echo and the
// terminal's changes of output are switched off at login; a command that is
// long or has control characters is typed in pieces and in octal.
//
// # Concurrency
//
// The methods of Session and Console may be called by any goroutine. A session
// runs one command at a time: further callers wait, within their own timeouts.
// Each Session by SSH and each Console has goroutines for its connection, which
// Close ends and waits for.
package guest
