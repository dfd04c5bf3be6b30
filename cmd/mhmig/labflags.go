// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/runtime/lab"
)

// labFlags say which lab to make, or on which to run when no hosts are named.
type labFlags struct {
	kind  string // "": exec takes the lab that is up, else an embedded one is made
	hosts int    // 0: as many as the lab that is up has, else labHosts
}

// labHosts is how many hosts a lab has unless a flag says otherwise.
const labHosts = 2

func (f *labFlags) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.kind, "lab", "", "make a lab of this `KIND`: embedded, or netns (root)")
	flags.IntVar(&f.hosts, "lab-hosts", 0, fmt.Sprintf("how many hosts that lab has: `N` (default %d)", labHosts))
}

// check refuses a lab that cannot be made.
func (f *labFlags) check(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("lab") && f.kind != string(lab.Embedded) && f.kind != string(lab.Netns):
		return wrongValue("lab", f.kind, string(lab.Embedded), string(lab.Netns))
	case flags.Changed("lab-hosts") && (f.hosts < 1 || f.hosts > lab.MaxHosts):
		return fmt.Errorf("--lab-hosts %d: want 1 to %d", f.hosts, lab.MaxHosts)
	}
	return nil
}

// options describe the lab that the flags ask for.
func (f *labFlags) options() lab.Options {
	o := lab.Options{Hosts: f.count(), Kind: lab.Embedded}
	if f.kind != "" {
		o.Kind = lab.Kind(f.kind)
	}
	return o
}

// wantsOwnLab reports whether the flags want another lab than the one that is up.
func (f *labFlags) wantsOwnLab() bool { return f.kind != "" || f.hosts != 0 }

// count is how many hosts the lab has that is made.
func (f *labFlags) count() int {
	if f.hosts == 0 {
		return labHosts
	}
	return f.hosts
}
