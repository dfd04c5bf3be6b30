// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/builtins"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/star"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/jeos"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/run"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/stdlib"
)

// execution is one call of mhmig exec: its flags.
type execution struct {
	selection
	hosts    []string
	lab      labFlags
	results  string
	timeout  time.Duration
	verbose  bool
	most     int // variants
	scenario string
	debug    debugFlags

	keptLab string // set by reach: the lab that is made for this run and may stay
	endVMs  bool   // set by reach: the params would leave VMs, but they cannot stay
}

func newExecCommand() *cobra.Command {
	var e execution
	command := &cobra.Command{
		Use:   "exec SCENARIO.star",
		Short: "Run a scenario for each variant of the config",
		Long: `Run a scenario once per variant of the config: on the hosts that --hosts names,
else on the lab that is up (mhmig lab up), else on a lab made for this run.
A word of an "only" or "join" of --filter that no variant can match is an error,
and so are no variants at all, or more than --max-variants.

Exit status: 0 everything passed, 1 some variant failed or erred, 2 wrong
arguments or an error in a file, 3 the hosts cannot be used, 130 interrupted.`,
		Example: `  mhmig exec scenarios/multihost_migration.star
  mhmig exec my.star --hosts host1.foo.com,host2.foo.com --config my.cfg --filter 'only JeOS'
  mhmig exec my.star --lab netns --lab-hosts 3 --param mem=256`,
		Args: arguments(1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			e.scenario = args[0]
			if err := errors.Join(e.check(command.Flags()), e.debug.check()); err != nil {
				return err
			}
			outliveReader()
			return e.run(command.Context(), command)
		},
	}
	flags := command.Flags()
	e.flags(flags)
	flags.StringVar(&e.config, "config", "", "config `FILE` (default: the one that mhmig brings)")
	flags.StringSliceVar(&e.hosts, "hosts", nil, "hosts to run on, the master first: `NAME,NAME,...`, as for ssh")
	e.lab.flags(flags)
	flags.StringVar(&e.results, "results", "mhmig-results", "`DIR` for the folders of results")
	flags.DurationVar(&e.timeout, "timeout", 0, "end a variant after this `TIME`, such as 30m (default: no limit)")
	flags.IntVar(&e.most, "max-variants", 10_000, "refuse a config with more than `N` variants")
	e.debug.flags(flags)
	flags.BoolVarP(&e.verbose, "verbose", "v", false, "show every remote command and QMP message")
	return command
}

// check refuses flags that cannot be meant so, before anything is made.
func (e *execution) check(flags *pflag.FlagSet) error {
	switch {
	case filepath.Ext(e.scenario) == ".cfg":
		return fmt.Errorf("%[1]s is a config, want a scenario: mhmig exec SCENARIO.star --config %[1]s", e.scenario)
	case flags.Changed("timeout") && e.timeout <= 0:
		return fmt.Errorf("--timeout %v: want more than 0", e.timeout)
	case e.most < 1:
		return fmt.Errorf("--max-variants %d: want 1 or more", e.most)
	case !flags.Changed("hosts"):
		return e.lab.check(flags)
	case flags.Changed("lab") || flags.Changed("lab-hosts"):
		return errors.New("--hosts names hosts that are there, --lab and --lab-hosts make some: want one or the other")
	case len(e.hosts) == 0: // from an unset variable, say: it must not mean the lab
		return errors.New("--hosts: empty, want names of hosts")
	}
	for i, name := range e.hosts {
		switch {
		case strings.TrimSpace(name) != name || name == "":
			return fmt.Errorf("--hosts: got the name %q, want names with commas between them and no blanks", name)
		case slices.Contains(e.hosts[:i], name):
			return fmt.Errorf("--hosts: %s is named twice; for two names of one machine, use aliases in ~/.ssh/config", name)
		}
	}
	return nil
}

func (e *execution) run(ctx context.Context, command *cobra.Command) (err error) {
	scenario, err := e.load(ctx)
	if err != nil {
		return err
	}
	config, err := e.parse()
	if err != nil {
		return err
	}
	if typos := config.Typos(); typos != nil { // they must not run less, and pass
		return usageError(typos)
	}
	options := cartesian.Options{Defaults: e.config == ""}
	first, err := firstVariant(ctx, config, options)
	if err != nil {
		return err
	}
	if err := limitVariants(ctx, config, options, e.most); err != nil {
		return err
	}
	stderr := command.ErrOrStderr()
	if err := diag.Render(stderr, config.Warnings(), colour(os.Stderr)); err != nil {
		return err
	}
	image, err := guestImage(ctx, first)
	if err != nil {
		return err
	}

	terminal := result.NewTerminal(stderr, result.TerminalOptions{
		Color: colour(os.Stderr), Width: func() int { return width(os.Stderr) }, Verbose: e.verbose,
	})
	folder, err := result.Create(e.results, result.Run{
		Command: os.Args, Version: version(), Scenario: e.scenario, Config: e.config, Filters: e.filters, Hosts: e.hosts,
	}, func(err error) { fmt.Fprintln(stderr, "mhmig:", err) })
	if err != nil {
		return usageError(err)
	}
	status := result.Error // until something better is known
	defer func() {
		if errors.Is(err, run.ErrInterrupted) {
			status = result.Cancel
		}
		err = errors.Join(err, folder.Finish(status))
	}()
	log := slog.New(slog.NewMultiHandler(folder.Handler(), terminal))

	record, err := ledger.Open(filepath.Join(folder.Dir(), ledgerFile))
	if err != nil {
		return usageError(err)
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	e.debug.folder = folder.Dir()
	consoles, err := openRelay(ctx, folder.Dir())
	if err != nil {
		return usageError(fmt.Errorf("offer the VMs' consoles: %w", err))
	}
	defer func() { err = errors.Join(err, consoles.Close()) }()

	hosts, labParams, closeHosts, err := e.reach(ctx, first, folder.Dir(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeHosts()) }()

	runCtx := ctx // without the variant's timeout
	outcomes, err := run.Variants(ctx, run.Options{
		Hosts: hosts, HostParams: e.labParams(labParams), Results: folder, Ledger: record, Log: log, Timeout: e.timeout,
		Shipped: func(name string) (string, error) { return shippedFile(ctx, image, name) },
		Scenario: func(ctx context.Context, bed *testbed.Bed) run.Verdict {
			return builtins.Run(ctx, bed, scenario.Main, e.debug.scenario(runCtx, bed))
		},
		Opened: consoles.opened, Failed: e.debug.failed,
	}, config.Variants(ctx, options))
	terminal.Table(outcomes)
	showFailures(stderr, outcomes, width(os.Stderr))
	fmt.Fprintf(stderr, "results: %s\n", folder.Dir())
	e.debug.tell()
	status = overall(outcomes)
	switch {
	case errors.Is(err, run.ErrInterrupted):
		return err
	case isLost(err):
		return hostsError(err)
	case err != nil:
		return usageError(err)
	case !status.OK():
		return &exitError{code: exitFailed}
	}
	return nil
}

// isLost says that the connection to a host broke.
func isLost(err error) bool {
	_, lost := errors.AsType[*host.LostError](err)
	return lost
}

// load loads the scenario.
func (e *execution) load(ctx context.Context) (*star.Scenario, error) {
	predeclared, err := builtins.Predeclared()
	if err != nil {
		return nil, err
	}
	loader := &star.Loader{Predeclared: predeclared, Libraries: map[string]fs.FS{"std": stdlib.FS}}
	scenario, err := loader.Scenario(ctx, e.scenario)
	if err != nil {
		if missing, ok := errors.AsType[*fs.PathError](err); ok && missing.Path == e.scenario {
			err = fmt.Errorf("scenario %s: %w", e.scenario, missing.Err)
		}
		return nil, usageError(err)
	}
	return scenario, nil
}

// firstVariant checks that the config has any variant at all: a typo must
// never run nothing and pass.
func firstVariant(ctx context.Context, config *cartesian.Config, options cartesian.Options) (*cartesian.Variant, error) {
	next, stop := iter.Pull2(config.Variants(ctx, options))
	defer stop()
	v, err, any := next()
	switch {
	case err != nil:
		return nil, usageError(err)
	case any:
		return v, nil
	}
	nothing := diag.Diagnostic{Message: "no variant is left to run: see mhmig list for all names"}
	return nil, usageError(append(whyEmpty(ctx, config, options, config.Warnings()), nothing))
}

// reach connects to all hosts at the same time: those named by --hosts, else
// those of a lab. How they are reached is noted in the results folder.
func (e *execution) reach(ctx context.Context, first *cartesian.Variant, folder string, log *slog.Logger) (_ []*host.Host, labParams map[string]string, closeAll func() error, err error) {
	var configs []host.Config
	var ownLab bool
	closeLab := func() error { return nil }
	if len(e.hosts) > 0 {
		for i, name := range e.hosts {
			c, err := host.Resolve(name, first.Params, i+1)
			if err != nil {
				return nil, nil, nil, hostsError(err)
			}
			configs = append(configs, c)
		}
	} else {
		configs, labParams, ownLab, closeLab, err = e.openLab(ctx, log)
		if err != nil {
			return nil, nil, nil, err
		}
	}
	if e.endVMs = ownLab && leavesVMs(first.Params); e.endVMs {
		log.Warn("VMs cannot be left running on a lab that ends with the run; mhmig lab up makes one that stays")
	}
	if err := (reachRecord{OwnLab: ownLab, KeptLab: e.keptLab, Hosts: configs}).save(folder); err != nil {
		return nil, nil, nil, errors.Join(usageError(err), closeLab())
	}
	hosts := make([]*host.Host, len(configs))
	closeAll = func() error {
		var errs []error
		for _, h := range hosts {
			if h != nil {
				errs = append(errs, h.Close())
			}
		}
		return errors.Join(append(errs, closeLab())...)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	errs := make([]error, len(configs)) // of each host: a user wants to hear of all at once
	for i, c := range configs {
		group.Go(func() error {
			hosts[i], errs[i] = host.Dial(groupCtx, c, log)
			return nil
		})
	}
	_ = group.Wait()
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, nil, errors.Join(hostsError(err), closeAll())
	}
	return hosts, labParams, closeAll, nil
}

// leavesVMs says whether VMs may be wanted to stay when the scenario is over.
func leavesVMs(p cartesian.Params) bool {
	for _, key := range []string{"kill_vm", "kill_vm_on_error"} {
		if kill, err := p.Bool(key, true); err == nil && !kill {
			return true
		}
	}
	return false
}

// labParams are the params that a lab sets, but those that the user has set
// with --param. On a lab that ends with the run no VM is left, as it would go
// with the lab.
func (e *execution) labParams(all map[string]string) cartesian.Params {
	params := cartesian.Params{}
	for key, value := range all {
		if !e.setByUser(key) {
			params[key] = value
		}
	}
	if e.endVMs {
		params["kill_vm"], params["kill_vm_on_error"] = "yes", "yes"
	}
	return params
}

// guestImage finds the guest that mhmig builds, if the variant wants it.
func guestImage(ctx context.Context, v *cartesian.Variant) (*jeos.Image, error) {
	if !strings.HasPrefix(v.Params["kernel"], testbed.ShippedPrefix) {
		return nil, nil
	}
	image, err := jeos.Find(ctx, jeos.Options{})
	if err != nil {
		return nil, hostsError(err)
	}
	return &image, nil
}

// shippedFile returns the local copy of one of mhmig's own files.
func shippedFile(ctx context.Context, image *jeos.Image, name string) (string, error) {
	if image == nil {
		found, err := jeos.Find(ctx, jeos.Options{})
		if err != nil {
			return "", err
		}
		image = &found
	}
	switch name {
	case "kernel":
		return image.Kernel, nil
	case "initrd":
		return image.Initrd, nil
	}
	return "", fmt.Errorf("%s%s: mhmig brings no such file, only kernel and initrd", testbed.ShippedPrefix, name)
}

func overall(outcomes []result.Outcome) result.Status {
	parts := make([]result.Status, len(outcomes))
	for i, o := range outcomes {
		parts[i] = o.Status
	}
	return result.Worst(parts...)
}
