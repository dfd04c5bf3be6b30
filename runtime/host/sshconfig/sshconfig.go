// SPDX-License-Identifier: Apache-2.0

// Package sshconfig evaluates the ssh_config files of a user for a host.
//
// If OpenSSH's client is installed, ssh -G evaluates them: it does not connect, but
// resolves names for CanonicalizeHostname and runs the commands of Match exec.
// Otherwise a library reads the files. It supports less of the language; a file
// that it would interpret differently from ssh is rejected, with the line.
//
// An option that mhmig does not support and that affects the connection is rejected
// or causes a warning in both cases: see the table of keywords.
//
// All functions may be called by several goroutines at the same time.
package sshconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Files are the configuration files to read, and their user.
type Files struct {
	User   string // the user's file, which takes precedence; empty or missing: none
	System string // read last; empty or missing: none
	Home   string // the folder that ~ stands for
	Login  string // the local user's name
}

// Target is a host as the user names it, with values that override the files, as on
// ssh's command line.
type Target struct {
	Name     string // an alias, a DNS name or an IP address
	User     string // empty: from the files
	Port     int    // 0: from the files
	HostName string // the address to connect to; empty: from the files
}

// Options are the options of a host.
type Options struct {
	// Notices are warnings for the user.
	Notices []string

	values map[string][]string // by keyword in lower case; without ssh's defaults
}

// Get returns the value of an option as ssh -G prints it or as written in a file;
// empty, if it is ssh's default. The keyword is in lower case.
func (o Options) Get(keyword string) string {
	if v := o.values[keyword]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// All returns the values of an option that has several: of identityfile,
// certificatefile, userknownhostsfile and globalknownhostsfile each a file name.
// It returns nil if it is ssh's default.
func (o Options) All(keyword string) []string { return o.values[keyword] }

// Read returns the options of a host. It blocks while ssh -G runs, which is killed
// after ten seconds or when ctx ends. Its errors name the file and the line, or are
// those of ssh.
func Read(ctx context.Context, f Files, t Target) (Options, error) {
	for _, file := range []*string{&f.User, &f.System} {
		if _, err := os.Stat(*file); errors.Is(err, fs.ErrNotExist) {
			*file = ""
		}
	}
	o, err := f.read(ctx, t)
	if err != nil {
		return Options{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.values)) {
		k, known := keywords[name]
		switch {
		case !known:
			o.Notices = append(o.Notices, fmt.Sprintf("ssh_config: %s: mhmig does not know this option and ignores it", name))
		case k.effect == rejected:
			return Options{}, fmt.Errorf("ssh_config: %s %s: %s", name, strings.Join(o.values[name], " "), k.why)
		case k.effect == warned && !isNo(o.values[name][0]):
			o.Notices = append(o.Notices, fmt.Sprintf("ssh_config: %s %s: %s", name, strings.Join(o.values[name], " "), k.why))
		}
	}
	return o, nil
}

func (f Files) read(ctx context.Context, t Target) (Options, error) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return f.byLibrary(t)
	}
	o, err := client(program).query(ctx, f, t)
	if errors.Is(err, errSSHUnusable) {
		return f.byLibrary(t)
	}
	return o, err
}

func isNo(value string) bool { return value == "no" || value == "false" || value == "none" }
