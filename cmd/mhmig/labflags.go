// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

// labFlags say on which lab to run when no hosts are named.
type labFlags struct {
	kind  string // "": the lab that is up, else embedded
	hosts int    // 0: as many as the lab that is up has, else 2
}

func (f *labFlags) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.kind, "lab", "", "make a lab for this run: `KIND` embedded, or netns (root)")
	flags.IntVar(&f.hosts, "lab-hosts", 0, "how many hosts that lab has: `N` (default 2)")
}

// check refuses a lab that cannot be made.
func (f *labFlags) check(flags *pflag.FlagSet) error {
	switch {
	case flags.Changed("lab") && f.kind != string(lab.Embedded) && f.kind != string(lab.Netns):
		return fmt.Errorf("--lab %s: want %s or %s", f.kind, lab.Embedded, lab.Netns)
	case flags.Changed("lab-hosts") && (f.hosts < 1 || f.hosts > lab.MaxHosts):
		return fmt.Errorf("--lab-hosts %d: want 1 to %d", f.hosts, lab.MaxHosts)
	}
	return nil
}

// open returns the hosts of the lab that is up, unless another is asked for;
// else it makes one of the run's own, which closeLab ends.
func (f *labFlags) open(ctx context.Context, log *slog.Logger) (_ []host.Config, params map[string]string, own bool, closeLab func() error, err error) {
	if up := f.up(); up != nil {
		configs, params, closeLab := use(up, log)
		return configs, params, false, closeLab, nil
	}
	made, err := lab.Start(ctx, lab.Options{Hosts: f.count(), Kind: lab.Kind(f.kind), Logger: log})
	if err != nil {
		return nil, nil, false, nil, hostsError(err)
	}
	return made.Hosts(), made.Params(), true, made.Close, nil
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

// use returns what open does of a lab that is up, and stays so.
func use(up *lab.State, log *slog.Logger) (_ []host.Config, params map[string]string, closeLab func() error) {
	log.Info("using the lab that is up", "hosts", len(up.Configs()))
	return up.Configs(), up.Params(), func() error { return nil }
}

// count is how many hosts the run's own lab has.
func (f *labFlags) count() int {
	if f.hosts == 0 {
		return 2
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
