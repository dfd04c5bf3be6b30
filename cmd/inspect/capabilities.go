// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/capability"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/lab"
	"github.com/mhmig/mhmig/runtime/qemu"
)

// NewQEMUCommand returns the command qemu.
func NewQEMUCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "qemu",
		Short:   "Show what a QEMU on this machine is able to do",
		Example: "  mhmig qemu capabilities",
		Args:    usage.RequireSubcommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCapabilitiesCommand())
	return c
}

// capabilitiesFlags are the flags of qemu capabilities.
type capabilitiesFlags struct {
	binary, diff, format string
	timeout              time.Duration
}

func newCapabilitiesCommand() *cobra.Command {
	var f capabilitiesFlags
	c := &cobra.Command{
		Use:   "capabilities",
		Short: "Show which migration capabilities and parameters a QEMU accepts",
		Long: `Show which migration capabilities a QEMU accepts, each alone and each two together, on
the source and on the destination; if it refuses them, its own reason. Of pairs, those
are shown of which either is accepted alone but both are not, or one only with the
other. Then its migration parameters, with their defaults and values.

QEMU is started on this machine without a guest, and asked over QMP. What it accepts may
also depend on the host: its kernel, and whether KVM works. A QEMU is named by its path,
which may also be that of a script that runs it, as a program, or by the version by which
mhmig bootstrap --qemu has got it, such as 10.0.

With --diff: how the QEMU OTHER, as the new one, differs from the first.

Exit status: 0, 1 with --diff if they differ, 2 wrong arguments, 3 a QEMU cannot be
asked.`,
		Example: `  mhmig qemu capabilities
  mhmig qemu capabilities --binary /opt/qemu/bin/qemu-system-x86_64 --format json
  mhmig qemu capabilities --binary 7.2 --diff 10.0`,
		Args: usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	flags := c.Flags()
	flags.StringVar(&f.binary, "binary", "qemu-system-x86_64", "the `QEMU` to ask")
	flags.StringVar(&f.diff, "diff", "", "compare it with the QEMU `OTHER`")
	flags.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long each QEMU may take: `TIME`, such as 1m")
	formatFlag(c, &f.format)
	for _, name := range []string{"binary", "diff"} { // diff of other commands is a config
		_ = c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		})
	}
	return c
}

// capabilitiesDiff is the JSON of --diff.
type capabilitiesDiff struct {
	Old     *capability.Map     `json:"old"`
	New     *capability.Map     `json:"new"`
	Changes []capability.Change `json:"changes"`
}

func (f *capabilitiesFlags) run(c *cobra.Command) error {
	if f.timeout <= 0 {
		return &exit.ArgumentError{Err: fmt.Errorf("--timeout %s: want more than 0", f.timeout)}
	}
	older, err := f.probe(c.Context(), f.binary)
	if err != nil {
		return err
	}
	if f.diff == "" {
		return write(c, f.format, older, older.WriteText)
	}
	newer, err := f.probe(c.Context(), f.diff)
	if err != nil {
		return err
	}
	changes := capability.Compare(older, newer)
	report := capabilitiesDiff{older, newer, append([]capability.Change{}, changes...)}
	err = write(c, f.format, report, func(w io.Writer) error { return capability.WriteChanges(w, older, newer, changes) })
	if err == nil && len(changes) > 0 {
		err = &exit.Error{Code: exit.Failed} // they are listed
	}
	return err
}

func (f *capabilitiesFlags) probe(ctx context.Context, name string) (*capability.Map, error) {
	program, err := named(name)
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	late := fmt.Errorf("%s has not answered all questions within --timeout %s", program, f.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, late)
	defer cancel()
	m, err := capability.Probe(ctx, program)
	return m, exit.Hosts.Default(err)
}

// named is the QEMU that is called so: a version of mhmig's cache, or a program.
func named(name string) (qemu.Program, error) {
	if !slices.Contains(qemu.Versions(), name) {
		return qemu.Program{Binary: name}, nil
	}
	dir, err := lab.VersionsFolder()
	if err != nil {
		return qemu.Program{}, err
	}
	root := filepath.Join(dir, name)
	if _, err := os.Stat(root); err != nil {
		return qemu.Program{}, fmt.Errorf("QEMU %s: %w; mhmig bootstrap --qemu %s gets it", name, err, name)
	}
	return qemu.In(root, name), nil
}
