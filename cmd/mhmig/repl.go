// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newReplCommand() *cobra.Command {
	e := execFlags{format: textFormat, session: true}
	command := &cobra.Command{
		Use:   "repl [--hosts NAME,NAME|--lab KIND]",
		Short: "Try the language of scenarios, against hosts if you like",
		Long: `Read expressions and statements of the scenario language, and show their values.
With --hosts or --lab it is a run of one variant: env, migrate and everything else
that scenarios have work on these hosts, and what was made there is removed at the
end. Without, it is the language alone.

Tab completes names, the arrow keys fetch earlier lines. Ctrl-C ends what runs, or
drops what is typed; Ctrl-D ends the session. load reads files of the working folder
and of libraries, anew each time. Without a terminal, lines are read from standard
input.`,
		Example: "  mhmig repl\n  mhmig repl --lab embedded --param vms=vm1\n  mhmig repl --hosts host1,host2 --filter 'only JeOS'",
		Args:    usage.Arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			flags := command.Flags()
			if err := e.check(flags); err != nil {
				return wrongArguments(err)
			}
			e.keyboard = terminal.NewKeyboard(os.Stdin, os.Stdout)
			if flags.Changed("hosts") || flags.Changed("lab") || flags.Changed("lab-hosts") {
				return e.run(command.Context(), command)
			}
			for _, name := range []string{"config", "filter", "param", "defaults", "results"} {
				if flags.Changed(name) {
					return wrongArguments(fmt.Errorf("--%s is for --hosts or --lab, neither of which is given", name))
				}
			}
			libraries, err := e.libraries()
			if err != nil {
				return err
			}
			prompt, err := e.sessionPrompt(command.Context(), func(text string) string { return text })
			if err != nil {
				return err
			}
			defer prompt.Close()
			return builtins.Interact(command.Context(), prompt, libraries, star.Limits{Memory: star.DefaultLimits.Memory})
		},
	}
	flags := command.Flags()
	e.configFlags.flags(flags)
	flags.StringVar(&e.config, "config", "", "config `FILE` (default: mhmig's own)")
	hostflags.AddHosts(flags, &e.Hosts)
	e.lab.Add(flags)
	flags.StringVar(&e.Results, "results", resultsDir, "`DIR` for the folders of results")
	e.Repeat, e.MaxVariants, e.limits = 1, 1, star.Limits{Memory: star.DefaultLimits.Memory}
	return command
}

// sessionPrompt returns the prompt of a session.
func (e *execFlags) sessionPrompt(ctx context.Context, mask func(string) string) (builtins.Prompt, error) {
	prompt, err := e.keyboard.Prompt(ctx, mask)
	if err != nil {
		return nil, err
	}
	if err := prompt.KeepCtrlC(); err != nil {
		return nil, errors.Join(err, prompt.Close())
	}
	return prompt, nil
}
