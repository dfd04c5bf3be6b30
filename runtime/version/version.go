// SPDX-License-Identifier: Apache-2.0

// Package version tells which mhmig this is, by what the go command has written into
// the program.
package version

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Module is the module's version in the build information.
func Module() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

// Text is the output of --version: the module's version, the commit, and the Go
// version.
func Text() string {
	text := "mhmig " + Module()
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
			text += ", with uncommitted changes"
		}
	}
	return text + ", " + info.GoVersion
}

// Date is the day of the commit, "2026-11-28"; "" if it is not known.
func Date() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			day, _, _ := strings.Cut(s.Value, "T")
			return day
		}
	}
	return ""
}
