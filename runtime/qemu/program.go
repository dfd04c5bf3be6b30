// SPDX-License-Identifier: Apache-2.0

// Package qemu is about QEMU programs: how one is started that is not installed, and how
// QEMUs of other versions come into a folder of this machine.
//
//	path, err := qemu.Fetch(ctx, qemu.Options{Logger: log}, "10.0")
//	program := qemu.In(path, "10.0")
//	exec.Command(program.Words()[0], …)
package qemu

import (
	"path"
	"regexp"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// Program is a QEMU system emulator on a host, with what it needs where it is not
// installed, such as a QEMU of another version in a folder of its own. Equal ones are one
// program.
type Program struct {
	Binary    string // param qemu_binary: a name in the host's PATH, or a path
	Loader    string // param qemu_loader: the dynamic loader that starts it; "": the host's own
	Libraries string // param qemu_libs: where the loader looks for libraries, separated by colons
	Modules   string // param qemu_modules: the folder of its modules; "": as it was built
	Data      string // param qemu_data: folders of firmware, separated by colons; "": as it was built

	// Version is the param qemu_version: that of a QEMU below qemu_versions_dir; "" for others.
	Version string
}

// libraries is the folder of libraries below /usr/lib.
const libraries = "x86_64-linux-gnu"

// In is the QEMU of a version that [Fetch] has unpacked in the folder root.
func In(root, version string) Program {
	libraries := path.Join(root, "usr/lib", libraries)
	return Program{
		Binary:    path.Join(root, "usr/bin/qemu-system-x86_64"),
		Loader:    path.Join(libraries, "ld-linux-x86-64.so.2"),
		Libraries: libraries,
		Modules:   path.Join(libraries, "qemu"),
		Data: strings.Join([]string{
			path.Join(root, "usr/share/qemu"), path.Join(root, "usr/share/seabios"), path.Join(root, "usr/lib/ipxe/qemu"),
		}, ":"),
		Version: version,
	}
}

// IsVersion says whether text can be a version, such as 10.0, or another name of a folder
// below qemu_versions_dir.
func IsVersion(text string) bool { return versionName.MatchString(text) }

var versionName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]*$`)

// String is the program, or its version if it is one of several.
func (p Program) String() string {
	if p.Version != "" {
		return "QEMU " + p.Version
	}
	return p.Binary
}

// Words begin the command line that starts it.
func (p Program) Words() []string {
	var words []string
	if p.Modules != "" {
		words = append(words, "env", "QEMU_MODULE_DIR="+p.Modules)
	}
	if p.Loader != "" {
		words = append(words, p.Loader)
		if p.Libraries != "" {
			words = append(words, "--library-path", p.Libraries)
		}
	}
	words = append(words, p.Binary)
	for dir := range strings.SplitSeq(p.Data, ":") {
		if dir != "" {
			words = append(words, "-L", dir)
		}
	}
	return words
}

// Command is Words for a shell.
func (p Program) Command() string { return shellescape.QuoteCommand(p.Words()) }

// Files are the files without which it does not start.
func (p Program) Files() []string {
	if p.Loader == "" {
		return []string{p.Binary}
	}
	return []string{p.Binary, p.Loader}
}
