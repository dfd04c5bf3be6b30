// SPDX-License-Identifier: Apache-2.0

package library

import (
	"regexp"
	"strconv"
	"strings"
)

var position = regexp.MustCompile(`^(.+):(\d+):(\d+)$`)

// SourceLine returns the line of a file at a position FILE:LINE:COLUMN, "" if it cannot
// be read.
func (s Set) SourceLine(at string) string {
	m := position.FindStringSubmatch(at)
	if m == nil {
		return ""
	}
	text, err := s.ReadFile(m[1])
	number, _ := strconv.Atoi(m[2]) // digits only; an overflow is beyond the end
	lines := strings.Split(string(text), "\n")
	if err != nil || number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}
