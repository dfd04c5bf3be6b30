// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newTestCommand() *cobra.Command {
	var wanted string
	var asJSON, verbose bool
	var sources configFlags
	o := scenariotest.Options{Limits: star.DefaultLimits, DefaultConfig: shippedConfig}
	command := &cobra.Command{
		Use:   "test [DIR|FILE_test.star]...",
		Short: "Test scenarios without hosts and QEMU",
		Long: `Run the tests of scenarios: the functions test_* of files called *_test.star, those
that are named, and all in folders and below; default: the working folder. A test
runs scenarios on fake hosts and guests, in virtual time, so that hours take
milliseconds; all above them, from the migration to its verdict, is as in mhmig
exec. mhmig doc fake says what can go wrong with them.

Exit status: 0 everything passed, 1 some test failed, 2 wrong arguments or an error
in a file.`,
		Example: `  mhmig test
  mhmig test scenarios --run 'cancel' -v`,
		RunE: func(command *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				args = []string{"."}
			}
			if asJSON && verbose {
				return wrongArgument("--json and --verbose: want one or the other")
			}
			if o.Timeout <= 0 {
				return wrongArgument("--timeout %v: want more than 0", o.Timeout)
			}
			if o.Wanted, err = regexp.Compile(wanted); err != nil {
				return wrongArgument("--run: %w", err)
			}
			if wanted == "" {
				o.Wanted = nil
			}
			if o.Libraries, err = sources.libraries(); err != nil {
				return err
			}
			files, err := scenariotest.Find(args)
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			out := command.OutOrStdout()
			report := func(r scenariotest.Result) { scenariotest.Write(out, r, verbose, terminal.Width(os.Stdout)) }
			if asJSON {
				encoder := json.NewEncoder(out)
				encoder.SetEscapeHTML(false)
				report = func(r scenariotest.Result) { _ = encoder.Encode(r) } // out keeps its error
			}
			summary, err := scenariotest.Run(command.Context(), files, o, report)
			switch {
			case err != nil:
				return exit.Usage.Default(err)
			case summary.Total() == 0:
				return exit.Usage.Wrap(fmt.Errorf("no test to run: want functions test_* in files *%s, which --run matches", scenariotest.Suffix))
			}
			fmt.Fprintln(command.ErrOrStderr(), summary)
			if summary.Failed > 0 {
				return &exit.Error{Code: exit.Failed} // they are listed
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&wanted, "run", "", "run only tests whose FILE:NAME the regular `EXPRESSION` matches")
	flags.BoolVar(&asJSON, "json", false, "write a JSON line for each test instead of text")
	flags.BoolVarP(&verbose, "verbose", "v", false, "show the runs and the output of all tests, not only of those that fail")
	flags.DurationVar(&o.Timeout, "timeout", 30*time.Second, "end a test after this `TIME`, of real time")
	flags.StringArrayVar(&sources.folders, "lib", nil, "use the library in a folder, as it is, in place of the one that mhmig.toml names: `NAME=PATH`; repeatable")
	return command
}
