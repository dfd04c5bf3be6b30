// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"io"
	"strings"

	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/jeos/cdrom"
	"github.com/mhmig/mhmig/runtime/jeos/crashkernel"
	"github.com/mhmig/mhmig/runtime/jeos/workload"
)

// WriteReference writes the reference of all functions and values as Markdown.
// builtins/REFERENCE.md is its output.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# What scenarios can use

This page is generated from the tables in this folder.

Starlark's functions can be used too, with ` + "`while`, `set`, and `if` and `for`" + ` at the top level.

In a signature, =VALUE is the default of an argument; =<TEXT> describes a default that the call computes. None is the same
as no argument. Types are Starlark's own and the values below; ` + "`function(mig)`" + ` is a function that is called with a
migration.

`)
	if err := Language().WriteMarkdown(&b); err != nil {
		return err
	}
	writeGuestCommands(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeGuestCommands writes the commands of JeOS.
func writeGuestCommands(b *strings.Builder) {
	b.WriteString(`
## Commands in JeOS

JeOS, mhmig's guest, has the commands of busybox and those below, for
` + "`session.cmd`" + ` and the console. Log in as ` + "`" + jeos.Username + "`" + ` with the password ` + "`" + jeos.Password + "`" + `, unless the param
` + "`password`" + ` sets another. ` + "`@std//work.star`" + ` has functions that use the commands.

A login need not wait for all drivers: ` + "`booted`" + ` waits for those of CD-ROM drives, SCSI disks, and cards that are not
virtio, a minute at most. Under load they take a while.
`)
	for _, name := range workload.Commands() {
		writeGuestCommand(b, name, workload.Usage(name))
	}
	writeGuestCommand(b, cdrom.Name, cdrom.Usage())
	writeGuestCommand(b, crashkernel.Name, crashkernel.Usage())
}

func writeGuestCommand(b *strings.Builder, name, usage string) {
	fmt.Fprintf(b, "\n### %s\n\n", name)
	for line := range strings.Lines(usage) {
		b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
	}
}
