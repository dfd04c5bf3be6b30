// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/runtime/exit"
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

// usedLab is the lab that a run is on.
type usedLab struct {
	state *lab.State
	own   bool // dies with the run
	kept  bool // was made for the run, and may stay
	close func() error
}

// open returns the lab that is up, unless another is asked for; else it makes one
// of the run's own. Who says, for people, who uses a lab that is up.
func (f *labFlags) open(ctx context.Context, who string, log *slog.Logger) (*usedLab, error) {
	if up := f.up(); up != nil {
		return use(ctx, up, who, log)
	}
	o := f.options()
	o.Logger = log
	made, err := lab.Start(ctx, o)
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	return &usedLab{state: made.State(), own: true, close: made.Close}, nil
}

// asksForOwn says whether the flags want another lab than the one that is up.
func (f *labFlags) asksForOwn() bool { return f.kind != "" || f.hosts != 0 }

// up returns the lab that is up, nil if there is none or another is asked for.
func (f *labFlags) up() *lab.State {
	if f.asksForOwn() {
		return nil
	}
	up, err := lab.Find()
	if err != nil {
		return nil
	}
	return up
}

// use returns a lab that is up, and stays so; meanwhile it is noted to be in use.
func use(ctx context.Context, up *lab.State, who string, log *slog.Logger) (*usedLab, error) {
	release, err := up.Use(ctx, who)
	if err != nil {
		return nil, exit.Hosts.Wrap(fmt.Errorf("use the lab that is up: %w", err))
	}
	log.Info("using the lab that is up", "hosts", len(up.Hosts))
	return &usedLab{state: up, close: func() error { release(); return nil }}, nil
}

// count is how many hosts the lab has that is made.
func (f *labFlags) count() int {
	if f.hosts == 0 {
		return labHosts
	}
	return f.hosts
}

// wouldUse names the hosts that open would return, without making any, and says
// what they are.
func (f *labFlags) wouldUse() (hosts []string, what string) {
	if up := f.up(); up != nil {
		for _, c := range up.Configs() {
			hosts = append(hosts, c.Name)
		}
		return hosts, "of the lab that is up"
	}
	for i := range f.count() {
		hosts = append(hosts, fmt.Sprintf("host%d", i+1))
	}
	return hosts, "of a lab made for the run"
}
