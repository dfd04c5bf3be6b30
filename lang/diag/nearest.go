// SPDX-License-Identifier: Apache-2.0

package diag

import (
	"strings"
	"unicode/utf8"
)

// Nearest returns the candidate that is most similar to word, for a hint, or "" when none is similar. Case is
// ignored. Of equally similar candidates it returns the first.
func Nearest(word string, candidates []string) string {
	// A third of the letters may be wrong, at least one: two transposed ones count as one.
	letters := []rune(strings.ToLower(word))
	limit := max(1, len(letters)/3)
	best, bestDistance := "", limit+1
	for _, c := range candidates {
		if c == word || c == "" {
			continue
		}
		// Most candidates are of another length, which is cheap to see: editors ask for all params of a config.
		if n := utf8.RuneCountInString(c); n-len(letters) >= bestDistance || len(letters)-n >= bestDistance {
			continue
		}
		if d := distance(letters, []rune(strings.ToLower(c)), bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	// A distance of the word's length means nothing in common.
	if bestDistance >= len(letters) {
		return ""
	}
	return best
}

// distance is the Damerau-Levenshtein distance of x and y. It may stop at limit.
func distance(x, y []rune, limit int) int {
	rows := make([]int, 3*(len(y)+1))
	before, last, row := rows[:len(y)+1], rows[len(y)+1:2*(len(y)+1)], rows[2*(len(y)+1):]
	for j := range last {
		last[j] = j
	}
	least := 0 // of the last row
	for i := 1; i <= len(x); i++ {
		row[0] = i
		above := least
		least = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if min(above, least) >= limit { // the following rows only grow from these two
			return limit
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
