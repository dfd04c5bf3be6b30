// SPDX-License-Identifier: Apache-2.0

// Package stdlib is what mhmig brings along for configs and scenarios: the config set that is used when no --config is
// given.
package stdlib

import "embed"

// FS holds the folder cfg.
//
//go:embed cfg/*.cfg
var FS embed.FS

// DefaultConfig is the config in FS that is used when the user names none. It is meant for defaults mode
// (cartesian.Options.Defaults): then one guest and one test come of it, until a filter asks for others.
const DefaultConfig = "cfg/default.cfg"
