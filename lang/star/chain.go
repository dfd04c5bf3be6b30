// SPDX-License-Identifier: Apache-2.0

package star

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/mhmig/mhmig/lang/diag"
)

// chained matches the parser's error about a comparison of a comparison.
var chained = regexp.MustCompile(`^.+ does not associate with .+ \(use parens\)$`)

// explainChain rewrites the error about a chained comparison, such as 1 < x < 3: brackets would compare with True or False.
func explainChain(d diag.Diagnostic, parts []part) diag.Diagnostic {
	d.Message = "comparisons are not chained"
	d.Hint = `write "a < b and b < c"`
	afterSecond := slices.IndexFunc(parts, func(p part) bool { return p.end == d.Pos.Col-1 }) + 1
	if afterSecond == 0 {
		return d
	}
	second := comparisonBefore(parts, afterSecond)
	d.Pos.Col = parts[second].begin + 1
	afterFirst := behindComparison(parts, second)
	if afterFirst == 0 {
		return d
	}
	first := comparisonBefore(parts, afterFirst)
	begin, end := operandBefore(parts, first), operandAfter(parts, afterSecond)
	if begin == first || end == afterSecond || afterFirst == second {
		return d
	}
	text := func(from, to int) string { return string([]rune(d.Source)[parts[from].begin:parts[to-1].end]) }
	d.Hint = fmt.Sprintf("write: %s and %s", text(begin, second), text(afterFirst, end))
	return d
}

// behindComparison returns the part behind the operator that compares with the operand before a part; 0 if there is none.
func behindComparison(parts []part, i int) int {
	for depth := 0; i > 0 && depth >= 0; i-- {
		if depth += depthBefore(parts[i-1].text); depth == 0 && isComparison(parts, i-1) {
			return i
		}
	}
	return 0
}

// comparisonBefore returns the first part of the operator that ends before a part.
func comparisonBefore(parts []part, i int) int {
	if parts[i-1].text == "in" && textAt(parts, i-2) == "not" {
		return i - 2
	}
	return i - 1
}

// isComparison reports whether a part is an operator that compares, or the end of one.
func isComparison(parts []part, i int) bool {
	switch parts[i].text {
	case "<", ">":
		return textAt(parts, i-1) != parts[i].text && textAt(parts, i+1) != parts[i].text // no shift
	case "<=", ">=", "==", "!=", "in":
		return true
	}
	return false
}

// depthBefore is how much deeper in brackets a line is before a part than behind it.
func depthBefore(text string) int {
	switch text {
	case ")", "]", "}":
		return 1
	case "(", "[", "{":
		return -1
	}
	return 0
}

// limitsOperand reports whether a part cannot be in an operand of a comparison, outside of brackets.
func limitsOperand(parts []part, i int) bool {
	switch parts[i].text {
	case "and", "or", "not", "if", "elif", "else", "for", "while", "return", "lambda", "=", ",", ":", ";":
		return true
	}
	return isComparison(parts, i)
}

// operandBefore returns the first part of the operand that ends before a part.
func operandBefore(parts []part, i int) int {
	for depth := 0; i > 0; i-- {
		before := i - 1
		if depth += depthBefore(parts[before].text); depth < 0 || depth == 0 && limitsOperand(parts, before) {
			break
		}
	}
	return i
}

// operandAfter returns the part behind the operand that begins with a part.
func operandAfter(parts []part, i int) int {
	for depth := 0; i < len(parts); i++ {
		if depth -= depthBefore(parts[i].text); depth < 0 || depth == 0 && limitsOperand(parts, i) {
			break
		}
	}
	return i
}
