// SPDX-License-Identifier: Apache-2.0

// Package scenarios holds the scenarios that mhmig ships.
package scenarios

import "embed"

// FS holds the .star files of this folder.
//
//go:embed *.star
var FS embed.FS
