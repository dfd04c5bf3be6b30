// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
)

// Command is what to run on a host: either Args or Script.
type Command struct {
	// Args are a program and its arguments; they are not interpreted by a shell.
	Args []string
	// Script is run by the host's /bin/sh. A child that it leaves in the
	// background must have its output redirected, or the command does not end.
	Script string
	// Dir is the folder to run in. Empty: the user's home.
	Dir string
	// Env is added to the environment, and overrides [Config.Env].
	Env map[string]string
	// Stdin is what the command reads; it is read by a goroutine that ends
	// when a Read returns after the command's end. Nil: nothing.
	Stdin io.Reader
	// Timeout limits the command's life. Zero: only its context does.
	Timeout time.Duration
	// Mark is put into the command's environment, see [MarkVariable]. The command's
	// descendants inherit it, unless they clear their environment: so they are found
	// and killed with the command, in whatever session and group they are. A mark
	// ends in a slash. Empty: only the process group is killed.
	Mark string
}

// MarkVariable is the environment variable that holds a command's mark.
const MarkVariable = "MHMIG_RUN"

// String returns the command as typed in a shell, without Dir and Env.
func (c Command) String() string {
	if len(c.Args) > 0 {
		return shellescape.QuoteCommand(c.Args)
	}
	text := strings.TrimSpace(c.Script)
	if first, _, more := strings.Cut(text, "\n"); more {
		return first + " …"
	}
	return text
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// script returns the text that /bin/sh evaluates.
func (c Command) script(hostEnv map[string]string) (string, error) {
	switch {
	case (len(c.Args) == 0) == (c.Script == ""):
		return "", fmt.Errorf("command: want either Args or Script, got Args %q and Script %q", c.Args, c.Script)
	case len(c.Args) > 0 && c.Args[0] == "":
		return "", fmt.Errorf("command: Args[0]: got an empty program name")
	}
	var b strings.Builder
	b.WriteString("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\nexport PATH LC_ALL=C\n")
	env := maps.Clone(hostEnv)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, c.Env)
	if c.Mark != "" {
		env[MarkVariable] = c.Mark
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !envName.MatchString(name) {
			return "", fmt.Errorf("command %s: Env: got the name %q, want letters, digits and _", c, name)
		}
		fmt.Fprintf(&b, "export %s=%s\n", name, shellescape.Quote(env[name]))
	}
	if c.Dir != "" {
		fmt.Fprintf(&b, "cd -- %s || exit 126\n", shellescape.Quote(c.Dir))
	}
	if len(c.Args) > 0 {
		fmt.Fprintf(&b, "exec %s", shellescape.QuoteCommand(c.Args))
	} else {
		b.WriteString(c.Script)
	}
	text := b.String()
	if strings.ContainsRune(text, 0) {
		return "", fmt.Errorf("command %s: contains a NUL byte", c)
	}
	return text, nil
}
