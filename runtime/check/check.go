// SPDX-License-Identifier: Apache-2.0

// Package check checks whether hosts have what runs need: programs, KVM, shared
// storage, open ports, clocks in step, memory and disk. It fixes what it can.
//
//	report, err := check.Run(ctx, check.Options{Hosts: configs, Variants: variants, Ledger: record, Name: "mhmig-check-1a2b3c"})
//	if report.Count(check.Failed) > 0 { … }
//
// The tables in this file have all checks. A check ends with a verdict, what it has found,
// and what to do: one command to paste, or one sentence. What it makes on a host is
// recorded in the ledger before, and removed at the end, also when ctx has ended.
//
// The functions may be called by any goroutine, but a ledger is of one call.
package check

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

// Options say what is checked.
type Options struct {
	Hosts    []host.Config
	Variants iter.Seq2[*cartesian.Variant, error]          // those that will run
	Params   cartesian.Params                              // override those of the variants
	Image    func(ctx context.Context, guest string) error // looks for the image of one of mhmig's own guests on this machine, such as jeos
	Name     string                                        // of what is made on the hosts: mhmig-check-ID
	Ledger   *ledger.Ledger
	Log      *slog.Logger
}

// Verdict is how a check has ended.
type Verdict int

// The verdicts, from good to bad.
const (
	OK      Verdict = iota
	Skipped         // not checked: not needed, or impossible
	Warning         // runs are possible
	Failed          // runs will fail
)

// String returns the verdict's name.
func (v Verdict) String() string { return [...]string{"ok", "skipped", "warning", "failed"}[v] }

// MarshalText returns the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Result is the result of one check on one host, or between hosts.
type Result struct {
	Check   string   `json:"check"`
	Hosts   []string `json:"hosts"` // of firewall and shared folder: from the first to the second; none: the machine of mhmig
	Verdict Verdict  `json:"verdict"`
	Found   string   `json:"found"`
	Fix     string   `json:"fix,omitempty"` // what to do
}

// Report is the results of all checks.
type Report struct {
	Hosts  []string `json:"hosts"`
	Checks []Result `json:"checks"`
}

// Count is the number of checks with this verdict.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, c := range r.Checks {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// hostCheck is a check of a host.
type hostCheck struct {
	name string
	do   func(context.Context, *machine) finding
}

// pairCheck is a check of what one host does to another.
type pairCheck struct {
	name string
	do   func(ctx context.Context, from, to *machine) finding
}

// allCheck is a check of all hosts together, or of the machine of mhmig.
type allCheck struct {
	name string
	here bool
	do   func(context.Context, *checker) finding
}

func (a allCheck) hosts(r Report) []string {
	if a.here {
		return nil
	}
	return r.Hosts
}

// sshCheck connects to a host. The other checks are skipped if it fails.
const sshCheck = "ssh"

// onHosts are the checks of each host.
var onHosts = []hostCheck{
	{sshCheck, connect},
	{"programs", programsInstalled},
	{"accelerator", accelerator},
	{"folder", imageFolder},
	{"images", imagesPresent},
	{"memory", freeMemory},
	{"cores", enoughCores},
	{"disk", freeDisk},
	{"leftovers", leftovers},
}

// betweenHosts are the checks of each host with each other one.
var betweenHosts = []pairCheck{
	{"shared-folder", seenByOther},
	{"firewall", connection},
}

// together are the checks of all hosts together, and of this machine.
var together = []allCheck{
	{name: "versions", do: equalVersions},
	{name: "clocks", do: clocksInStep},
	{name: "guest-image", here: true, do: guestImage},
}

const (
	checkTimeout = 60 * time.Second // of one check
	closeTimeout = 60 * time.Second // of removing what was made
)

// checker is one call of Run or Fix.
type checker struct {
	Options
	vms      vm.Cache
	machines []*machine
}

// machine is a host.
type machine struct {
	c      *checker
	config host.Config
	label  string // host1, host2, …: its suffix in params
	needs  needs

	// Set by connect.
	h     *host.Host // nil: not reached
	facts host.Facts

	folder string // made by imageFolder: the check's own; "": none

	mu       sync.Mutex // guards what follows; held while the ledger is written
	commands int        // started with a mark
}

func (m *machine) name() string { return m.config.Name }

// ownName is the name of what the check makes on the host: two hosts may be one machine.
func (m *machine) ownName() string { return m.c.Name + "-" + m.label }

// Run checks the hosts. Hosts that cannot be reached are results, not errors. After an
// error of removing what was made, the ledger has it.
func Run(ctx context.Context, o Options) (report Report, err error) {
	c, err := newChecker(o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, c.close(ctx)) }()
	report = c.newReport()
	report.Checks = append(c.eachHost(ctx, onHosts, checkHost), c.eachPair(ctx)...)
	for _, check := range together {
		f := within(ctx, func(ctx context.Context) finding { return check.do(ctx, c) })
		report.Checks = append(report.Checks, f.result(check.name, check.hosts(report)...))
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return report, nil
}

// newChecker determines what the variants need. Its errors are invalid params.
func newChecker(o Options) (*checker, error) {
	c := &checker{Options: o}
	for i, config := range o.Hosts {
		c.machines = append(c.machines, &machine{c: c, config: config, label: fmt.Sprintf("host%d", i+1)})
	}
	return c, c.determineNeeds()
}

func (c *checker) newReport() (r Report) {
	for _, m := range c.machines {
		r.Hosts = append(r.Hosts, m.name())
	}
	return r
}

// eachHost does checks on all hosts at the same time. The results are ordered by check.
func (c *checker) eachHost(ctx context.Context, checks []hostCheck, do func(context.Context, hostCheck, *machine) finding) (results []Result) {
	for _, check := range checks {
		found := make([]finding, len(c.machines))
		var all sync.WaitGroup
		for i, m := range c.machines {
			all.Go(func() { found[i] = do(ctx, check, m) })
		}
		all.Wait()
		for i, m := range c.machines {
			results = append(results, found[i].result(check.name, m.name()))
		}
	}
	return results
}

// checkHost does a check of a host.
func checkHost(ctx context.Context, check hostCheck, m *machine) finding {
	if m.h == nil && check.name != sshCheck {
		return skip("the host is not reached")
	}
	return within(ctx, func(ctx context.Context) finding { return check.do(ctx, m) })
}

// eachPair does the checks between hosts. Those of one destination follow each other, as
// they listen on the same ports.
func (c *checker) eachPair(ctx context.Context) (results []Result) {
	for _, check := range betweenHosts {
		found := map[[2]*machine]finding{}
		var mu sync.Mutex // guards found
		var all sync.WaitGroup
		for _, to := range c.machines {
			all.Go(func() {
				for _, from := range c.machines {
					if from == to {
						continue
					}
					f := checkPair(ctx, check, from, to)
					mu.Lock()
					found[[2]*machine{from, to}] = f
					mu.Unlock()
				}
			})
		}
		all.Wait()
		for _, from := range c.machines {
			for _, to := range c.machines {
				if from != to {
					results = append(results, found[[2]*machine{from, to}].result(check.name, from.name(), to.name()))
				}
			}
		}
	}
	return results
}

func checkPair(ctx context.Context, check pairCheck, from, to *machine) finding {
	if from.h == nil || to.h == nil {
		return skip("not both hosts are reached")
	}
	return within(ctx, func(ctx context.Context) finding { return check.do(ctx, from, to) })
}

// within does a check within its time limit.
func within(ctx context.Context, do func(context.Context) finding) finding {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("not done after %v", checkTimeout))
	defer cancel()
	return do(ctx)
}

// reached are the hosts that are connected.
func (c *checker) reached() (all []*machine) {
	for _, m := range c.machines {
		if m.h != nil {
			all = append(all, m)
		}
	}
	return all
}

// close removes what was made on the hosts, as mhmig cleanup does, and disconnects.
func (c *checker) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), closeTimeout, fmt.Errorf("not done after %v", closeTimeout))
	defer cancel()
	err := c.Ledger.Undo(ctx, nil, func(_ context.Context, name string) (ledger.Host, error) {
		for _, m := range c.reached() {
			if m.name() == name {
				return m.h, nil
			}
		}
		return nil, fmt.Errorf("no host %s is reached", name)
	}, func(ledger.Entry, []string) {})
	for _, m := range c.reached() {
		err = errors.Join(err, m.h.Close())
	}
	return err
}

// record records what is about to be made on the host.
func (m *machine) record(kind ledger.Kind, path string) error {
	_, err := m.c.Ledger.Record(ledger.Entry{Host: m.name(), Kind: kind, Path: path})
	return err
}

// finding is what a check has found.
type finding struct {
	verdict    Verdict
	found, fix string
	fixScript  string // a script for Fix; "": none
}

// result is the finding as the result of a check.
func (f finding) result(check string, hosts ...string) Result {
	if hosts == nil {
		hosts = []string{}
	}
	return Result{Check: check, Hosts: hosts, Verdict: f.verdict, Found: f.found, Fix: f.fix}
}

func ok(format string, args ...any) finding { return finding{found: fmt.Sprintf(format, args...)} }
func skip(format string, args ...any) finding {
	return finding{verdict: Skipped, found: fmt.Sprintf(format, args...)}
}
func warn(found, fix string) finding { return finding{verdict: Warning, found: found, fix: fix} }
func fail(found, fix string) finding { return finding{verdict: Failed, found: found, fix: fix} }

// failBy is a check that failed by an error, which may know what to do.
func failBy(err error) finding {
	var fixable interface{ Fix() string }
	if !errors.As(err, &fixable) {
		return fail(err.Error(), "")
	}
	return fail(withoutSuffix(err.Error(), "; "+fixable.Fix()), fixable.Fix())
}
