// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/debian"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/terminal"
)

// requirement is a program that this machine needs, with its Debian package.
type requirement struct {
	program, packageName string
	netns                bool   // only for labs of network namespaces
	guest                string // only to build this guest; "": always
	user                 bool   // only where not root
}

// The guests that bootstrap builds.
const (
	guestJeOS   = "jeos"
	guestDebian = "debian"
)

var requirements = []requirement{
	{program: "qemu-system-x86_64", packageName: "qemu-system-x86"},
	{program: "qemu-img", packageName: "qemu-utils"},
	{program: "sshd", packageName: "openssh-server", netns: true},
	{program: "ip", packageName: "iproute2", netns: true},
	{program: "nft", packageName: "nftables", netns: true},
	{program: "mmdebstrap", packageName: "mmdebstrap", guest: guestDebian},
	{program: "mke2fs", packageName: "e2fsprogs", guest: guestDebian},
	{program: "newuidmap", packageName: "uidmap", guest: guestDebian, user: true},
}

func newBootstrapCommand() *cobra.Command {
	var install, netns, quiet bool
	guest := guestJeOS
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

Programs are only installed with --install, by apt-get, with sudo where not
root. Missing programs are listed, and the exit code is 3.

With --hosts, prepare these hosts instead: of what mhmig check finds, install the
missing programs and make images_base_dir, if --install is given, by root or by a
sudo that asks for no password; else say what would be done, and the exit code is 3
if runs fail without it. What is installed stays.`,
		Example: `  mhmig bootstrap
  mhmig bootstrap --install
  mhmig bootstrap --guest debian --install
  mhmig bootstrap --hosts host1,host2 --install
  mhmig bootstrap --kernel /boot/vmlinuz-R --modules /lib/modules/R --busybox ./busybox --shell /bin/dash`,
		Args: arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := checkGuestFlags(guest, options); err != nil {
				return err
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
			build := func(ctx context.Context) error { return buildJeOS(ctx, options, log) }
			needs := needed{netns: netns, guest: guest}
			if guest == guestDebian {
				image, err := debian.Find(debian.Options{})
				if err == nil {
					log.Info("guest image is built already", "folder", filepath.Dir(image.Disk))
					needs.guest, build = "", func(context.Context) error { return nil }
				} else {
					build = func(ctx context.Context) error { return buildDebian(ctx, log) }
				}
			}
			missing := missingPackages(needs, log)
			if install && len(missing) > 0 {
				if err := installPackages(command.Context(), missing, command.InOrStdin(), out, log); err != nil {
					return interruptedOr(command.Context(), exit.Hosts.Wrap(err))
				}
				missing = missingPackages(needs, log)
			}
			var err error
			if guest == guestJeOS || len(missing) == 0 { // JeOS needs none of them to be built
				err = build(command.Context())
			}
			if len(missing) > 0 {
				err = errors.Join(err, fmt.Errorf("packages are missing; install them: %s", shellLine(installCommand(missing, os.Geteuid()))))
			}
			if err != nil {
				return interruptedOr(command.Context(), exit.Hosts.Wrap(err))
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.BoolVar(&install, "install", false, "install missing programs with apt-get")
	flags.BoolVar(&netns, "netns", false, "also check for the programs that netns labs need")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print only warnings and errors")
	flags.StringVar(&guest, "guest", guestJeOS, "which `guest` to build: jeos or debian")
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
	ofImage := []string{"netns", "guest", "kernel", "modules", "busybox", "shell"}
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
	return checkHostFlags(flags, h.hosts, &h.lab)
}

// mend prepares the hosts, and prints what is still to be done.
func (h *hostsFlags) mend(command *cobra.Command, log *slog.Logger, install bool) error {
	q, err := h.request()
	if err != nil {
		return err
	}
	report, err := controller.Fix(command.Context(), q, h.sinks(command), log, install)
	if err != nil {
		return interruptedOr(command.Context(), err)
	}
	err = flushed(command, func(out io.Writer) error {
		report.WriteText(out, terminal.Width(os.Stdout), terminal.Coloured(os.Stdout))
		return nil
	})
	return failedChecks(report, err)
}

// buildJeOS makes JeOS, or finds it.
func buildJeOS(ctx context.Context, o jeos.Options, log *slog.Logger) error {
	o.Logger = log
	image, err := jeos.Build(ctx, o)
	if err == nil {
		log.Info("guest image is ready", "kernel", image.Kernel, "initrd", image.Initrd)
	}
	return err
}

// buildDebian makes the Debian guest.
func buildDebian(ctx context.Context, log *slog.Logger) error {
	image, err := debian.Build(ctx, debian.Options{Logger: log})
	if err == nil {
		log.Info("guest image is ready", "disk", image.Disk, "kernel", image.Kernel, "initrd", image.Initrd)
	}
	return err
}

// checkGuestFlags rejects an unknown guest, and an incomplete set of the user's own files
// of JeOS.
func checkGuestFlags(guest string, o jeos.Options) error {
	if guest != guestJeOS && guest != guestDebian {
		return wrongArgument("--guest: got %s, want %s or %s", guest, guestJeOS, guestDebian)
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
	if len(given) > 0 && guest != guestJeOS {
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

// needed says which requirements there are besides QEMU's.
type needed struct {
	netns bool   // those of labs of network namespaces
	guest string // those of building this guest
}

// missingPackages logs whether each requirement is installed, and returns the packages
// of those that are not.
func missingPackages(n needed, log *slog.Logger) []string {
	var missing []string
	for _, r := range requirements {
		if r.netns && !n.netns || r.guest != "" && r.guest != n.guest || r.user && os.Geteuid() == 0 {
			continue
		}
		path, err := findProgram(r.program)
		if err != nil {
			log.Warn("program is missing", "program", r.program, "package", r.packageName)
			missing = append(missing, r.packageName)
			continue
		}
		log.Info("program found", "program", path)
	}
	return missing
}

// findProgram also looks in the sbin folders, which may not be in the user's PATH.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(dir + "/" + name)
		}
	}
	return path, err
}

// installPackages runs apt-get. It updates the package lists only when the first try
// fails: they may be missing or old.
func installPackages(ctx context.Context, packages []string, stdin io.Reader, out io.Writer, log *slog.Logger) error {
	command := installCommand(packages, os.Geteuid())
	for _, program := range command[:slices.Index(command, "install")] {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed; install these packages: %s", program, strings.Join(packages, " "))
		}
	}
	run := func(args []string) error {
		log.Info("running", "command", shellLine(args))
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, out
		return cmd.Run()
	}
	err := run(command)
	if err != nil && ctx.Err() == nil {
		update := append(slices.Clone(command[:slices.Index(command, "install")]), "update")
		if err := run(update); err != nil {
			log.Warn("package lists were not updated", "error", err)
		}
		err = run(command)
	}
	if err != nil {
		return fmt.Errorf("install %s: %s: %w", strings.Join(packages, " "), shellLine(command), err)
	}
	return nil
}

// installCommand is the command line that installs packages.
func installCommand(packages []string, euid int) []string {
	command := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
	if euid != 0 {
		command = append([]string{"sudo"}, command...)
	}
	return command
}

// shellLine is a command as typed in a shell; none of ours needs quotes.
func shellLine(args []string) string { return strings.Join(args, " ") }
