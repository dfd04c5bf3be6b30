// SPDX-License-Identifier: Apache-2.0

package vmstate

import "math"

// plus and times are for numbers of at least 0 that a file says: the largest number
// stands for larger ones.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func times(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}
