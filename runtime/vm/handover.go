// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/result"
)

// The migration modes in which a QEMU hands its guest's memory over to another one as file
// descriptors (MigMode of QEMU's schema): by a socket, and by executing it in its own
// process.
const (
	TransferMode = "cpr-transfer"
	ExecMode     = "cpr-exec"
)

// since are the versions of QEMU that have these modes first.
var since = map[string]string{TransferMode: "10.0", ExecMode: "10.2"}

// schemaWord is a command that each schema has.
const schemaWord = "query-qmp-schema"

// listModes asks QEMU for its schema, and prints the modes of migrations in it, and
// schemaWord. %[1]s is QEMU. It has no guest.
const listModes = `
printf '%%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"query-qmp-schema"}' '{"execute":"quit"}' |
	timeout -k 1 20 %[1]s -machine none -nodefaults -no-user-config -display none -S -qmp stdio |
	grep -oE '"(cpr-[a-z]*|query-qmp-schema)"' | tr -d '"' | sort -u`

// checkMode checks, before a QEMU is started with options that only one with this mode
// of migrations has, that its schema has the mode. It asks each QEMU of a host once. A
// QEMU that lacks the mode is an error with the status SKIP.
func (c *Cache) checkMode(ctx context.Context, h Host, program qemu.Program, mode string) error {
	modes, err := c.modes.get(ctx, cacheKey(h, program.Command()), func(ctx context.Context) ([]string, error) {
		out, err := h.Run(ctx, host.Command{Script: findFiles(program) + fmt.Sprintf(listModes, program.Command()), Timeout: queryTimeout})
		if err != nil {
			return nil, explainMissingQEMU(h, program, err)
		}
		words := strings.Fields(string(out.Stdout))
		if !slices.Contains(words, schemaWord) {
			return nil, fmt.Errorf("%s: %s does not answer query-qmp-schema: %s", h.Name(), program, firstLine(string(out.Stderr)))
		}
		return words, nil
	})
	if err != nil || slices.Contains(modes, mode) {
		return err
	}
	return result.Skip.Errorf("%s: the migration parameter mode of %s has no value %s: QEMU %s or later has it", h.Name(), program, mode, since[mode])
}
