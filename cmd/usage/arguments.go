// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/mhmig/mhmig/lang/diag"
)

// Arguments is the Args of a command with minimum to maximum arguments.
func Arguments(minimum, maximum int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) < minimum:
			return wrong("an argument is missing: %s", command.UseLine())
		case len(args) > maximum:
			return wrong("unexpected argument %q: %s", args[maximum], command.UseLine())
		}
		return nil
	}
}

// WrongValue is the error of a flag whose value is not one of allowed, at least two.
func WrongValue(flag, value string, allowed ...string) error {
	if near := diag.Nearest(value, allowed); near != "" {
		return wrong("--%s %s: did you mean %s?", flag, value, near)
	}
	if len(allowed) == 2 {
		return wrong("--%s %s: want %s or %s", flag, value, allowed[0], allowed[1])
	}
	return wrong("--%s %s: want one of %s", flag, value, strings.Join(allowed, ", "))
}
