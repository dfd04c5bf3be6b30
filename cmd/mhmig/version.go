// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime/debug"
)

// version is the module's version, as the Go tool recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

// versionText is what --version says: the module's version, the commit that it was
// built from, and the Go that built it.
func versionText() string {
	text := "mhmig " + version()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text
	}
	stamp := map[string]string{}
	for _, s := range info.Settings {
		stamp[s.Key] = s.Value
	}
	if commit := stamp["vcs.revision"]; commit != "" {
		text += fmt.Sprintf(", commit %s of %s", commit[:min(len(commit), 12)], stamp["vcs.time"])
		if stamp["vcs.modified"] == "true" {
			text += ", with changes that are not committed"
		}
	}
	return text + ", " + info.GoVersion
}
