// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// A generator writes random configs: valid ones mostly, small, and made of few words, so that what they say meets.
type generator struct {
	*rand.Rand
	out      strings.Builder
	size     int        // about how many variants there are so far
	depth    int        // of blocks
	inside   bool       // a condition
	file     bool       // an included file
	includes []string   // what the file may include
	late     bool       // errors at expansion may be made
	many     bool       // different labels
	names    []string   // of the variants so far
	limits   bool       // keys with _min and _max are written
	limiting bool       // and many of them, with all sorts of values
	focus    int        // what there is more of
	sets     [][]string // words that a join may take together
	strict   bool       // what follows is read as tokens
	ended    bool       // an empty set, after which its block must end
}

// What configs have more of than others do: of everything, of filters in many sets, of joins, or of changes to dicts.
const (
	focusNone = iota
	focusFilters
	focusJoins
	focusDicts
	focuses
)

var (
	genLabels = strings.Fields("a a a b b c d x x y 1 ab a-b é")
	genSets   = strings.Fields("v w v s k k_x")
	genKeys   = strings.Fields("k k k l m kl k_x k_y k_x_y k_min k_max l_fixed k_x_max m_min v w a.b aXb k|m k.* x_k")
	genLimits = strings.Fields("k_min k_max k_fixed k_min k_max l_max l_min k_x_min k_min_max x_k_min v_max w_min k_max_x a.b_max _min " +
		"name_min shortname_max name_fixed dep_fixed dep_max _name_map_file_min k")
	genNumbers  = strings.Fields("0 1 7 10 -1 +3 1_000 1__0 12345678901234567890123 1G 2.5M 1e3 1e400k .5G 512 x 1x k G 0x10 1.5 é 1,5 007 - NaN inf")
	genSuffixes = strings.Fields("_x _y _x x _min 1")
	genPatterns = strings.Fields("k k.* .*_x k|m k|l .* [km] (k|l)_. a.b .*k k_x k_x_y k_y_x k$ ^k l+ n.* s?hort.* \\w+_x v|w x_k k_m.. .")
	genRefs     = strings.Fields("k k l m k_x k_y k_x_y v w name shortname dep _name_map_file _short_name_map_file nope a.b k_min @")
	genRun      = strings.Fields("a.b aXb k k.* kl k|m m b l?")
	genOdd      = []string{
		"a:b = 1", "b:c = x:y", "k = :v", "(v=a): k = 1", "a?: k = 1", "b+: l = 2", "!(v=a): m = 1", "a: # why = because",
		"k =\t5\t6", `k = "a" and "b"`, "k = 'it\"s'", "a b = 1", "= 5", "k <?= 2", "$k = 1", "k==2", "_fixed = 3", "k  =  ' '",
		"/path/x = 3 # c", "only=9", "variantsx = 11", "[m] = 12", "@at = 13", ".dot = //", "k ~=", "ключ = ✓", "del l+",
		"only (  v = a ), a b c d x y 1", "no ( ab ).a ( a )", "no #", "del k # why", "!: k += t", "! a , b..x : k += u",
		"a, b, x.(a): k += w", "k +=\u00a0z\u00a0", "no\ta.a.a", "?=1", "~= 2", "é = ${é}", "k = ${k} ${nope} ${l}", "é: é = 1",
	}
)

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), size: 1} //nolint:gosec // to be repeated
	g.late = g.one(10)
	g.limits = g.one(3)
	g.many = g.one(6)
	g.limiting = g.limits && g.one(2)
	g.focus = g.IntN(focuses)
	return g
}

// one is true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func (g *generator) pick(from []string) string { return from[g.IntN(len(from))] }

// generate makes a whole case. A file includes those after it in the list only, so that none includes itself.
func (g *generator) generate() oracleCase {
	n := 2 + g.IntN(9)
	if g.focus == focusFilters {
		n = 1 + g.IntN(4)
	}
	inMain := []string{"plain.cfg", "one/set.cfg", "two/set.cfg"}
	c := oracleCase{files: map[string]string{}}
	for _, f := range []struct {
		name     string
		includes []string
	}{
		{"main.cfg", inMain},
		{"one/set.cfg", []string{"../two/set.cfg", "../plain.cfg"}},
		{"two/set.cfg", []string{"../plain.cfg"}},
		{"plain.cfg", nil},
	} {
		g.includes = f.includes
		c.files[f.name] = g.text(n)
		g.file = true
		g.size = max(g.size, 20) // so that further sets stay small
		n = 1 + g.IntN(3)
	}
	g.file = false
	g.includes = inMain
	if g.one(3) {
		for range 1 + g.IntN(2) {
			c.extra = append(c.extra, strings.TrimSuffix(g.text(1), "\n"))
		}
	}
	all := strings.Join(slices.Concat(slices.Collect(maps.Values(c.files)), c.extra), "\n")
	maps.DeleteFunc(c.files, func(name, _ string) bool { return name != "main.cfg" && !strings.Contains(all, name) })
	return c
}

// text writes a file of about n statements.
func (g *generator) text(n int) string {
	g.out.Reset()
	g.strict = false
	first := 3
	if g.focus == focusFilters {
		first = 40
	}
	for !g.file && g.size < first && !g.ended && !g.one(12) {
		g.set(0)
	}
	if g.ended {
		n = 0
	}
	g.ended = false
	g.block(n, 0)
	return g.out.String()
}

func (g *generator) line(indent int, format string, args ...any) {
	if g.one(40) {
		g.out.WriteString(g.pick([]string{"\n", "# k = 1\n", "   // x\n"}))
	}
	fmt.Fprintf(&g.out, "%*s", indent, "")
	fmt.Fprintf(&g.out, format, args...)
	if g.one(60) {
		g.out.WriteString("  ")
	}
	g.out.WriteString("\n")
}

func (g *generator) block(n, indent int) {
	g.depth++
	for range n {
		if g.strict {
			// Only conditions end this state, and keywords are the same in it.
			g.tokens(indent)
			continue
		}
		g.statement(indent)
		if g.ended {
			g.ended = false
			break
		}
	}
	g.depth--
}

func (g *generator) tokens(indent int) {
	if g.one(3) {
		g.line(indent, "%s %s", g.pick([]string{"only", "no", "join"}), g.filter())
	} else {
		g.condition(indent)
	}
}

func (g *generator) statement(indent int) {
	n := g.IntN(20)
	if g.focus == focusFilters && g.one(2) || g.focus == focusJoins && g.one(4) {
		n = 9 + g.IntN(11)
	}
	if g.focus == focusDicts && g.one(2) {
		n = 8
	}
	switch {
	case n < 8:
		g.line(indent, "%s", g.assignment())
	case n < 9:
		g.run(indent)
	case n < 12 && !g.inside:
		if g.depth < 5 && g.size <= 60 {
			g.set(indent)
		}
	case n < 14 && g.depth < 6:
		g.condition(indent)
	default:
		g.line(indent, "%s", g.short())
	}
}

// short is a statement that is one line, but for conditions.
func (g *generator) short() string {
	n := g.IntN(22)
	switch {
	case g.focus == focusFilters && g.one(2), g.focus == focusJoins && g.one(4):
		n = g.IntN(7)
	case g.focus == focusJoins && g.one(3) && !g.inside:
		n = 16
	case g.focus == focusDicts && g.one(3):
		n = 8 + g.IntN(8)
	}
	switch {
	case n < 4:
		return "no " + g.word(2+g.IntN(3))
	case n < 5:
		return "no " + g.filter()
	case n < 7 && g.size > 1:
		return "only " + g.pick([]string{"", "a b x y ", "x,c..a,y,1, ", "a b c d x y ", "a, b, x, y, d..a-b, c..ab, "}) + g.filter()
	case n < 11:
		return "del " + g.pick(append([]string{"k_x", "k_y_x", "name", "k_x_y"}, genKeys[:10]...))
	case n < 16:
		return "suffix " + g.pick(genSuffixes)
	case n < 18 && (g.late || !g.inside) && g.size > 1:
		return g.join()
	case n < 20 && g.includes != nil && (!g.inside || g.one(3)):
		if g.one(80) {
			return "include missing.cfg"
		}
		return "include " + g.pick(g.includes)
	}
	return g.assignment()
}

// run writes assignments in a row, most of them of one pending run.
func (g *generator) run(indent int) {
	g.line(indent, "%s = %d", g.pick(genRun), g.IntN(9))
	for range 1 + g.IntN(6) {
		op := g.pick([]string{"=", "=", "=", "+=", "<=", "~=", "?=", "?=", "?+=", "?<="})
		value := fmt.Sprint(g.IntN(9))
		if g.one(15) {
			value = g.value()
		}
		g.line(indent, "%s %s %s", g.pick(genRun), op, value)
	}
}

// join takes words that differ, else most joins would only fail.
func (g *generator) join() string {
	if g.one(6) {
		return "join " + g.filter()
	}
	words := strings.Fields("a b x y c d")
	if len(g.sets) > 0 && !g.one(5) {
		words = slices.Clone(g.sets[g.IntN(len(g.sets))])
	}
	g.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	for i := range words {
		if g.one(4) {
			words[i] += ".." + g.row()
		}
	}
	return "join " + strings.Join(words[:min(1+g.IntN(3), len(words))], g.pick([]string{" ", ", "}))
}

func (g *generator) assignment() string {
	if g.one(25) {
		return g.pick(genOdd)
	}
	if g.limiting && g.one(2) {
		return g.limit()
	}
	var key, op string
	switch n := g.IntN(10); {
	case n < 4:
		key, op = g.pick(genKeys), "="
	case n < 7:
		key, op = g.pick(genKeys), g.pick([]string{"+=", "<=", "~="})
	default:
		key, op = g.pick(genPatterns), g.pick([]string{"?=", "?+=", "?<="})
	}
	if g.one(40) {
		key = g.pick([]string{"name", "shortname", "dep", "_name_map_file", "name_fixed", "n.*", "x +", "\"k\""})
	}
	if g.late && g.one(10) {
		key = g.pick([]string{"(k", "k)", "[", "*"})
	}
	if !g.limits {
		key = strings.NewReplacer("_min", "_mi", "_max", "_ma").Replace(key)
	}
	blank := g.pick([]string{" ", " ", " ", ""})
	return key + blank + op + blank + g.value()
}

// limit sets a key that limits another one, or one that is limited.
func (g *generator) limit() string {
	key, op := g.pick(genLimits), g.pick([]string{"=", "=", "=", "~=", "+=", "<="})
	if g.one(4) {
		key = g.pick([]string{"k", "k", "l", "v", "a.b", "k_x"})
	}
	if g.one(8) {
		key, op = g.pick([]string{"k_m.*", ".*_max", ".*_min", "k.*", ".*"}), g.pick([]string{"?=", "?+=", "?<="})
	}
	value := g.pick(genNumbers[:10])
	switch {
	case g.one(4):
		value = g.pick(genNumbers)
	case g.one(5):
		value = g.value()
	}
	return key + " " + op + " " + value
}

func (g *generator) value() string {
	switch n := g.IntN(12); {
	case n < 1 && !g.limits:
		return ""
	case n < 5:
		return fmt.Sprint(g.IntN(12))
	case n < 6:
		return fmt.Sprint(g.IntN(3)) + g.pick([]string{"G", "M", "k", "", ".5G", "_0", "T"})
	case n < 9:
		var value strings.Builder
		for range 1 + g.IntN(3) {
			value.WriteString(g.pick([]string{"", "-", ".", "$"}) + "${" + g.pick(genRefs) + "}" + g.pick([]string{"", "", "}", "0"}))
		}
		return value.String()
	case n < 10 && g.late:
		return g.pick([]string{"", `"`, `'a'`, "b", "x = y", "a:b", `" 1 "`, "#", "$k", "${", "${}", "${}k}"})
	case n < 10:
		return g.pick([]string{`"7"`, `" 1 "`, "'3'"})
	}
	return fmt.Sprint(1 + g.IntN(3))
}

// set writes a whole set, whose content may hold sets.
func (g *generator) set(indent int) {
	n := 1 + g.IntN(3)
	if g.size > 20 {
		n = 1 + g.IntN(2)
	}
	if g.focus == focusFilters {
		n = max(n, 2)
	}
	name, meta := "", ""
	if g.one(2) {
		name = " " + g.pick(genSets)
		if g.one(12) {
			name = g.pick([]string{" @kind", " name", " @", " é"})
		}
	}
	for g.one(4) {
		meta += g.pick([]string{" [flag]", " [m = a b]", " [default=" + g.pick(genLabels) + "]", "[default = a]", " [default=]"})
	}
	var names []string
	for range n {
		v := g.pick(genLabels)
		if g.many {
			v = fmt.Sprint("l", g.IntN(150)) // more than fit into one word of a bit set
		}
		for g.one(5) {
			v += "." + g.pick(genLabels)
		}
		if slices.Contains(names, v) && !g.one(4) {
			v = g.pick(genLabels)
		}
		names = append(names, v)
		g.names = append(g.names, v)
	}
	if strings.Contains(meta, "default") && !g.one(20) { // a default that is missing is an error
		meta = " [default=" + names[g.IntN(n)] + "]"
		if g.one(3) {
			first, _, _ := strings.Cut(names[g.IntN(n)], ".")
			meta += " [x] [default=" + first + "]"
		}
	}
	if g.one(30) {
		n = 0
		if !g.one(10) {
			meta = ""
		}
	}
	g.line(indent, "variants%s%s:%s", name, meta, g.pick([]string{"", "", "", " # set"}))
	if n == 0 {
		g.strict, g.ended = true, true
		return
	}
	g.size *= n
	if words := slices.Compact(slices.Sorted(slices.Values(names))); len(words) > 1 {
		for i, w := range words {
			if first, rest, dotted := strings.Cut(w, "."); name != "" && !g.one(4) {
				words[i] = "(" + strings.TrimSpace(name) + "=" + first + ")"
				if dotted {
					words[i] += "." + rest
				}
			}
		}
		if !strings.Contains(name, "@") {
			g.sets = append(g.sets, words)
		}
	}
	dash := indent + 1 + g.IntN(3)
	content := dash + 1 + g.IntN(3)
	for i, v := range names {
		if g.one(6) {
			v = "@" + v
		}
		if g.one(60) {
			v = "@"
		}
		deps := ""
		if g.one(6) {
			deps = " " + g.filter()
		}
		g.line(max(indent+1, dash-i%2*g.IntN(2)), "-%s%s:%s", g.pick([]string{" ", " ", "", "  "}), v, deps)
		g.strict = false
		g.block(g.IntN(3), content)
	}
}

func (g *generator) condition(indent int) {
	head := g.pick([]string{"", "", "", "!", "! "})
	bare := head == ""
	for i := range 1 + g.IntN(2) {
		if i > 0 {
			head += g.pick([]string{",", ", ", " , "})
		}
		word := g.word(1 + g.IntN(2))
		for strings.Contains(word, "=") || bare && strings.HasPrefix(word, "(") {
			word = g.word(1)
		}
		head += word
	}
	if g.one(50) {
		head = "!"
	}
	was := g.inside
	g.inside = true
	g.strict = false
	switch g.IntN(3) {
	case 0:
		head += ": " + g.short()
		for g.one(5) {
			head = g.pick([]string{"", "!"}) + g.pick(genLabels) + ": " + head
		}
		g.line(indent, "%s", head)
		if g.one(3) {
			g.block(1, indent+1+g.IntN(2))
		}
	default:
		g.line(indent, "%s:", head)
		g.block(1+g.IntN(3), indent+1+g.IntN(4))
	}
	g.inside = was
}

func (g *generator) label() string {
	switch {
	case g.one(6):
		return "(" + g.pick(genSets) + "=" + g.pick(genLabels) + ")"
	case g.one(15):
		return "(" + g.pick(genLabels) + ")"
	case g.one(90):
		return "ghost"
	case g.many && g.names != nil:
		return g.pick(g.names)
	}
	return g.pick(genLabels)
}

func (g *generator) row() string {
	var row strings.Builder
	row.WriteString(g.label())
	for g.one(4) {
		row.WriteString("." + g.label())
	}
	return row.String()
}

func (g *generator) word(rows int) string {
	var word strings.Builder
	word.WriteString(g.row())
	for range rows - 1 {
		word.WriteString(".." + g.row())
	}
	return word.String()
}

// filter has many words mostly, so that few variants are dropped.
func (g *generator) filter() string {
	var filter strings.Builder
	filter.WriteString(g.word(1))
	for g.one(2) || g.one(3) {
		filter.WriteString(g.pick([]string{" ", ",", ", ", "  "}))
		rows := 1
		if g.one(4) {
			rows = 2
		}
		filter.WriteString(g.word(rows))
	}
	return filter.String() + g.pick([]string{"", "", "", "", "", "", ",", ".."})
}

// damage makes small faults in a text.
func damage(r *rand.Rand, text string) string {
	lines := strings.SplitAfter(text, "\n")
	for range 1 + r.IntN(3) {
		i := r.IntN(len(lines))
		line := lines[i]
		at := r.IntN(len(line) + 1)
		for at < len(line) && line[at]&0xc0 == 0x80 {
			at++
		}
		next := at
		for _, c := range line[at:] {
			next += len(string(c))
			break
		}
		insert := []string{
			" ", "  ", "\t", "\u00a0", "\u2003", "\u001f", "\u3000", "\ufeff", "\n", "\r", "\r\n", "\u2028", "\v", "\x1c", "\u0085",
			"\x1d", "\x1e", "\f", "\u2029", "\u1680", "\u202f", "\u205f", "\u200b",
			":", "=", ".", "..", ",", "@", "[", "]", "(", ")", "!", "+", "<", "?", "~", "\"", "'", "#", "//", "-", "- ", "$", "${k}",
			"a", "only ", "no ", "variants:", "variants v:", "suffix ", "del ", "include ", "join ", "²", "/", "*", "\x00", "a: ", "!a:",
		}
		switch r.IntN(9) {
		case 0, 1:
			line = line[:at] + insert[r.IntN(len(insert))] + line[at:]
		case 2:
			line = line[:at] + line[next:]
		case 3:
			line = line[:at] + insert[r.IntN(len(insert))] + line[next:]
		case 4:
			line += line
		case 5:
			line = strings.Repeat(" ", 1+r.IntN(5)) + line
		case 6:
			line = strings.TrimPrefix(line, strings.Repeat(" ", 1+r.IntN(3)))
		case 7:
			line = strings.Replace(line, " ", insert[r.IntN(8)], 1+r.IntN(3))
		case 8:
			line = strings.TrimSpace(line) + insert[r.IntN(len(insert))] + "\n"
		}
		lines[i] = line
		text = strings.Join(lines, "")
		lines = strings.SplitAfter(text, "\n")
	}
	return text
}
