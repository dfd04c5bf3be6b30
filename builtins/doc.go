// SPDX-License-Identifier: Apache-2.0

// Package builtins is the Starlark face of mhmig: the functions that scenarios
// call and the values they handle.
//
// Everything is one row of a table ([Functions], [Classes]): name, parameters
// with their defaults, result, documentation and code stand together. Argument
// errors and the reference come from there, and the data ([Language]) that
// lang/api has for those that do not run scenarios. A builtin has three parts: its arguments
// become Go values; then, if it waits, it gives the scenario's lock away
// ([task.Wait]) and works without touching Starlark values; then its result
// becomes a Starlark value.
//
// A [Scene] is what the builtins of one running scenario share. Its fields are
// used under the scenario's lock only.
package builtins
