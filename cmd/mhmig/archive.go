// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/library/project"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/exit"
)

func newArchiveCommand() *cobra.Command {
	var output, config string
	c := &cobra.Command{
		Use:   "archive SCENARIO.star|CONFIG.cfg",
		Short: "Write a scenario, its libraries and configs into one file that exec runs",
		Long: `Write the project that the working directory is in, and all libraries that it needs,
into one file, which mhmig exec runs on any machine, without a network for them. The
scenario and the config belong to the project, or to a library.

The file is then read back, so that what it lacks shows here.`,
		Example: `  mhmig archive soak.star --config my.cfg -o soak.mhmig
  mhmig exec soak.mhmig --hosts host1,host2`,
		Args: usage.Arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if filepath.Ext(output) != project.ArchiveExtension {
				return wrongArgument("--output %s: want a name with %s at its end", output, project.ArchiveExtension)
			}
			var e execFlags
			e.config = config
			if err := e.setArgument(args[0]); err != nil {
				return wrongArguments(err)
			}
			p, err := wantProject(c)
			if err != nil {
				return err
			}
			call, err := p.Call(e.Scenario, e.config)
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			if err := p.Archive(c.Context(), output, call, func(file string) error { return checkArchive(c, file) }); err != nil {
				return exit.Usage.Default(err)
			}
			fmt.Fprintln(c.OutOrStdout(), "written:", output)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "the `FILE.mhmig` to write")
	c.Flags().StringVar(&config, "config", "", "config `FILE` to run the scenario with (default: mhmig's own)")
	return c
}

// checkArchive reads the scenario and the config of an archive.
func checkArchive(c *cobra.Command, file string) error {
	var e execFlags
	remove, err := e.unpack(file)
	if err != nil {
		return err
	}
	defer remove()
	if _, err := e.parse(); err != nil {
		return err
	}
	set, err := e.libraries()
	if err != nil || e.Scenario == "" {
		return err
	}
	_, err = loadScenario(c.Context(), set, star.DefaultLimits, e.Scenario)
	return exit.Usage.Wrap(err)
}

// unpack takes scenario, config and libraries from an archive, until remove is called.
func (e *execFlags) unpack(file string) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "mhmig-archive-")
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	call, err := project.Unpack(file, dir)
	if err != nil {
		remove()
		return nil, exit.Usage.Wrap(err)
	}
	e.project, e.Scenario = dir, call.Scenario
	if e.config == "" {
		e.config = call.Config
	}
	return remove, nil
}
