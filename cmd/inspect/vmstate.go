// SPDX-License-Identifier: Apache-2.0

// Package inspect has the commands that look into QEMU: at what it sends of a guest's
// state, and at what it accepts for a migration.
package inspect

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/vmstate"
)

// Formats are the values of --format of all commands here.
var Formats = []string{"text", "json"}

// formatFlag adds --format, whose value is checked before the command runs.
func formatFlag(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", Formats[0], Formats[0]+" or "+Formats[1])
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(Formats, *format) {
			return usage.WrongValue("format", *format, Formats...)
		}
		return run(c, args)
	}
}

// write writes a result: text by its function, else value as JSON.
func write(c *cobra.Command, format string, value any, text func(io.Writer) error) error {
	var b bytes.Buffer
	if format == Formats[0] {
		if err := text(&b); err != nil {
			return err
		}
	} else if err := printable.WriteJSON(&b, value); err != nil {
		return err
	}
	_, err := c.OutOrStdout().Write(b.Bytes())
	return err
}

// NewVMStateCommand returns the command vmstate.
func NewVMStateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "vmstate",
		Short: "Show the devices' state in a saved migration stream, and compare two",
		Long: `Read a migration stream that QEMU has saved in a file, by QMP's migrate with the URI
"exec:cat >FILE" or, from QEMU 8.2 on, "file:FILE". QEMU describes at its end what it
has sent: each device with the version of its state, and all fields with their sizes.
If two QEMUs differ in that, the one may be unable to load what the other sends.
A stream of "file:FILE,offset=N", or of mig_file_offset, is read with --offset N.

What "qemu-system-x86_64 -machine TYPE -dump-vmstate FILE" writes is read too: what each
kind of device that this QEMU has would send, without a guest.`,
		Example: "  mhmig vmstate show vm1.state\n  mhmig vmstate diff old.state new.state",
		Args:    usage.RequireSubcommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newShowCommand(), newDiffCommand())
	return c
}

// offsetFlag adds --offset.
func offsetFlag(c *cobra.Command, offset *string) {
	c.Flags().StringVar(offset, "offset", "0", "where a stream begins in its file, in `BYTES` (512, 64M), as the param mig_file_offset has it")
}

// openStream reads a file whose stream begins at an offset, the value of --offset.
func openStream(c *cobra.Command, name, offset string) (*vmstate.Stream, error) {
	n, err := cartesian.Params{"offset": offset}.Size("offset", 0, 1)
	if err != nil {
		return nil, fmt.Errorf("--offset %s: want a size (512, 64M, 1.5G)", offset)
	}
	return vmstate.Open(c.Context(), name, n)
}

func newShowCommand() *cobra.Command {
	var format, offset string
	c := &cobra.Command{
		Use:   "show FILE [DEVICE…]",
		Short: "Show what a saved migration stream contains",
		Long: `Show what a saved migration stream contains: the RAM blocks, and each device with its
fields, their types, sizes and values. A field whose type only QEMU knows is shown in
hexadecimal. DEVICE is a device's name, such as 0000:00:03.0/virtio-net or virtio-net.`,
		Example: "  mhmig vmstate show vm1.state\n  mhmig vmstate show vm1.state virtio-net cpu\n  mhmig vmstate show vm1.state --format json\n  mhmig vmstate show vm1.state --offset 1M",
		Args:    usage.Arguments(1, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := openStream(c, args[0], offset)
			if err == nil {
				err = s.Only(args[1:]...)
			}
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			return write(c, format, s, func(w io.Writer) error { return s.WriteText(w, len(args) == 1) })
		},
	}
	formatFlag(c, &format)
	offsetFlag(c, &offset)
	return c
}

// diffReport is the JSON of vmstate diff.
type diffReport struct {
	Old         string               `json:"old"`
	New         string               `json:"new"`
	Differences []vmstate.Difference `json:"differences"`
}

func newDiffCommand() *cobra.Command {
	var format, offset string
	c := &cobra.Command{
		Use:   "diff FILE1 FILE2",
		Short: "Compare the formats of the devices' state in two saved migration streams",
		Long: `Compare two saved migration streams, or two files of -dump-vmstate, in what they have,
not in the values: machine type, RAM blocks, devices, versions, subsections, and fields
with their types and sizes.

Exit status: 0 no difference, 1 differences, 2 a file cannot be read.`,
		Example: "  mhmig vmstate diff old.state new.state\n  mhmig vmstate diff old.json new.json --format json",
		Args:    usage.Arguments(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			older, err := openStream(c, args[0], offset)
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			newer, err := openStream(c, args[1], offset)
			if err != nil {
				return exit.Usage.Wrap(err)
			}
			differences, err := vmstate.Compare(older, newer)
			if err != nil {
				return exit.Usage.Wrap(fmt.Errorf("%s, %s: %w", args[0], args[1], err))
			}
			report := diffReport{args[0], args[1], append([]vmstate.Difference{}, differences...)}
			err = write(c, format, report, func(w io.Writer) error {
				for _, d := range differences {
					fmt.Fprintln(w, d.Text(args[0], args[1]))
				}
				fmt.Fprintln(w, vmstate.Summary(older, newer, differences))
				return nil
			})
			if err == nil && len(differences) > 0 {
				err = &exit.Error{Code: exit.Failed} // they are listed
			}
			return err
		},
	}
	formatFlag(c, &format)
	offsetFlag(c, &offset)
	return c
}
