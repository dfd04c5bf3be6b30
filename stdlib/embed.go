// SPDX-License-Identifier: Apache-2.0

// Package stdlib is what mhmig brings along for configs and scenarios: the config set that is used when no --config is
// given, and the library @std of functions for scenarios.
package stdlib

import "embed"

// FS holds the folder cfg and the .star files of @std.
//
//go:embed cfg/*.cfg *.star
var FS embed.FS

// DefaultConfig is the config in FS that is used when the user names none. It is meant for defaults mode
// (cartesian.Options.Defaults): then one guest and one test come of it, until a filter asks for others.
const DefaultConfig = "cfg/default.cfg"
