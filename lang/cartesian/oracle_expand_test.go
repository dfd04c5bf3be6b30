// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// This is the oracle's second half: dicts, what statements do to them, and the walk that makes them.

// An oEntry is one key with its value. Suffixes are in the order in which they were applied.
type oEntry struct {
	base     string
	suffixes []string
	value    string
}

// spelled is the key as patterns see it.
func (e oEntry) spelled() string { return e.base + strings.Join(e.suffixes, "") }

// printed is the key as it is shown.
func (e oEntry) printed() string {
	suffixes := slices.Clone(e.suffixes)
	slices.Reverse(suffixes)
	return e.base + strings.Join(suffixes, "")
}

// oDict is a dict in the order of its keys; name and shortname are entries, the other reserved ones are not.
type oDict struct {
	entries       []oEntry
	dep           []string
	names, shorts []oEntry // the maps of files
}

func isOracleReserved(key string) bool {
	return slices.Contains([]string{"name", "shortname", "dep", "_name_map_file", "_short_name_map_file"}, key)
}

// index finds a plain key.
func (d *oDict) index(key string) int {
	return slices.IndexFunc(d.entries, func(e oEntry) bool { return e.base == key && e.suffixes == nil })
}

func (d *oDict) get(key string) string {
	if i := d.index(key); i >= 0 {
		return d.entries[i].value
	}
	return ""
}

func (d *oDict) put(key, value string) {
	if i := d.index(key); i >= 0 {
		d.entries[i].value = value
	} else {
		d.entries = append(d.entries, oEntry{base: key, value: value})
	}
}

// oraclePattern returns nil for a bad pattern.
func oraclePattern(text string) *regexp.Regexp {
	// Alone too, lest a bracket of its own close the group.
	if _, err := regexp.Compile(text + "$"); err != nil {
		return nil
	}
	p, err := regexp.Compile("^(?:" + text + "$)")
	if err != nil {
		return nil
	}
	return p
}

// assign applies one operator, to a dict or to a pending run.
func (d *oDict) assign(op, key, value string) {
	if len(value) > oracleLength {
		panic(oracleLarge{})
	}
	switch op {
	case "=":
		d.put(key, value)
	case "+=":
		d.put(key, d.get(key)+value)
	case "<=":
		d.put(key, value+d.get(key))
	case "~=":
		if d.index(key) < 0 {
			d.put(key, value)
		}
	default:
		p := oraclePattern(key)
		if p == nil {
			panic(oracleError{text: "bad pattern"})
		}
		for i, e := range d.entries {
			if !p.MatchString(e.spelled()) || e.suffixes == nil && isOracleReserved(e.base) {
				continue
			}
			switch op {
			case "?=":
				d.entries[i].value = value
			case "?+=":
				d.entries[i].value += value
			case "?<=":
				d.entries[i].value = value + e.value
			}
		}
	}
}

// apply does one statement other than filters and conditions.
func (d *oDict) apply(s oStatement) {
	switch s.kind {
	case "run":
		for _, e := range s.run {
			if !isOracleReserved(e.base) {
				d.put(e.base, e.value)
			}
		}
	case "del":
		d.entries = slices.DeleteFunc(d.entries, func(e oEntry) bool {
			return e.spelled() == s.key && (e.suffixes != nil || !isOracleReserved(e.base))
		})
	case "suffix":
		var kept, renamed []oEntry
		for _, e := range d.entries {
			if e.suffixes == nil && isOracleReserved(e.base) {
				kept = append(kept, e)
				continue
			}
			e.suffixes = append(slices.Clone(e.suffixes), s.key)
			if isOracleReserved(e.spelled()) || isOracleReserved(e.printed()) {
				panic(oracleOpen("a suffixed key reads as a reserved one"))
			}
			renamed = append(renamed, e)
		}
		d.entries = slices.Concat(kept, renamed)
	case "maps":
		var long, short []string
		for _, l := range s.labels {
			long = append(long, l.String())
			short = append(short, l.value)
		}
		d.names = inFront(d.names, s.key, strings.Join(long, "."))
		d.shorts = inFront(d.shorts, s.key, strings.Join(short, "."))
	default:
		value := s.value
		if strings.Contains(value, "$") {
			value = d.substitute(value)
		}
		if !strings.HasPrefix(s.kind, "?") && isOracleReserved(s.key) {
			return
		}
		d.assign(s.kind, s.key, value)
	}
}

// inFront puts labels before what a map of files has.
func inFront(m []oEntry, file, labels string) []oEntry {
	for i, e := range m {
		if e.base == file {
			m[i].value = labels + "." + e.value
			return m
		}
	}
	return append(m, oEntry{base: file, value: labels})
}

var oSubstitution = regexp.MustCompile(`\$\{(.+?)\}`)

func (d *oDict) substitute(value string) string {
	flat := d.flatten()
	flat["dep"] = pythonList(d.dep)
	if d.names != nil {
		flat["_name_map_file"] = pythonDict(d.names)
		flat["_short_name_map_file"] = pythonDict(d.shorts)
	}
	result := ""
	for {
		at := oSubstitution.FindStringSubmatchIndex(value)
		if at == nil {
			return result + value
		}
		found, ok := flat[value[at[2]:at[3]]]
		if !ok {
			return result + value
		}
		result += value[:at[0]] + found
		value = value[at[1]:]
	}
}

func pythonList(list []string) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, pythonString(s))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func pythonDict(m []oEntry) string {
	var parts []string
	for _, e := range m {
		parts = append(parts, pythonString(e.base)+": "+pythonString(e.value))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func pythonString(s string) string {
	if strings.ContainsAny(s, `'\`) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		panic(oracleOpen("how Python prints a string"))
	}
	return "'" + s + "'"
}

// flatten gives suffixed keys the names that are shown.
func (d *oDict) flatten() map[string]string {
	flat := map[string]string{}
	for _, e := range d.entries {
		if e.suffixes == nil {
			flat[e.base] = e.value
		}
	}
	for _, e := range d.entries {
		if e.suffixes == nil {
			continue
		}
		plain := d.index(e.base)
		differs := slices.ContainsFunc(d.entries, func(other oEntry) bool {
			return other.base == e.base && other.value != e.value
		})
		switch {
		case plain >= 0 && d.entries[plain].value == e.value:
		case !differs:
			flat[e.base] = e.value
		default:
			flat[e.printed()] = e.value
		}
	}
	return flat
}

// limit does section 12.
func (d *oDict) limit() {
	var results []oEntry
	for _, e := range d.entries {
		if e.suffixes != nil {
			continue
		}
		for _, postfix := range []string{"_max", "_min", "_fixed"} {
			if !strings.HasSuffix(e.base, postfix) {
				continue
			}
			base, _, _ := strings.Cut(e.base, postfix)
			if isOracleReserved(base) && base != "name" && base != "shortname" {
				panic(oracleOpen("a limit of a reserved key"))
			}
			i := d.index(base)
			if i < 0 || postfix == "_fixed" ||
				postfix == "_max" && compareNumbers(d.entries[i].value, e.value) > 0 ||
				postfix == "_min" && compareNumbers(d.entries[i].value, e.value) < 0 {
				results = append(results, oEntry{base: base, value: e.value})
			}
			break
		}
	}
	for _, e := range results {
		d.put(e.base, e.value)
	}
}

const oUnits = "BbKkMmGgTt"

var (
	oInt   = regexp.MustCompile(`^[+-]?\d+(_\d+)*$`)
	oFloat = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)
)

func compareNumbers(a, b string) int {
	size := strings.ContainsAny(a+b, oUnits)
	return oracleNumber(a, size).Cmp(oracleNumber(b, size))
}

func oracleNumber(s string, size bool) *big.Int {
	if strings.ContainsFunc(s, func(c rune) bool { return c > 127 && unicode.IsDigit(c) }) {
		panic(oracleOpen("digits of other alphabets"))
	}
	bad := oracleError{text: "not a number: " + s}
	if !size {
		s = strings.Trim(s, oBlank)
		if !oInt.MatchString(s) {
			panic(bad)
		}
		n, _ := new(big.Int).SetString(strings.ReplaceAll(s, "_", ""), 10)
		return n
	}
	unit := float64(1 << 20)
	if s != "" {
		if i := strings.IndexByte(oUnits, s[len(s)-1]); i >= 0 {
			unit = float64(int64(1) << (10 * (i / 2)))
			s = s[:len(s)-1]
		}
	}
	s = strings.Trim(s, oBlank)
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	if !oFloat.MatchString(s) || err != nil || f*unit > 1e300 || f*unit < -1e300 {
		panic(bad)
	}
	n, _ := big.NewFloat(f * unit).Int(nil)
	return n
}

// json is the canonical form.
func (d *oDict) json() string {
	parts := map[string]string{}
	for key, value := range d.flatten() {
		parts[key] = jsonString(value)
	}
	var deps []string
	for _, s := range d.dep {
		deps = append(deps, jsonString(s))
	}
	parts["dep"] = "[" + strings.Join(deps, ",") + "]"
	object := func(m map[string]string) string {
		var members []string
		for _, key := range slices.Sorted(maps.Keys(m)) {
			members = append(members, jsonString(key)+":"+m[key])
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	for name, list := range map[string][]oEntry{"_name_map_file": d.names, "_short_name_map_file": d.shorts} {
		if list == nil {
			continue
		}
		m := map[string]string{}
		for _, e := range list {
			m[e.base] = jsonString(e.value)
		}
		parts[name] = object(m)
	}
	return object(parts)
}

func jsonString(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch short := strings.IndexRune("\"\\\n\r\t\b\f", c); {
		case short >= 0:
			b.WriteString(`\` + `"\nrtbf`[short:short+1])
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return `"` + b.String() + `"`
}

// Expansion.

// oPath is what a walk knows of the nodes above.
type oPath struct {
	context   []oLabel
	inherited []oStatement
	short     []string
	dep       []string
}

func (o *oracle) walk(n *oNode, p oPath, yield func(*oDict)) {
	var words oFilter
	for _, s := range n.list.all {
		if s.kind == "join" {
			words = append(words, s.filter...)
		}
	}
	if words == nil {
		o.plain(n, p, yield)
		return
	}
	whole := n.list
	n.list = &oList{slices.DeleteFunc(slices.Clone(whole.all), func(s oStatement) bool { return s.kind == "join" })}
	o.multiply(n, words, p, yield)
	n.list = whole
}

// multiply does section 13 step by step, with its side effects on the node's list.
func (o *oracle) multiply(n *oNode, words oFilter, p oPath, yield func(*oDict)) {
	keep := &oList{slices.Clone(n.list.all)}
	n.list.all = append(n.list.all, oStatement{kind: "only", filter: words[:1]})
	if len(words) == 1 {
		o.plain(n, p, yield)
		return
	}
	o.plain(n, p, func(d1 *oDict) {
		n.list = keep
		o.multiply(n, words[1:], p, func(d2 *oDict) { yield(mergeOracleDicts(d1, d2)) })
	})
}

func (o *oracle) plain(n *oNode, p oPath, yield func(*oDict)) {
	if o.visits++; o.visits > oracleVisits {
		panic(oracleLarge{})
	}
	p.dep = slices.Clone(p.dep)
	for _, word := range n.deps {
		for _, row := range word {
			p.dep = append(p.dep, dotted(slices.Concat(p.context, row)))
		}
	}
	p.context = slices.Concat(p.context, n.labels)
	p.inherited = slices.Concat(n.list.all, p.inherited)
	p.short = slices.Clone(p.short)
	for _, l := range n.labels {
		if !n.marked {
			p.short = append(p.short, l.value)
		}
	}
	if len(n.children) == 0 {
		o.leaf(p, yield)
		return
	}
	children := n.children
	prefer := o.defaults && n.preferred >= 0
	if prefer {
		children = slices.Delete(slices.Clone(children), n.preferred, n.preferred+1)
		children = slices.Insert(children, 0, n.children[n.preferred])
	}
	for i, c := range children {
		produced := false
		o.walk(c, p, func(d *oDict) {
			produced = true
			yield(d)
		})
		if prefer && i == 0 && produced {
			break
		}
	}
}

func dotted(labels []oLabel) string {
	var parts []string
	for _, l := range labels {
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ".")
}

// leaf builds a dict, unless a filter drops it.
func (o *oracle) leaf(p oPath, yield func(*oDict)) {
	var active []oStatement
	var add func(list []oStatement, inside bool) bool
	joined := false
	add = func(list []oStatement, inside bool) bool {
		survives := true
		for _, s := range list {
			switch s.kind {
			case "only", "no":
				survives = survives && s.filter.matches(p.context) == (s.kind == "only")
			case "if", "unless":
				if s.filter.matches(p.context) == (s.kind == "if") {
					survives = add(s.body, true) && survives
				}
			case "join":
				joined = joined || inside
			default:
				active = append(active, s)
			}
		}
		return survives
	}
	survives := add(p.inherited, false)
	if joined && !survives {
		panic(oracleOpen("a join in a condition, of a dropped dict"))
	}
	if joined {
		panic(oracleError{text: "join in an active condition"})
	}
	if !survives {
		return
	}
	d := &oDict{dep: p.dep}
	d.put("name", dotted(p.context))
	d.put("shortname", strings.Join(p.short, "."))
	for _, s := range active {
		d.apply(s)
	}
	d.limit()
	yield(d)
}

// mergeOracleDicts puts d2 on top of d1.
func mergeOracleDicts(d1, d2 *oDict) *oDict {
	d := &oDict{slices.Clone(d1.entries), d2.dep, d2.names, d2.shorts}
	for _, e := range d2.entries {
		i := slices.IndexFunc(d.entries, func(other oEntry) bool {
			return other.base == e.base && slices.Equal(other.suffixes, e.suffixes)
		})
		if i >= 0 {
			d.entries[i].value = e.value
		} else {
			d.entries = append(d.entries, e)
		}
	}
	for _, key := range []string{"name", "shortname"} {
		d.put(key, mergeOracleNames(d1.get(key), d2.get(key)))
	}
	return d
}

func mergeOracleNames(n1, n2 string) string {
	if strings.HasPrefix(n1, n2) || strings.HasPrefix(n2, n1) {
		panic(oracleError{text: "one name begins with the other"})
	}
	n := 0
	for n1[n] == n2[n] {
		n++
	}
	common := n1[:max(0, strings.LastIndex(n1[:n], "."))]
	switch {
	case common == "":
		return n1 + "." + n2
	case strings.Contains(common, "("):
		return common + n1 + n2
	}
	return common + n1[len(common):] + n2[len(common):]
}
