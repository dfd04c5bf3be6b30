// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"cmp"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// limits applies the keys that end in _min, _max and _fixed: they correct the key before the ending.
func (d *dict) limits(limiting []keyID) error {
	type correction struct {
		target keyID
		text   string
		since  uint64
	}
	var corrections []correction
	for _, k := range limiting {
		if d.get(k) == nil {
			continue
		}
		key, text := &d.keys.keys[k], d.values[k].text
		if old, ok := d.limited(key.target); ok && key.limit != limitFixed {
			order, err := compareSizes(old, text)
			switch {
			case err != nil && diag.IsSecret(key.text):
				return fmt.Errorf("%s of %s: not two numbers", key.text, d.keys.keys[key.target].text)
			case err != nil:
				return fmt.Errorf("%s of %s: %w", key.text, d.keys.keys[key.target].text, err)
			}
			if key.limit == limitMax && order <= 0 || key.limit == limitMin && order >= 0 {
				continue
			}
		}
		corrections = append(corrections, correction{key.target, text, d.since[k]})
	}
	// Of several corrections of one key, that of the key that came last stays.
	slices.SortFunc(corrections, func(a, b correction) int { return cmp.Compare(a.since, b.since) })
	for _, c := range corrections {
		switch text := d.keys.keys[c.target].text; text {
		case keyName:
			d.name = []byte(c.text)
		case keyShortName:
			d.shortName = []byte(c.text)
		case keyDep, keyNames, keyShorts:
			return fmt.Errorf("%s is not a text: _min, _max and _fixed cannot change it", text)
		default:
			d.set(c.target, &value{text: c.text})
		}
	}
	return nil
}

// limited returns the text of a plain key, which may be a reserved one.
func (d *dict) limited(k keyID) (string, bool) {
	if text, ok := d.reserved(d.keys.keys[k].text); ok {
		return text, true
	}
	if v := d.get(k); v != nil {
		return v.text, true
	}
	return "", false
}

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
		return nil, fmt.Errorf("%q is not a whole number", s)
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
		return nil, fmt.Errorf("%q is not a size", s)
	}
	f, _, err := big.ParseFloat(strings.ReplaceAll(number, "_", ""), 10, 53, big.ToNearestEven)
	if err != nil || f.IsInf() || f.MantExp(nil) > 1024 { // Python's numbers end there
		return nil, fmt.Errorf("%q is not a size", s)
	}
	bytes, _ := f.SetMantExp(f, 10*unit).Int(nil)
	return bytes, nil
}
