// SPDX-License-Identifier: Apache-2.0

// Package builtins is mhmig's Starlark API: the functions that scenarios call and the
// values they use.
//
// Each is one row of a table ([Functions], [Classes]), with its name, parameters with
// their defaults, result, documentation and code. Argument errors and the reference are
// generated from the tables, and the data ([Language]) that lang/api has for tools that
// do not run scenarios. A builtin has three parts: it converts its arguments to Go
// values; then, if it waits, it releases the scenario's lock ([task.Wait]) and works
// without Starlark values; then it converts its result to a Starlark value.
//
// The builtins of one running scenario share a scenarioState. Its fields are used under
// the scenario's lock only.
package builtins
