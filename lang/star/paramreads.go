// SPDX-License-Identifier: Apache-2.0

package star

import "go.starlark.net/syntax"

// A ParamRead is a call in a scenario that reads a param as something else than text, such as
// env.params.seconds("start_delay").
type ParamRead struct {
	Key    string
	Method string          // of params: int, bool, seconds or bytes
	At     syntax.Position // of the key
}

// ParamReads are the reads of params by methods, with the key as a literal, in the scenario
// and the files that it loads. It may be that not all of them are executed.
func (s *Scenario) ParamReads() []ParamRead { return s.paramReads }

// paramRead returns the read that a node is.
func paramRead(n syntax.Node) (ParamRead, bool) {
	call, ok := n.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ParamRead{}, false
	}
	method, ok := call.Fn.(*syntax.DotExpr)
	if !ok || !isParams(method.X) {
		return ParamRead{}, false
	}
	switch method.Name.Name {
	case "int", "bool", "seconds", "bytes":
	default:
		return ParamRead{}, false
	}
	key := call.Args[0]
	if named, ok := key.(*syntax.BinaryExpr); ok && named.Op == syntax.EQ {
		if name, ok := named.X.(*syntax.Ident); !ok || name.Name != "key" {
			return ParamRead{}, false
		}
		key = named.Y
	}
	literal, ok := key.(*syntax.Literal)
	if !ok || literal.Token != syntax.STRING {
		return ParamRead{}, false
	}
	return ParamRead{Key: literal.Value.(string), Method: method.Name.Name, At: literal.TokenPos}, true
}

// isParams says whether an expression is env.params, or called params: those of a VM or a
// host, such as vm.params, may have other values.
func isParams(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.Ident:
		return x.Name == "params"
	case *syntax.DotExpr:
		env, ok := x.X.(*syntax.Ident)
		return ok && env.Name == "env" && x.Name.Name == "params"
	}
	return false
}

// objectReads are what files read of the params of single objects: vm.params, params.object.
type objectReads struct {
	keys  map[string]bool
	any   bool                     // not only these: such params are a value that is used elsewhere
	known map[*syntax.DotExpr]bool // the params whose key was seen
}

// visit is called for each node, from the outside to the inside.
func (r *objectReads) visit(n syntax.Node) {
	var of, key syntax.Expr
	switch n := n.(type) {
	case *syntax.IndexExpr:
		of, key = n.X, n.Y
	case *syntax.CallExpr:
		if method, ok := n.Fn.(*syntax.DotExpr); ok && len(n.Args) > 0 {
			of, key = method.X, n.Args[0]
		}
	case *syntax.DotExpr:
		r.any = r.any || isObject(n) && !r.known[n]
	}
	literal, ok := key.(*syntax.Literal)
	if call, is := of.(*syntax.CallExpr); is {
		of = call.Fn
	}
	if params, is := of.(*syntax.DotExpr); ok && is && literal.Token == syntax.STRING && isObject(params) {
		r.known[params] = true
		r.keys[literal.Value.(string)] = true
	}
}

// isObject says whether an expression is vm.params, or the method of params.object. mig.params
// are the variant's.
func isObject(x *syntax.DotExpr) bool {
	if x.Name.Name != "params" {
		return x.Name.Name == "object"
	}
	of, isName := x.X.(*syntax.Ident)
	return !isParams(x) && (!isName || of.Name != "mig")
}
