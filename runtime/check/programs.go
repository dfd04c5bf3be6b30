// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/vm"
)

// commandTimeout limits short commands on a host.
const commandTimeout = 30 * time.Second

// tool is a program that runs call on hosts, with its Debian package.
type tool struct {
	name, pkg string
	optional  string // what it is needed for; "": for all runs
}

var tools = []tool{
	{name: "cat", pkg: "coreutils"},
	{name: "cut", pkg: "coreutils"},
	{name: "head", pkg: "coreutils"},
	{name: "id", pkg: "coreutils"},
	{name: "mkdir", pkg: "coreutils"},
	{name: "mktemp", pkg: "coreutils"},
	{name: "rm", pkg: "coreutils"},
	{name: "sleep", pkg: "coreutils"},
	{name: "sort", pkg: "coreutils"},
	{name: "stat", pkg: "coreutils"},
	{name: "tail", pkg: "coreutils"},
	{name: "timeout", pkg: "coreutils"},
	{name: "tr", pkg: "coreutils"},
	{name: "uname", pkg: "coreutils"},
	{name: "grep", pkg: "grep"},
	{name: "sed", pkg: "sed"},
	{name: "setsid", pkg: "util-linux"},
	{name: "nft", pkg: "nftables", optional: "host.block_port"},
}

// neededTools are the tools and the QEMU programs that the variants need of a host.
func (n *needs) neededTools() []tool {
	needed := slices.Clone(tools)
	var files []string
	for _, program := range n.programs() {
		files = withNew(files, program.Files()...)
	}
	for _, file := range append(files, n.imgs...) {
		pkg := vm.DebianPackage(file)
		if dir := path.Dir(file); dir != "." && dir != "/usr/bin" { // a package would not put it there
			pkg = ""
		}
		needed = append(needed, tool{name: file, pkg: pkg})
	}
	if len(n.bridges) > 0 {
		needed = append(needed, tool{name: "ip", pkg: "iproute2"})
	}
	return needed
}

// programsInstalled looks for the programs that mhmig runs on the host, and runs its QEMUs.
// That commands run at all, connect has shown.
func programsInstalled(ctx context.Context, m *machine) finding {
	needed := m.needs.neededTools()
	missing, err := findMissing(ctx, m.h, needed)
	if err != nil {
		return failBy(err)
	}
	if len(missing) > 0 {
		return judgeMissing(missing, m.facts.User == "root")
	}
	if _, err := m.h.Stat(ctx, "/"); err != nil { // by SFTP, as files are transferred
		return fail(err.Error(), "install openssh-sftp-server, and let sshd_config have: Subsystem sftp internal-sftp")
	}
	var versions []string
	for _, program := range m.needs.programs() {
		q, err := m.c.vms.Facts(ctx, m.h, program)
		if err != nil {
			return fail(err.Error(), "install a QEMU that runs there, or set param qemu_binary")
		}
		versions = append(versions, fmt.Sprintf("%s %s", program.Binary, q.Version))
	}
	return ok("%s", strings.Join(append(versions, fmt.Sprintf("%d programs", len(needed))), ", "))
}

// programs are the QEMUs, without duplicates.
func (n *needs) programs() (all []qemu.Program) {
	for _, e := range n.emulators {
		all = withNew(all, e.program)
	}
	return all
}

// programNames are the binaries of the QEMUs.
func (n *needs) programNames() (names []string) {
	for _, program := range n.programs() {
		names = withNew(names, program.Binary)
	}
	return names
}

// findMissing returns the programs that are not installed.
func findMissing(ctx context.Context, h *host.Host, needed []tool) (missing []tool, err error) {
	var script strings.Builder
	for i, t := range needed {
		fmt.Fprintf(&script, "command -v -- %s >/dev/null || echo %d\n", shellescape.Quote(t.name), i)
	}
	out, err := h.Run(ctx, host.Command{Script: script.String() + "true", Timeout: commandTimeout})
	if err != nil {
		return nil, err
	}
	absent := strings.Fields(string(out.Stdout))
	for i, t := range needed {
		if slices.Contains(absent, fmt.Sprint(i)) {
			missing = append(missing, t)
		}
	}
	return missing, nil
}

// judgeMissing is the verdict on missing programs. A program without a package, such as
// one at a path of the user's own, cannot be installed by mhmig.
func judgeMissing(missing []tool, root bool) finding {
	f := finding{verdict: Warning}
	packages := map[string]bool{}
	var names []string
	for _, t := range missing {
		if t.optional == "" {
			f.verdict = Failed
			names = append(names, t.name)
		} else {
			names = append(names, fmt.Sprintf("%s (for %s)", t.name, t.optional))
		}
		if t.pkg != "" {
			packages[t.pkg] = true
		}
	}
	f.found = "missing: " + strings.Join(names, ", ")
	if len(packages) == 0 {
		f.fix = "install it there, or set the param that names it"
		return f
	}
	names = slices.Sorted(maps.Keys(packages))
	f.fix = asRoot("apt-get install --yes --no-install-recommends "+strings.Join(names, " "), root)
	f.fixScript = fmt.Sprintf(installPackages, shellescape.QuoteCommand(names))
	return f
}

// installPackages installs the packages %[1]s. It updates the package lists only when the
// first try fails: they may be missing or old. Two hosts may be one machine, which has
// one lock.
const installPackages = asRootScript + `
get() { as_root apt-get -o DPkg::Lock::Timeout=300 "$@"; }
try() { get install --yes --no-install-recommends %[1]s; }
try || { get update && try; }`

// build is a QEMU binary of a version.
type build struct{ binary, version string }

// equalVersions compares the QEMUs of the hosts: an older one may not understand what a
// newer one sends.
func equalVersions(ctx context.Context, c *checker) finding {
	hosts := map[build][]string{}
	for _, m := range c.reached() {
		for _, program := range m.needs.programs() {
			facts, err := c.vms.Facts(ctx, m.h, program)
			if err != nil {
				continue // programsInstalled reports it
			}
			q := build{program.Binary, facts.Version.String()}
			hosts[q] = append(hosts[q], m.name())
		}
	}
	if len(hosts) == 0 {
		return skip("no QEMU is found, or needed")
	}
	return judgeVersions(hosts)
}

// judgeVersions is the verdict on the QEMUs and the hosts that have them.
func judgeVersions(hosts map[build][]string) finding {
	var parts []string
	binaries := map[string]bool{}
	for q, names := range hosts {
		parts = append(parts, fmt.Sprintf("%s %s on %s", q.binary, q.version, strings.Join(names, ", ")))
		binaries[q.binary] = true
	}
	slices.Sort(parts)
	found := strings.Join(parts, "; ")
	if len(hosts) > len(binaries) {
		return warn(found, "install one version everywhere: a guest may not migrate to the older one; else set machine_type to a type that all support")
	}
	return ok("%s", found)
}
