// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/exit"
)

// TestReplAtTerminal types at the prompt of a session without hosts: history, completion, several lines, and Ctrl-C, which
// ends an endless loop and drops a line, but not the session.
func TestReplAtTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, keyboard := w.inTerminal("repl")
	r.await("The language alone")
	r.await(">>> ")
	for _, step := range []struct{ keys, want string }{
		{"6 * 7\r", "42\r\r\n>>> "},
		{"\x1b[A\x7f8\r", "48\r\r\n>>> "},                      // the last line, with another end
		{"sor\t([3, 1])\r", "[1, 3]\r\r\n>>> "},                // completed
		{"re\t", "repr  reversed"},                             // several
		{"\x03", ">>> "},                                       // dropped
		{"def f(x):\r\treturn (x +\r5)\r\r", "... \r\r\n>>> "}, // a block, Tab indents
		{"f(100)\r", "105\r\r\n>>> "},                          //
		{"def g(x):\r\x03", "\r\r\n>>> "},                      // a block is dropped
		{"g\r", "prompt:1:1: undefined: g"},                    //
		{"while True:\r\tpass\r\r", "... \r\r\n"},              // without an end
		{"\x03", "stopped by Ctrl-C\r\r\n>>> "},                //
		{"dropped\x031 + 1\r", "2\r\r\n>>> "},                  // what follows is not
		{"while True:\r\tpass\r\r", "... \r\r\n"},              //
		{"\x033 + 4\r", "7\r\r\n>>> "},                         //
		{"migrate()\r", "prompt:1:8: migrate needs hosts"},     //
		{"f(1000)\r", "1005\r\r\n>>> "},                        // it goes on
	} {
		before := len(r.output())
		press(t, keyboard, step.keys)
		r.awaitIn(before, step.want)
	}
	press(t, keyboard, "\x04")
	if code := r.wait(cleanupTimeout); code != int(exit.OK) || strings.Contains(r.output(), "mhmig:") {
		t.Errorf("exit status: got %d\n%s", code, r.output())
	}
}

// TestReplOnLab uses the hosts of a lab in a session. Ctrl-C ends what runs, Ctrl-D the session: the user's cleanup runs,
// and nothing is left.
func TestReplOnLab(t *testing.T) {
	t.Parallel()
	needQEMU(t) // it is looked at what the hosts have
	w := newWorld(t)
	r, keyboard := w.inTerminal("repl", "--lab", "embedded", "--config", "small.cfg")
	r.await("env.hosts are host1, host2")
	r.await(">>> ")
	for _, step := range []struct{ keys, want string }{
		{"env.ho\t[0].ru\t(\"echo on $MHMIG_LAB_HOST\").stdout\r", "\"on host1\\n\"\r\r\n>>> "},
		{"sleep(600)\r", "sleep(600)\r\r\n"},
		{"\x03", "stopped by Ctrl-C\r\r\n>>> "},
		{"cleanup(log, \"cleaned\" + \" up\")\r", ">>> "},
		{"1 + 1\r", "2\r\r\n>>> "},
	} {
		before := len(r.output())
		press(t, keyboard, step.keys)
		r.awaitIn(before, step.want)
	}
	press(t, keyboard, "\x04")
	if code := r.wait(cleanupTimeout); code != int(exit.OK) || !strings.Contains(r.output(), "cleaned up") {
		t.Errorf("exit status: got %d\n%s", code, r.output())
	}
	w.wantNothingLeft()
}
