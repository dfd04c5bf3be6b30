// SPDX-License-Identifier: Apache-2.0

// Package hostflags has the flags that say on which hosts a command runs: existing ones, or
// those of a lab.
package hostflags

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/lab"
)

// Lab is the flags of the lab to make or to run on.
type Lab struct {
	kind  string // "": exec takes the lab that is up, else an embedded one is made
	hosts int    // 0: as many as the lab that is up has, else defaultHosts
}

// defaultHosts is the default number of hosts of a lab.
const defaultHosts = 2

// Add adds the flags.
func (f *Lab) Add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kind, "lab", "", "make a lab of this `KIND`: embedded, or netns (root)")
	flags.IntVar(&f.hosts, "lab-hosts", 0, fmt.Sprintf("number of hosts of that lab: `N` (default %d)", defaultHosts))
}

// Check rejects invalid flags.
func (f *Lab) Check(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("lab") && f.kind != string(lab.Embedded) && f.kind != string(lab.Netns):
		return usage.WrongValue("lab", f.kind, string(lab.Embedded), string(lab.Netns))
	case flags.Changed("lab-hosts") && (f.hosts < 1 || f.hosts > lab.MaxHosts):
		return fmt.Errorf("--lab-hosts %d: want 1 to %d", f.hosts, lab.MaxHosts)
	}
	return nil
}

// Options are the options of the lab.
func (f *Lab) Options() lab.Options {
	o := lab.Options{Hosts: f.count(), Kind: lab.Embedded}
	if f.kind != "" {
		o.Kind = lab.Kind(f.kind)
	}
	return o
}

// WantsOwn reports whether the flags ask for a lab other than the one that is up.
func (f *Lab) WantsOwn() bool { return f.kind != "" || f.hosts != 0 }

// count is the number of hosts of the lab to make.
func (f *Lab) count() int {
	if f.hosts == 0 {
		return defaultHosts
	}
	return f.hosts
}

// AddHosts adds the flag that names existing hosts.
func AddHosts(flags *pflag.FlagSet, hosts *[]string) {
	flags.StringSliceVar(hosts, "hosts", nil, "hosts to run on, the master first: `NAME,NAME,...`, as for ssh")
}

// Check rejects invalid flags for hosts and labs.
func Check(flags *pflag.FlagSet, hosts []string, lab *Lab) error {
	switch {
	case !flags.Changed("hosts"):
		return lab.Check(flags)
	case flags.Changed("lab") || flags.Changed("lab-hosts"):
		return errors.New("--hosts names existing hosts, --lab and --lab-hosts make some: want one or the other")
	case len(hosts) == 0: // from an unset variable, say: it must not mean the lab
		return errors.New("--hosts: empty, want names of hosts")
	}
	for i, name := range hosts {
		switch {
		case strings.TrimSpace(name) != name || name == "":
			return fmt.Errorf("--hosts: got the name %q, want names with commas between them and no blanks", name)
		case slices.Contains(hosts[:i], name):
			return fmt.Errorf("--hosts: %s is named twice; for two names of one machine, use aliases in ~/.ssh/config", name)
		}
	}
	return nil
}
