// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/check"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/controller/display"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/interrupt"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// hostsFlags are the flags of commands that look at hosts without running anything there.
type hostsFlags struct {
	configFlags
	hosts       []string
	lab         hostflags.Lab
	results     string
	maxVariants int
}

func (h *hostsFlags) flags(flags *pflag.FlagSet) {
	h.configFlags.flags(flags)
	flags.StringVar(&h.config, "config", "", "config `FILE` (default: mhmig's own)")
	hostflags.AddHosts(flags, &h.hosts)
	flags.StringVar(&h.results, "results", resultsDir, "`DIR` that says for mhmig cleanup what is on the hosts meanwhile")
	maxVariantsFlag(flags, &h.maxVariants)
}

// request is the controller's request.
func (h *hostsFlags) request() (controller.Request, error) {
	set, err := h.libraries()
	return controller.Request{
		Config: h.config, Extras: h.extras(), Options: h.options(), MaxVariants: h.maxVariants,
		Hosts: h.hosts, Lab: controller.Lab{Options: h.lab.Options(), Own: h.lab.WantsOwn()},
		Results: h.results, DefaultConfig: shippedConfig, Libraries: set,
	}, err
}

// checkFlags is one call of mhmig check: its flags.
type checkFlags struct {
	hostsFlags
	format string
}

func newCheckCommand() *cobra.Command {
	var c checkFlags
	command := &cobra.Command{
		Use:   "check",
		Short: "Check whether hosts have what runs need",
		Long: `Check whether the hosts of --hosts, else those of a lab as for mhmig exec, have what
the variants of the config need. Each check has a verdict, and says what to do:

  ssh            a login without a password, and how it was done
  programs       QEMU and the other programs that mhmig runs there
  accelerator    a guest runs under KVM
  folder         images_base_dir is there, writable, and mounted with safe options
  images         the files that params name are there
  memory, cores  enough for the VMs of the largest variant
  disk           room at images_base_dir and state_dir
  leftovers      of other runs: processes, folders, firewall tables
  shared-folder  each host sees what the others write to images_base_dir
  firewall       QEMUs connect to each other, both ways, as in a migration
  versions       all hosts have the same QEMU
  clocks         at most a second apart
  guest-image    JeOS, or the Debian of bootstrap, is built on this machine

What is made on the hosts is removed. mhmig bootstrap --hosts fixes what it can.

Exit status: 0 no check failed, though some may warn, 2 wrong arguments or an error
in a config, 3 a check failed, 130 interrupted.`,
		Example: `  mhmig check --hosts host1,host2 --config my.cfg --filter 'only RHEL.6.4'
  mhmig check --lab embedded --format json`,
		Args: usage.Arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := c.check(command.Flags()); err != nil {
				return wrongArguments(err)
			}
			interrupt.IgnoreBrokenPipe()
			return c.run(command)
		},
	}
	flags := command.Flags()
	c.flags(flags)
	c.lab.Add(flags)
	flags.StringVar(&c.format, "format", textFormat, "text or json")
	return command
}

// check rejects invalid flags.
func (c *checkFlags) check(flags *pflag.FlagSet) error {
	if c.format != textFormat && c.format != "json" {
		return usage.WrongValue("format", c.format, textFormat, "json")
	}
	if c.maxVariants < 1 {
		return fmt.Errorf("--max-variants %d: want 1 or more", c.maxVariants)
	}
	return hostflags.Check(flags, c.hosts, &c.lab)
}

func (c *checkFlags) run(command *cobra.Command) error {
	q, err := c.request()
	if err != nil {
		return err
	}
	report, err := controller.Check(command.Context(), q, display.Messages(command.ErrOrStderr()), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = flushed(command, func(out io.Writer) error {
		if c.format == "json" {
			return printable.WriteJSON(out, report)
		}
		report.WriteText(out, terminal.Width(os.Stdout), terminal.Coloured(os.Stdout))
		return nil
	})
	return failedChecks(report, err)
}

// failedChecks is the error of a command whose checks failed, which are printed already.
func failedChecks(report check.Report, err error) error {
	if err == nil && report.Count(check.Failed) > 0 {
		return &exit.Error{Code: exit.Hosts}
	}
	return err
}
