// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
)

func newRecordCommand() *cobra.Command {
	var output string
	var sources configFlags
	command := &cobra.Command{
		Use:   "record RUN [VARIANT]",
		Short: "Make a test of a run that was recorded",
		Long: `Make a test for mhmig test of a run's results: one for each variant, or for the one
that is named. It runs the same scenario with the same params, and the fake QEMUs
do again what the real ones did by their QMP transcripts: how the migrations went,
which commands were refused, the events of faults. What the guests did is not
recorded: add it by fake.vm. RUN is a results folder, or one in ` + resultsDir + `.`,
		Example: `  mhmig record latest
  mhmig record mhmig-results/20261128T105958Z-11e9a0 with_reboot --output with_reboot_test.star`,
		Args: usage.Arguments(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			if output != "" && !strings.HasSuffix(output, scenariotest.Suffix) {
				return wrongArgument("--output %s: want a name that ends in %s", output, scenariotest.Suffix)
			}
			libraries, err := sources.libraries()
			if err != nil {
				return err
			}
			dir, err := scenariotest.RunFolder(args[0], resultsDir)
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			only := strings.Join(args[1:], "")
			text, err := scenariotest.Record(command.Context(), dir, only, output, scenariotest.Options{Libraries: libraries, DefaultConfig: shippedConfig, Limits: star.DefaultLimits})
			switch {
			case err != nil:
				return exit.Usage.Wrap(err)
			case output != "":
				return exit.Usage.Wrap(os.WriteFile(output, text, 0o644))
			}
			_, err = command.OutOrStdout().Write(text)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVarP(&output, "output", "o", "", "write to `FILE_test.star`, where the scenario is found from, instead of stdout")
	flags.StringArrayVar(&sources.folders, "lib", nil, "use the library in a folder, as it is, in place of the one that mhmig.toml names: `NAME=PATH`; repeatable")
	return command
}
