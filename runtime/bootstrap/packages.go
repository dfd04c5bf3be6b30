// SPDX-License-Identifier: Apache-2.0

package bootstrap

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// requirement is a program that this machine needs, with its Debian package.
type requirement struct {
	program, packageName string
	netns                bool   // only for labs of network namespaces
	guest                string // only to build this guest; "": always
	user                 bool   // only where not root
}

var requirements = []requirement{
	{program: "qemu-system-x86_64", packageName: "qemu-system-x86"},
	{program: "qemu-img", packageName: "qemu-utils"},
	{program: "sshd", packageName: "openssh-server", netns: true},
	{program: "ip", packageName: "iproute2", netns: true},
	{program: "nft", packageName: "nftables", netns: true},
	{program: "mmdebstrap", packageName: "mmdebstrap", guest: Debian},
	{program: "mke2fs", packageName: "e2fsprogs", guest: Debian},
	{program: "newuidmap", packageName: "uidmap", guest: Debian, user: true},
}

// missingPackages logs whether each requirement is installed, and returns the packages
// of those that are not. Guest is the one that is to be built; "" is none.
func (m *Machine) missingPackages(guest string) []string {
	var missing []string
	for _, r := range requirements {
		if r.netns && !m.Netns || r.guest != "" && r.guest != guest || r.user && os.Geteuid() == 0 {
			continue
		}
		path, err := findProgram(r.program)
		if err != nil {
			m.Log.Warn("program is missing", "program", r.program, "package", r.packageName)
			missing = append(missing, r.packageName)
			continue
		}
		m.Log.Info("program found", "program", path)
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

// install runs apt-get. It updates the package lists only when the first try fails: they
// may be missing or old.
func (m *Machine) install(ctx context.Context, packages []string) error {
	command := installCommand(packages, os.Geteuid())
	for _, program := range command[:slices.Index(command, "install")] {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed; install these packages: %s", program, strings.Join(packages, " "))
		}
	}
	err := m.run(ctx, command)
	if err != nil && ctx.Err() == nil {
		update := append(slices.Clone(command[:slices.Index(command, "install")]), "update")
		if err := m.run(ctx, update); err != nil {
			m.Log.Warn("package lists were not updated", "error", err)
		}
		err = m.run(ctx, command)
	}
	if err != nil {
		return fmt.Errorf("install %s: %s: %w", strings.Join(packages, " "), strings.Join(command, " "), err)
	}
	return nil
}

// run runs a command that may ask the user for a password.
func (m *Machine) run(ctx context.Context, args []string) error {
	m.Log.Info("running", "command", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.Stdin, m.Out, m.Out
	return cmd.Run()
}

// installCommand is the command line that installs packages; no part of it needs quotes
// in a shell.
func installCommand(packages []string, euid int) []string {
	command := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
	if euid != 0 {
		command = append([]string{"sudo"}, command...)
	}
	return command
}
