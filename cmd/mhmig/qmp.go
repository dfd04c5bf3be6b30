// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/qmp"
)

func newQMPCommand() *cobra.Command {
	var a attachFlags
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "qmp VM [COMMAND [KEY=VALUE…]]",
		Short: "Send QMP commands to a VM of a running or kept run",
		Long: `Send commands to a VM's second QMP monitor, which is for interactive use. A command
is JSON, {"execute": "query-status"}, or short: query-status, or
migrate-set-parameters max-bandwidth=1000000 (a value is JSON, else a string).
Tab completes names, Ctrl-D exits. A command given as arguments is executed, and its
reply printed. Otherwise, without a terminal, each line of standard input is a
command, and each reply and event one line of JSON. The exit status is 1 when QEMU
has refused a command.`,
		Example: "  mhmig qmp vm1\n  mhmig qmp vm1 --host host2 --variant 001\n  mhmig qmp vm1 query-status\n  mhmig qmp vm1 migrate-set-parameters max-bandwidth=1000000",
		Args:    usage.Arguments(1, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			vm, err := a.find(c.Context(), args[0], c.ErrOrStderr())
			if err != nil {
				return err
			}
			return vm.TalkQMP(c.Context(), args[1:], timeout)
		},
	}
	a.flags(c)
	c.Flags().DurationVar(&timeout, "timeout", qmp.DefaultTimeout, "how long QEMU may take for one command: `TIME`, such as 5m")
	return c
}
