// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/printable"
)

// NotOne is the error of [cartesian.Config.Explain] with what to do: for a filter that
// leaves several variants their names, for one that leaves none why it does. Other errors
// are returned as they are.
func NotOne(err error) error {
	var b strings.Builder
	if several, ok := errors.AsType[*cartesian.SeveralError](err); ok {
		fmt.Fprintf(&b, "%v:\n", err)
		for _, name := range several.Names {
			fmt.Fprintf(&b, "  %s\n", printable.Line(name))
		}
		if several.More {
			b.WriteString("  ...\n")
		}
		b.WriteString("give one of these names, or add labels")
		if several.Hint != "" {
			fmt.Fprintf(&b, ", such as %q", several.Hint)
		}
		return errors.New(b.String())
	}
	if none, ok := errors.AsType[*cartesian.NoneError](err); ok {
		Absence(&b, none.Absence)
		return errors.New(strings.TrimRight(b.String(), "\n"))
	}
	return err
}
