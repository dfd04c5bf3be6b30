// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"fmt"
	"io"
	"strings"

	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/jeos/workload"
)

// WriteReference writes the reference of all functions and values as Markdown.
// builtins/REFERENCE.md is its output.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# What scenarios can use

This page is generated from the tables in this folder.

Starlark's own functions are there too, with ` + "`while`, `set`, and `if` and `for`" + ` at the top level.

## Functions
`)
	for _, f := range Functions() {
		writeBuiltin(&b, "", f)
	}
	for _, c := range Classes() {
		fmt.Fprintf(&b, "\n## Value `%s`\n\n%s\n", c.Name, c.Doc)
		if len(c.Attrs) > 0 {
			b.WriteString("\n| attribute | |\n|---|---|\n")
			for _, a := range c.Attrs {
				fmt.Fprintf(&b, "| `%s` | %s |\n", a.Name, a.Doc)
			}
		}
		for _, m := range c.Methods {
			writeBuiltin(&b, c.Name+".", m)
		}
	}
	writeGuestCommands(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeGuestCommands writes what sessions find in the guest that mhmig makes.
func writeGuestCommands(b *strings.Builder) {
	b.WriteString(`
## Commands in JeOS

JeOS, the guest that mhmig makes, has the commands of busybox and those below, for
` + "`session.cmd`" + ` and the console. One logs in as ` + "`" + jeos.Username + "`" + ` with the password ` + "`" + jeos.Password + "`" + `, unless the param
` + "`password`" + ` says another. ` + "`@std//work.star`" + ` has functions that use the commands.
`)
	for _, name := range workload.Commands() {
		fmt.Fprintf(b, "\n### %s\n\n", name)
		for line := range strings.Lines(workload.Usage(name)) {
			b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
	}
}

func writeBuiltin(b *strings.Builder, owner string, f *Builtin) {
	fmt.Fprintf(b, "\n### %s%s\n\n    %s\n\n%s\n", owner, f.Name, f.Signature(), f.Doc)
	if len(f.Params) == 0 {
		return
	}
	b.WriteString("\n| parameter | wants | |\n|---|---|---|\n")
	for _, p := range f.Params {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.name(), p.Type.Want, p.Doc)
	}
}
