// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/cmd/hostflags"
	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/bootstrap"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/controller/display"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/terminal"
)

func newBootstrapCommand() *cobra.Command {
	var install, netns, quiet bool
	var versions []string
	guest := bootstrap.JeOS
	var options jeos.Options
	var hosts hostsFlags
	command := &cobra.Command{
		Use:   "bootstrap",
		Short: "Prepare this machine, or hosts: programs, and the guest image or folder",
		Long: `Prepare this machine for running scenarios on the lab: check for the programs
that it needs, and build JeOS, mhmig's small guest.

JeOS is made of the distribution's kernel, busybox and a shell, whose packages
are downloaded and unpacked in mhmig's cache (MHMIG_CACHE, or mhmig in the
user's cache folder) and not installed, and of a small program that is embedded in
mhmig. No root is needed. Existing files are kept: a second call is quick.

--guest debian builds another guest beside it: a small Debian 12 with systemd and
OpenSSH, for running scenarios on a real distribution, as with --filter 'only
Debian'. Its packages are installed by mmdebstrap in an image in mhmig's cache, for
which a user who is not root needs a range in /etc/subuid. The login is root, the
password mhmig.

--qemu 10.0 gets QEMU 10.0 besides, for tests between versions by the param
qemu_version: the packages of the Debian release that has it, with all libraries that
they need, are unpacked in mhmig's cache. It may be repeated.

Programs are only installed with --install, by apt-get, with sudo where not
root. Missing programs are listed, and the exit code is 3.

With --hosts, prepare these hosts instead: of what mhmig check finds, install the
missing programs and make images_base_dir, if --install is given, by root or by a
sudo that asks for no password; else say what would be done, and the exit code is 3
if runs fail without it. What is installed stays.`,
		Example: `  mhmig bootstrap
  mhmig bootstrap --install
  mhmig bootstrap --guest debian --install
  mhmig bootstrap --qemu 5.2 --qemu 10.0
  mhmig bootstrap --hosts host1,host2 --install
  mhmig bootstrap --kernel /boot/vmlinuz-R --modules /lib/modules/R --busybox ./busybox --shell /bin/dash`,
		Args: usage.Arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := checkGuestFlags(guest, options); err != nil {
				return err
			}
			for _, version := range versions {
				if !slices.Contains(qemu.Versions(), version) {
					return wrongArgument("--qemu: got %s, want one of %s", version, strings.Join(qemu.Versions(), ", "))
				}
			}
			if err := hosts.checkBootstrap(command.Flags()); err != nil {
				return wrongArguments(err)
			}
			level := slog.LevelInfo
			if quiet {
				level = slog.LevelWarn
			}
			out := command.ErrOrStderr()
			file, isFile := out.(*os.File)
			log := slog.New(tint.NewTextHandler(out, &tint.Options{
				Level: level, TimeFormat: time.TimeOnly, NoColor: !isFile || !terminal.Coloured(file),
			}))
			if len(hosts.hosts) > 0 {
				return hosts.mend(command, log, install)
			}
			machine := bootstrap.Machine{
				Guest: guest, Options: options, Netns: netns, Install: install, QEMUs: versions,
				Stdin: command.InOrStdin(), Out: out, Log: log,
			}
			if err := machine.Prepare(command.Context()); err != nil {
				return interruptedOr(command.Context(), exit.Hosts.Wrap(err))
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.BoolVar(&install, "install", false, "install missing programs with apt-get")
	flags.BoolVar(&netns, "netns", false, "also check for the programs that netns labs need")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print only warnings and errors")
	flags.StringVar(&guest, "guest", bootstrap.JeOS, "which `guest` to build: jeos or debian")
	flags.StringSliceVar(&versions, "qemu", nil, "QEMU `VERSION` to get besides: "+strings.Join(qemu.Versions(), ", ")+"; repeatable")
	flags.StringVar(&options.Kernel, "kernel", "", "bzImage to use instead of the distribution's package")
	flags.StringVar(&options.Modules, "modules", "", "that kernel's modules: `folder` lib/modules/RELEASE")
	flags.StringVar(&options.Busybox, "busybox", "", "static busybox to use")
	flags.StringVar(&options.Shell, "shell", "", "POSIX shell without line editing to use, such as dash")
	hosts.flags(flags)
	return command
}

// checkBootstrap rejects flags of this machine's guest image together with hosts, and
// flags of the hosts' config without.
func (h *hostsFlags) checkBootstrap(flags *pflag.FlagSet) error {
	ofImage := []string{"netns", "guest", "qemu", "kernel", "modules", "busybox", "shell"}
	ofHosts := []string{"config", "filter", "param", "defaults", "lib", "results", "max-variants"}
	wrong, why := ofHosts, "is for --hosts, which is not given"
	if flags.Changed("hosts") {
		wrong, why = ofImage, "prepares this machine, --hosts others: want one or the other"
	}
	for _, name := range wrong {
		if flags.Changed(name) {
			return fmt.Errorf("--%s %s", name, why)
		}
	}
	return hostflags.Check(flags, h.hosts, &h.lab)
}

// mend prepares the hosts, and prints what is still to be done.
func (h *hostsFlags) mend(command *cobra.Command, log *slog.Logger, install bool) error {
	q, err := h.request()
	if err != nil {
		return err
	}
	report, err := controller.Fix(command.Context(), q, display.Messages(command.ErrOrStderr()), log, install)
	if err != nil {
		return interruptedOr(command.Context(), err)
	}
	err = flushed(command, func(out io.Writer) error {
		report.WriteText(out, terminal.Width(os.Stdout), terminal.Coloured(os.Stdout))
		return nil
	})
	return failedChecks(report, err)
}

// checkGuestFlags rejects an unknown guest, and an incomplete set of the user's own files
// of JeOS.
func checkGuestFlags(guest string, o jeos.Options) error {
	if guest != bootstrap.JeOS && guest != bootstrap.Debian {
		return wrongArgument("--guest: got %s, want %s or %s", guest, bootstrap.JeOS, bootstrap.Debian)
	}
	var given, missing []string
	for _, f := range []struct{ name, value string }{
		{"--kernel", o.Kernel}, {"--modules", o.Modules}, {"--busybox", o.Busybox}, {"--shell", o.Shell},
	} {
		if f.value != "" {
			given = append(given, f.name)
		} else {
			missing = append(missing, f.name)
		}
	}
	if len(given) > 0 && guest != bootstrap.JeOS {
		return wrongArgument("%s: of JeOS, but --guest is %s", strings.Join(given, ", "), guest)
	}
	if len(given) > 0 && len(missing) > 0 {
		return wrongArgument("%s: want %s with it", strings.Join(given, ", "), strings.Join(missing, ", "))
	}
	return nil
}

// interruptedOr returns why ctx ended, or err if it did not.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
