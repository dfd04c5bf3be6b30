// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"maps"
	"slices"
)

// AppendJSON appends the variant's canonical JSON to b: one object, its keys sorted by code point, without blanks and
// without a newline; in strings only `"`, `\` and U+0000 to U+001F are escaped.
func (v *Variant) AppendJSON(b []byte) []byte {
	keys := make([]string, 0, len(v.Params)+3)
	for key := range v.Params {
		keys = append(keys, key)
	}
	keys = append(keys, "dep")
	if v.NameMapFile != nil {
		keys = append(keys, "_name_map_file", "_short_name_map_file")
	}
	slices.Sort(keys)

	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		switch key {
		case "dep":
			b = appendList(b, v.Dep)
		case "_name_map_file":
			b = appendMap(b, v.NameMapFile)
		case "_short_name_map_file":
			b = appendMap(b, v.ShortNameMapFile)
		default:
			b = appendString(b, v.Params[key])
		}
	}
	return append(b, '}')
}

func appendList(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

func appendMap(b []byte, m map[string]string) []byte {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		b = appendString(b, m[key])
	}
	return append(b, '}')
}

func appendString[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0 // s[:done] is written
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[done:]...), '"')
}
