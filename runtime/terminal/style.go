// SPDX-License-Identifier: Apache-2.0

package terminal

// Style is how text is drawn, for other packages' tables.
type Style string

// The styles.
const (
	Plain  Style = ""
	Bold   Style = bold
	Dim    Style = dim
	Red    Style = red
	Green  Style = green
	Yellow Style = yellow
)

// Paint returns text with the codes of the style, if colours are wanted: see [Coloured].
func (s Style) Paint(text string, coloured bool) string {
	if !coloured || s == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
