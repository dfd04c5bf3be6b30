// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/hugelgupf/go-shlex"
	"github.com/spf13/cobra"
)

// TestHelp looks at the help of every command: what it is for, and examples that
// are true command lines.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, command := range allCommands(newRootCommand()) {
		path := command.CommandPath()
		if command.Short == "" || strings.HasSuffix(command.Short, ".") {
			t.Errorf("%s: short help: got %q, want some words without a full stop", path, command.Short)
		}
		if usage := command.UsageString(); strings.Contains(usage, "[=true|false]") {
			t.Errorf("%s: flags: got\n%s\nwant switches without their values", path, usage)
		}
		ofItself := false
		for line := range strings.Lines(command.Example) {
			line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "sudo "), " # ")
			args := shlex.Split(line)
			if len(args) == 0 || args[0] != "mhmig" {
				t.Errorf("%s: example %q: want a command line of mhmig", path, line)
				continue
			}
			named, err := checkLine(args[1:])
			if err != nil {
				t.Errorf("%s: example %s: %v", path, line, err)
			}
			ofItself = ofItself || strings.HasPrefix(named, path)
		}
		if !ofItself {
			t.Errorf("%s: has no example", path)
		}
	}
}

// checkLine checks a command line's command, flags and number of arguments, and
// returns the command's name.
func checkLine(args []string) (string, error) {
	command, rest, err := newRootCommand().Find(args)
	if err != nil {
		return "", err
	}
	if err := command.ParseFlags(rest); err != nil {
		return "", err
	}
	return command.CommandPath(), command.ValidateArgs(command.Flags().Args())
}

func allCommands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, below := range c.Commands() {
		if !below.Hidden {
			all = append(all, allCommands(below)...)
		}
	}
	return all
}
