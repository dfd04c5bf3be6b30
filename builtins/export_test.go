// SPDX-License-Identifier: Apache-2.0

package builtins

import "github.com/mhmig/mhmig/lang/api"

// Described is a row as data.
func Described(b *Builtin) api.Builtin { return b.describe() }

// GoValue is the value that the builtin gets if the argument is not given.
func (d Default) GoValue() any { return d.value }
