// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"regexp"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"

	"github.com/mhmig/mhmig/lang/diag"
)

// A node is a point on the ways to the variants. Expansion enters the tree at its root, which holds the end of the
// config, and walks towards the beginning of the config, where the leaf is. Nodes are shared: the variants of a set all
// have what stands before the set as their child. No node changes once its config is built.
type node struct {
	statements []statement // in the order of the text
	children   []*node     // in the order of the text; none below the leaf

	// Of a variant:
	labels   []nodeLabel
	full     string   // the labels as they stand in names, with dots between
	short    string   // the same without set names
	deps     []string // labels that it depends on, each to be put after the path's
	hidden   bool     // marked by "@" or [default=]: keeps its labels out of the short name
	isChoice bool     // is a variant: the topmost node of its block
	place    place

	closes bool // is the lowest node of a variant's block

	depth int // how many nodes lie under this one in a row, at most

	// Of what follows a set:
	preferred int // index of the default among children, or -1

	// What follows from the above, see finish:
	finished  bool
	index     int          // among the config's nodes
	decisions []statement  // those of statements that decide which variants there are
	joins     []*joinWords // those of statements that are joins
	below     bitSet       // labels of all nodes under this one
	asked     bitSet       // rows that the decisions and joins of this node and those under it ask for
	joined    bool         // this node or one under it has joins
	leaves    int          // how many variants there would be without filters and joins, up to manyLeaves
}

// manyLeaves is where counting leaves ends.
const manyLeaves = 1 << 30

// A statement is one of the types below. All but filters, conditions and joins act when a variant is built.
type statement any

// A place is where a statement stands.
type place struct {
	src *source
	pos lexer.Position
}

// diagnostic is what message says of the statement.
func (p place) diagnostic(message, hint string) diag.Diagnostic {
	return p.src.diagnostic(p.pos, message, hint)
}

// A value is the text of a key.
type value struct {
	text string
	json string // `"key":"text",`, for the key that has this value; "" until someone asks for it
}

// setKeys sets several keys to plain text.
type setKeys struct {
	keys   []keyID
	values []*value

	// The assignments that it was made from, in order, and their source: those that did nothing too. The first key of a
	// variant of a named set comes from the head of the variant; its assignment has no operator.
	src *source
	run []*assignment
}

// changeKey is an assignment that setKeys cannot express.
type changeKey struct {
	index   int // among the config's
	op      operator
	key     keyID    // of operators on one key
	pattern *pattern // of operators on patterns
	value   template
	place   place
}

type operator int

const (
	opSet          operator = iota // =
	opAppend                       // +=
	opPrepend                      // <=
	opLazy                         // ~=
	opMatchSet                     // ?=
	opMatchAppend                  // ?+=
	opMatchPrepend                 // ?<=
)

var operatorOf = map[string]operator{
	"=": opSet, "+=": opAppend, "<=": opPrepend, "~=": opLazy,
	"?=": opMatchSet, "?+=": opMatchAppend, "?<=": opMatchPrepend,
}

func (op operator) onPattern() bool { return op >= opMatchSet }

// combine returns what op makes of the old value, "" when there is none, and the operand.
func (op operator) combine(old, operand string) string {
	switch op {
	case opAppend, opMatchAppend:
		return old + operand
	case opPrepend, opMatchPrepend:
		return operand + old
	}
	return operand
}

// A pattern is the left side of operators on patterns.
type pattern struct {
	index    int // among the config's patterns
	compiled func() *regexp.Regexp
}

func (p *pattern) matches(key string) bool { return p.compiled().MatchString(key) }

// dropKey is "del NAME": it removes the keys that read so.
type dropKey struct {
	name  string
	key   keyID
	place place
}

// pick is "only FILTER" or "no FILTER".
type pick struct {
	id     int // among the config's decisions
	filter filter
	only   bool
	place  place // nowhere if it comes of a join
}

// guard is a condition and its content.
type guard struct {
	id        int
	filter    filter
	negated   bool
	body      []statement
	decisions []statement // those of body that decide which variants there are
	place     place
}

// fault is a statement that cannot act: an error for each variant that it would act on.
type fault struct {
	id  int
	err error
}

// renameKeys is "suffix NAME" at the end of its block.
type renameKeys struct {
	suffix string
	place  place
}

// nameFile notes the labels of a variant under the file that it stands in.
type nameFile struct {
	file        *namedFile
	full, short string
}

// A namedFile is all files with the same base name.
type namedFile struct {
	base string
	json string // `"base":`
	rank int    // among the sorted names
}

// joinWords is "join FILTER". It acts on its node before all others.
type joinWords struct {
	factors []*pick // "only" with each of its words
	nothing *pick   // what to do instead of multiplying when a node's joins have no words at all
	place   place
}

// A template is a value with references to keys in it.
type template struct {
	text string
	refs []reference
}

// A reference is the part "${name}" of a template.
type reference struct {
	start, end int // in the template's text
	name       string
	key        keyID
	reserved   bool
}

// decides reports whether s, or something in it, decides which variants there are. A fault does: where it acts there is
// none.
func decides(s statement) bool {
	switch s := s.(type) {
	case *pick, *fault:
		return true
	case *guard:
		return len(s.decisions) > 0
	}
	return false
}

// decisionID returns the number of a statement that decides.
func decisionID(s statement) int {
	switch s := s.(type) {
	case *pick:
		return s.id
	case *guard:
		return s.id
	case *fault:
		return s.id
	}
	panic("no decision") // see decides
}

// treeSize counts what a config's tree consists of.
type treeSize struct{ labels, rows, nodes int }

// finish computes what expansion wants to know of each node at and below n, and counts the nodes.
func (n *node) finish(size *treeSize) {
	if n.finished {
		return
	}
	n.finished = true
	for _, s := range n.statements {
		if join, ok := s.(*joinWords); ok {
			n.joins = append(n.joins, join)
		} else if decides(s) {
			n.decisions = append(n.decisions, s)
		}
	}
	n.joined = len(n.joins) > 0
	for _, child := range n.children {
		child.finish(size)
		n.joined = n.joined || child.joined
		n.leaves = min(manyLeaves, n.leaves+child.leaves)
	}
	if len(n.children) == 0 {
		n.leaves = 1
	}
	n.index = size.nodes
	size.nodes++
	n.finishBelow(size.labels)
	n.finishAsked(size.rows)
}

// finishBelow shares the set of the only child where it can.
func (n *node) finishBelow(labels int) {
	if len(n.children) == 1 && len(n.children[0].labels) == 0 {
		n.below = n.children[0].below
		return
	}
	n.below = newBitSet(labels)
	for _, child := range n.children {
		n.below.addAll(child.below)
		for _, l := range child.labels {
			n.below.add(int(l.name))
			n.below.add(int(l.full))
		}
	}
}

func (n *node) finishAsked(rows int) {
	if len(n.children) == 1 && len(n.decisions) == 0 && len(n.joins) == 0 {
		n.asked = n.children[0].asked
		return
	}
	n.asked = newBitSet(rows)
	for _, child := range n.children {
		n.asked.addAll(child.asked)
	}
	addAsked(n.asked, n.decisions)
	for _, j := range n.joins {
		for _, f := range j.factors {
			addAsked(n.asked, []statement{f})
		}
	}
}

// addAsked adds the rows that decisions ask for.
func addAsked(rows bitSet, decisions []statement) {
	add := func(f filter) {
		for _, w := range f {
			for _, r := range w {
				rows.add(int(r))
			}
		}
	}
	for _, s := range decisions {
		switch s := s.(type) {
		case *pick:
			add(s.filter)
		case *guard:
			add(s.filter)
			addAsked(rows, s.decisions)
		}
	}
}

func (t template) usesReserved() bool {
	for _, ref := range t.refs {
		if ref.reserved {
			return true
		}
	}
	return false
}

// compileTemplate finds the references in a value: the shortest "${…}" with at least one character in it.
func compileTemplate(value string, keys *keyTable) template {
	t := template{text: value}
	for at := 0; ; {
		i := strings.Index(value[at:], "${")
		if i < 0 {
			return t
		}
		start := at + i
		// The first character of the name may be a "}".
		first := start + 2
		if first >= len(value) {
			return t
		}
		i = strings.IndexByte(value[first+1:], '}')
		if i < 0 {
			return t
		}
		end := first + 1 + i
		name := value[first:end]
		t.refs = append(t.refs, reference{start: start, end: end + 1, name: name, key: keys.id(name), reserved: isReserved(name)})
		at = end + 1
	}
}
