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
	deps     filter
	hidden   bool // marked by "@" or [default=]: keeps its labels out of the short name
	isChoice bool // is a variant: the topmost node of its block
	place    place

	closes bool // is the lowest node of a variant's block

	// Of what stands behind a set:
	preferred int // index of the default among children, or -1

	index   int      // among the nodes of the config
	decides bool     // statements holds a filter or a condition
	joins   bool     // statements holds a join
	below   labelSet // labels of all nodes under this one
}

// A statement is one of the types below. Filters and conditions act on the way to a variant, the others when it is
// built.
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

// setKeys sets several keys to plain text.
type setKeys struct {
	keys   []keyID
	values []string

	// The assignments that it was made from, in order, and their source: those that did nothing too. The first key of a
	// variant of a named set comes from the head of the variant; its assignment has no operator.
	src *source
	run []*assignment
}

// changeKey is an assignment that setKeys cannot express.
type changeKey struct {
	op      operator
	key     keyID    // of operators on one key
	pattern *pattern // of operators on patterns
	err     error    // the text is no pattern; that matters when the statement is used
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
	index int // among the config's patterns
	re    *regexp.Regexp
}

// dropKey is "del NAME": it removes the keys that read so.
type dropKey struct {
	name  string
	place place
}

// pick is "only FILTER" or "no FILTER".
type pick struct {
	filter filter
	only   bool
	owner  *node // the node that it stands in; nil if it stands in a condition or comes of a join
	place  place // nowhere if it comes of a join
}

// guard is a condition and its content.
type guard struct {
	filter  filter
	negated bool
	body    []statement
	place   place
}

// renameKeys is "suffix NAME" at the end of its block.
type renameKeys struct {
	suffix string
	place  place
}

// nameFile notes the labels of a variant under the file that it stands in.
type nameFile struct{ file, full, short string }

// joinWords is "join FILTER". It acts on its node before all others.
type joinWords struct {
	filter filter
	place  place
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
}

// decide tells whether statements hold one that acts on the way to a variant, and one that is a join.
func decide(statements []statement) (decides, joins bool) {
	for _, s := range statements {
		switch s.(type) {
		case *pick, *guard:
			decides = true
		case *joinWords:
			joins = true
		}
	}
	return decides, joins
}

// finish computes what expansion wants to know of each node at and below n, given the number of labels that the config
// has and of nodes that are finished already. It returns the latter.
func (n *node) finish(labels, nodes int) int {
	if n.below != nil {
		return nodes
	}
	n.decides, n.joins = decide(n.statements)
	if len(n.children) == 1 && len(n.children[0].labels) == 0 {
		nodes = n.children[0].finish(labels, nodes)
		n.below, n.index = n.children[0].below, nodes
		return nodes + 1
	}
	n.below = make(labelSet, (labels+63)/64)
	for _, child := range n.children {
		nodes = child.finish(labels, nodes)
		for i, bits := range child.below {
			n.below[i] |= bits
		}
		for _, l := range child.labels {
			n.below.add(l.name)
			n.below.add(l.full)
		}
	}
	n.index = nodes
	return nodes + 1
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
		t.refs = append(t.refs, reference{start: start, end: end + 1, name: name, key: keys.id(name)})
		at = end + 1
	}
}
