// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"math"
	"os"

	"golang.org/x/term"
)

// The size of a terminal that does not report one.
const (
	defaultColumns = 80
	defaultRows    = 24
)

// Size is the columns and rows of a terminal. One without a size, as some serial
// lines and containers have, is one of 80 by 24.
func Size(f *os.File) (columns, rows int) {
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		columns = defaultColumns
	}
	if err != nil || rows <= 0 {
		rows = defaultRows
	}
	return columns, rows
}

// Width returns the columns of f if it is a terminal. Otherwise lines are not limited:
// they are for other programs, such as grep.
func Width(f *os.File) int {
	if !term.IsTerminal(int(f.Fd())) {
		return math.MaxInt32
	}
	columns, _ := Size(f)
	return columns
}

// Coloured reports whether to write colours to f.
func Coloured(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// Drawable reports whether f is a terminal on which the cursor can be moved.
func Drawable(f *os.File) bool {
	return os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != "" && term.IsTerminal(int(f.Fd()))
}
