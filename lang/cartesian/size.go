// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

const sizeUnits = "BbKkMmGgTt"

// Numbers as Python reads them.
var (
	integerRE = regexp.MustCompile(`^[+-]?\d+(_\d+)*$`)
	floatRE   = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)
)

// compareSizes compares two numbers: whole ones, or sizes if one of them has a unit; then M is the unit of the other.
func compareSizes(a, b string) (int, error) {
	parse := parseInteger
	if strings.ContainsAny(a, sizeUnits) || strings.ContainsAny(b, sizeUnits) {
		parse = parseSize
	}
	x, err := parse(a)
	if err != nil {
		return 0, err
	}
	y, err := parse(b)
	if err != nil {
		return 0, err
	}
	return x.Cmp(y), nil
}

func parseInteger(s string) (*big.Int, error) {
	digits := strings.TrimFunc(s, isBlank)
	n, ok := new(big.Int), false
	if integerRE.MatchString(digits) {
		_, ok = n.SetString(strings.ReplaceAll(digits, "_", ""), 10)
	}
	if !ok {
		return nil, fmt.Errorf("%q is no whole number", s)
	}
	return n, nil
}

// parseSize returns bytes.
func parseSize(s string) (*big.Int, error) {
	number, unit := s, strings.IndexByte(sizeUnits, 'M')/2
	if s != "" {
		if i := strings.IndexByte(sizeUnits, s[len(s)-1]); i >= 0 {
			number, unit = s[:len(s)-1], i/2
		}
	}
	number = strings.TrimFunc(number, isBlank)
	if !floatRE.MatchString(number) {
		return nil, fmt.Errorf("%q is no size", s)
	}
	f, _, err := big.ParseFloat(strings.ReplaceAll(number, "_", ""), 10, 53, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > 1024 { // Python's numbers end there
		return nil, fmt.Errorf("%q is no size", s)
	}
	bytes, _ := f.SetMantExp(f, 10*unit).Int(nil)
	return bytes, nil
}
