// SPDX-License-Identifier: Apache-2.0

package star

import "go.starlark.net/syntax"

// LiteralType returns the type of a literal, as Starlark's type() names it.
func LiteralType(x *syntax.Literal) string {
	switch x.Token {
	case syntax.STRING:
		return "string"
	case syntax.BYTES:
		return "bytes"
	case syntax.INT:
		return "int"
	case syntax.FLOAT:
		return "float"
	}
	return ""
}
