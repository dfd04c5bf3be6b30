// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/result"
)

// queryTimeout limits short commands on a host: versions, files, addresses.
const queryTimeout = 30 * time.Second

// Version is a QEMU version.
type Version struct{ Major, Minor, Micro int }

// Less says whether v is older than o.
func (v Version) Less(o Version) bool {
	return slices.Compare([]int{v.Major, v.Minor, v.Micro}, []int{o.Major, o.Minor, o.Micro}) < 0
}

// String formats the version like QEMU.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// Machine is a machine type that a QEMU supports.
type Machine struct {
	Name       string // such as pc-i440fx-7.2, or an alias such as pc
	AliasOf    string // the type that an alias stands for in this QEMU
	Deprecated bool   // a later QEMU will not have it
}

// QEMU is the version and the machine types of a QEMU on a host.
type QEMU struct {
	Host     string // the host's name
	Program  qemu.Program
	Version  Version
	Release  string // what --version says of it, with the distribution's own version
	Machines []Machine
}

// Resolve returns the machine type that name, which may be an alias, stands for in
// this QEMU; false when it does not support it.
func (q QEMU) Resolve(name string) (string, bool) {
	for _, m := range q.Machines {
		if m.Name == name {
			if m.AliasOf != "" {
				return m.AliasOf, true
			}
			return m.Name, true
		}
	}
	return "", false
}

// IsDeprecated says whether a later QEMU will not have a machine type of this one.
func (q QEMU) IsDeprecated(machine string) bool {
	return slices.Contains(q.Machines, Machine{Name: machine, Deprecated: true})
}

// Facts returns the version and machine types of a QEMU on h. It queries each host and
// QEMU once. A missing binary is an error that names the Debian package; that of a
// missing qemu_version is a [MissingVersionError].
func (c *Cache) Facts(ctx context.Context, h Host, program qemu.Program) (QEMU, error) {
	return c.qemus.get(ctx, cacheKey(h, program.Command()), func(ctx context.Context) (QEMU, error) {
		out, err := h.Run(ctx, host.Command{
			Script:  findFiles(program) + fmt.Sprintf("%[1]s --version && %[1]s -machine help", program.Command()),
			Timeout: queryTimeout,
		})
		if err != nil {
			return QEMU{}, explainMissingQEMU(h, program, err)
		}
		q, err := parseFacts(string(out.Stdout))
		if err != nil {
			return QEMU{}, fmt.Errorf("%s: %s: %w", h.Name(), program, err)
		}
		q.Host, q.Program = h.Name(), program
		return q, nil
	})
}

var (
	versionLine = regexp.MustCompile(`(?m)^QEMU emulator version (\d+)\.(\d+)\.(\d+).*$`)
	aliasOf     = regexp.MustCompile(`\(alias of ([^)]+)\)`)
)

// parseFacts reads the output of --version and of -machine help.
func parseFacts(text string) (QEMU, error) {
	v := versionLine.FindStringSubmatch(text)
	if v == nil {
		return QEMU{}, fmt.Errorf("does not report its QEMU version: %q", firstLine(text))
	}
	q := QEMU{Release: v[0]}
	q.Version.Major, _ = strconv.Atoi(v[1]) // the pattern matches digits only
	q.Version.Minor, _ = strconv.Atoi(v[2])
	q.Version.Micro, _ = strconv.Atoi(v[3])

	_, list, _ := strings.Cut(text, "Supported machines are:\n")
	for line := range strings.Lines(list) {
		name, description, found := strings.Cut(line, " ")
		if !found {
			continue
		}
		m := Machine{Name: name, Deprecated: strings.Contains(description, "(deprecated")}
		if a := aliasOf.FindStringSubmatch(description); a != nil {
			m.AliasOf = a[1]
		}
		q.Machines = append(q.Machines, m)
	}
	if len(q.Machines) == 0 {
		return QEMU{}, errors.New("does not list its machine types")
	}
	return q, nil
}

// commonMachine returns the machine type that wanted stands for on all the QEMUs.
// An alias, such as pc, stands for another type in each version of QEMU, and a guest
// can only migrate between equal types: the result is the first of these types that
// all of them support. Options after a comma are kept.
func commonMachine(wanted string, qemus ...QEMU) (string, error) {
	name, options, hasOptions := strings.Cut(wanted, ",")
	var types []string
	for _, q := range qemus {
		resolved, ok := q.Resolve(name)
		if !ok {
			return "", fmt.Errorf("param machine_type: got %q, want a type that %s on %s supports (%s)%s",
				wanted, q.Program, q.Host, q.supported(), meantMachine(name, qemus))
		}
		types = append(types, resolved)
	}
	for _, machine := range types {
		onAll := !slices.ContainsFunc(qemus, func(q QEMU) bool {
			_, ok := q.Resolve(machine)
			return !ok
		})
		if !onAll {
			continue
		}
		if hasOptions {
			return machine + "," + options, nil
		}
		return machine, nil
	}
	var parts []string
	for i, q := range qemus {
		parts = append(parts, fmt.Sprintf("%s on %s (QEMU %s)", types[i], q.Host, q.Version))
	}
	return "", fmt.Errorf("param machine_type: %q is %s, and none of these is supported on all hosts: set one that is",
		wanted, strings.Join(parts, ", "))
}

// someHas says whether one of the QEMUs has the machine type, with or without options.
func someHas(wanted string, qemus []QEMU) bool {
	name, _, _ := strings.Cut(wanted, ",")
	return slices.ContainsFunc(qemus, func(q QEMU) bool {
		_, ok := q.Resolve(name)
		return ok
	})
}

// meantMachine asks for the machine type that was probably meant by one that none of the
// QEMUs has.
func meantMachine(name string, qemus []QEMU) string {
	if someHas(name, qemus) {
		return ""
	}
	var names []string
	for _, q := range qemus {
		for _, m := range q.Machines {
			if chipsetOf(m.Name) != "" {
				names = append(names, m.Name)
			}
		}
	}
	if near := diag.Nearest(name, names); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return ""
}

// supported lists the pc and q35 types, newest first.
func (q QEMU) supported() string {
	var names []string
	for _, m := range q.Machines {
		if chipsetOf(m.Name) != "" {
			names = append(names, m.Name)
		}
	}
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return strings.Join(names, ", ")
}

// findFiles ends the script that it begins, with status 127, where a file is missing.
func findFiles(program qemu.Program) string {
	var script strings.Builder
	for _, file := range program.Files() {
		fmt.Fprintf(&script, "command -v -- %s >/dev/null || exit 127\n", shellescape.Quote(file))
	}
	return script.String()
}

// MissingVersionError means that a host has no QEMU of the version that param
// qemu_version wants.
type MissingVersionError struct{ Host, Version, Binary string }

// Error says what to do about it.
func (e *MissingVersionError) Error() string {
	return fmt.Sprintf("%s: no QEMU %s (%s): get it by mhmig bootstrap --qemu %s", e.Host, e.Version, e.Binary, e.Version)
}

// Status is [result.Skip]: versions are an axis of tests, of which each machine has its own.
func (*MissingVersionError) Status() result.Status { return result.Skip }

// explainMissingQEMU explains the error of a QEMU that is not on a host.
func explainMissingQEMU(h Host, program qemu.Program, err error) error {
	exit, ok := errors.AsType[*host.ExitError](err)
	switch {
	case ok && exit.Output.Status == 127 && program.Version != "":
		return &MissingVersionError{Host: h.Name(), Version: program.Version, Binary: program.Binary}
	case ok && exit.Output.Status == 127 && program.Loader != "":
		return fmt.Errorf("%s: no program %s or no loader %s: set params qemu_binary and qemu_loader to files of that host", h.Name(), program.Binary, program.Loader)
	}
	return explainMissing(h, "qemu_binary", program.Binary, err)
}

// explainMissing explains the error of a program that is not on a host.
func explainMissing(h Host, param, binary string, err error) error {
	exit, ok := errors.AsType[*host.ExitError](err)
	if !ok || exit.Output.Status != 127 && exit.Output.Status != 126 {
		return fmt.Errorf("%s: %s: %w", h.Name(), binary, err)
	}
	hint := ""
	if pkg := DebianPackage(binary); pkg != "" {
		hint = fmt.Sprintf(" (on Debian it is in package %s)", pkg)
	}
	return fmt.Errorf("%s: no program %s%s; install it there or set param %s", h.Name(), binary, hint, param)
}

// DebianPackage is the Debian package of a QEMU program, "" if binary is none.
func DebianPackage(binary string) string {
	name := path.Base(binary)
	arch, isSystem := strings.CutPrefix(name, "qemu-system-")
	switch {
	case name == "qemu-img":
		return "qemu-utils"
	case !isSystem:
		return ""
	case arch == "x86_64" || arch == "i386":
		return "qemu-system-x86"
	case arch == "aarch64" || arch == "arm":
		return "qemu-system-arm"
	case arch == "ppc64" || arch == "ppc":
		return "qemu-system-ppc"
	default:
		return "qemu-system-misc"
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// cacheKey is the key of a binary on a host.
func cacheKey(h Host, binary string) string {
	c := h.Config()
	return fmt.Sprintf("%s@%s:%d %s %s", c.User, c.Address, c.Port, c.Name, binary)
}
