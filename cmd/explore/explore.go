// SPDX-License-Identifier: Apache-2.0

// Package explore has the command that runs random walks, and makes those small that fail.
package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mhmig/mhmig/cmd/usage"
	"github.com/mhmig/mhmig/runtime/controller"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/explore"
	"github.com/mhmig/mhmig/runtime/result"
)

// Runs runs scenarios as mhmig exec does.
type Runs interface {
	// AddFlags adds those flags of exec that say how, and with which hosts and params.
	AddFlags(*pflag.FlagSet)
	// CheckFlags rejects invalid ones. It draws the seed if none is given.
	CheckFlags(*pflag.FlagSet) error
	// Seed is the value of --seed.
	Seed() uint64
	// Results is the folder for the folders of results.
	Results() string
	// Run runs a scenario of one variant, with more params, and blocks until its hosts are
	// cleaned up. It is shown like by exec, or not at all.
	Run(c *cobra.Command, scenario string, params []string, shown bool) (controller.Outcome, error)
}

// command is one call of mhmig explore: its flags.
type command struct {
	runs       Runs
	steps      int
	out        string
	dryRun     bool
	shrinkRuns int
	shrinkTime time.Duration
}

// own are the flags that mhmig exec has not, or that its users do not need to see the same
// again.
var own = []string{"seed", "steps", "out", "dry-run", "shrink-runs", "shrink-timeout", "results", "json", "verbose", "timeout"}

// NewCommand returns the command explore.
func NewCommand(runs Runs) *cobra.Command {
	x := command{runs: runs}
	c := &cobra.Command{
		Use:   "explore",
		Short: "Look for faults by random walks over migrations, features, faults and devices",
		Long: `Run one guest through a random walk: migrations over tcp, unix, exec, fd and file, with
multifd, XBZRLE, auto-converge, post-copy and TLS, as far as the hosts and their QEMUs have
them, migrations that are cancelled or lose their destination, limits that change, pauses,
resets, blocked ports and a source that freezes meanwhile, reboots, and disks and network
cards that are plugged and unplugged. A model says which steps are
possible, and what must hold after each: the guest runs on the right host alone, it has
not rebooted, its memory is equal on both ends (memory_proof) and its workload has lost
nothing. mhmig doc @std//walk.star says what the steps do.

First, the hosts are asked what they are able to do; what one of them lacks is left out,
and named. The same seed gives the same walk where the hosts are able to do the same.

After a FAIL, smaller walks are run, each on a new guest, as long as they fail in the
same way: a half, a quarter and so on of the steps is left out, and the rest does less.
The smallest one is written to --out, a scenario for mhmig exec. All runs are in --results.

Exit status: 0 no violation was found, 1 one was found, or the walk ended with an ERROR
or SKIP, else as for mhmig exec.`,
		Example: `  mhmig explore --steps 30
  mhmig explore --seed 42 --steps 200 --lab netns --lab-hosts 3
  mhmig explore --hosts host1,host2 --config my.cfg --filter 'only JeOS' --out found.star
  mhmig explore --seed 42 --steps 10 --dry-run`,
		Args: usage.Arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := x.check(c.Flags()); err != nil {
				return &exit.ArgumentError{Err: err}
			}
			return x.run(c)
		},
	}
	flags := c.Flags()
	runs.AddFlags(flags)
	flags.IntVar(&x.steps, "steps", 30, "how many steps the walk has: `N`")
	flags.StringVar(&x.out, "out", "", "`FILE` for the smallest walk with the violation (default explore-SEED.star)")
	flags.BoolVar(&x.dryRun, "dry-run", false, "only ask the hosts what they are able to do, and print the steps")
	flags.IntVar(&x.shrinkRuns, "shrink-runs", 60, "run at most `N` smaller walks after a violation; 0: write the walk as it is")
	flags.DurationVar(&x.shrinkTime, "shrink-timeout", 15*time.Minute, "begin no smaller walk after this `TIME`")
	return c
}

func (x *command) check(flags *pflag.FlagSet) error {
	switch {
	case x.steps < 1:
		return fmt.Errorf("--steps %d: want 1 or more", x.steps)
	case x.shrinkRuns < 0:
		return fmt.Errorf("--shrink-runs %d: want 0 or more", x.shrinkRuns)
	case x.shrinkTime <= 0:
		return fmt.Errorf("--shrink-timeout %v: want more than 0", x.shrinkTime)
	case flags.Changed("out") && filepath.Ext(x.out) != ".star":
		return fmt.Errorf("--out %s: want a name with .star at its end", x.out)
	}
	return x.runs.CheckFlags(flags)
}

func (x *command) run(c *cobra.Command) error {
	stderr := c.ErrOrStderr()
	fmt.Fprintf(stderr, "mhmig: seed %d: asking the hosts what they are able to do\n", x.runs.Seed())
	vocabulary, err := x.ask(c)
	if err != nil {
		return err
	}
	for _, missing := range vocabulary.Missing {
		fmt.Fprintln(stderr, "mhmig: left out:", missing)
	}
	steps := vocabulary.Walk(x.runs.Seed(), x.steps)
	if x.dryRun {
		for i, text := range explore.Text(vocabulary.Hosts, steps) {
			if _, err := fmt.Fprintf(c.OutOrStdout(), "%3d  %s\n", i+1, text); err != nil {
				return err
			}
		}
		return nil
	}
	w := &walk{command: x, cobra: c, hosts: vocabulary.Hosts}
	ended, err := w.execute(steps, fmt.Sprintf("walk-%d", x.runs.Seed()), true)
	if err != nil {
		return err
	}
	switch {
	case ended.outcome.Status == result.Fail:
		return w.found(steps, ended)
	case !ended.outcome.Status.OK() || ended.outcome.Status == result.Skip:
		return exit.Failed.Wrap(fmt.Errorf("the walk could not be done, it ends in step %d of %d as %s: %s", ended.begun, len(steps), ended.outcome.Status, ended.outcome.Message))
	}
	fmt.Fprintf(stderr, "mhmig: seed %d: %s, no violation\n", x.runs.Seed(), number(len(steps)))
	return nil
}

// ask asks the hosts what they are able to do.
func (x *command) ask(c *cobra.Command) (*explore.Vocabulary, error) {
	file, err := x.save("abilities", explore.AbilitiesScenario)
	if err != nil {
		return nil, err
	}
	outcome, dir, err := x.execute(c, file, []string{"guest_start = cold"}, false)
	if err != nil {
		return nil, err
	}
	if outcome.Status != result.Pass && outcome.Status != result.Warn {
		return nil, exit.Failed.Wrap(fmt.Errorf("ask the hosts what they are able to do: %s: %s (results: %s)", outcome.Status, outcome.Message, dir))
	}
	content, err := os.ReadFile(filepath.Join(dir, outcome.ID, result.ArtifactsDir, explore.AbilitiesArtifact))
	if err != nil {
		return nil, exit.Failed.Wrap(err)
	}
	all, err := explore.ParseAbilities(content)
	if err != nil {
		return nil, exit.Hosts.Wrap(err)
	}
	return explore.NewVocabulary(all), nil
}

// save writes a scenario of this call beside the results, which refer to it.
func (x *command) save(name string, source []byte) (string, error) {
	dir := filepath.Join(x.runs.Results(), "explore")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", exit.Usage.Wrap(err)
	}
	file := filepath.Join(dir, name+".star")
	return file, exit.Usage.Wrap(os.WriteFile(file, source, 0o644))
}

// execute runs a scenario, and returns how its variant ended, and the folder of the
// results.
func (x *command) execute(c *cobra.Command, file string, params []string, shown bool) (result.Outcome, string, error) {
	ran, err := x.runs.Run(c, file, params, shown)
	if err != nil {
		return result.Outcome{}, "", err
	}
	_, outcomes, err := result.Load(ran.Dir)
	if err != nil {
		return result.Outcome{}, "", exit.Failed.Wrap(err)
	}
	if len(outcomes) != 1 {
		return result.Outcome{}, "", exit.Failed.Wrap(fmt.Errorf("%s: %d variants ended, want 1", ran.Dir, len(outcomes)))
	}
	return outcomes[0], ran.Dir, nil
}

// walk is the walk of one call, and the smaller ones.
type walk struct {
	*command
	cobra *cobra.Command
	hosts int
}

// end is how a walk has ended.
type end struct {
	outcome result.Outcome
	dir     string // of the results
	begun   int    // how many steps
}

// execute runs a walk.
func (w *walk) execute(steps []explore.Step, name string, shown bool) (end, error) {
	file, err := w.save(name, explore.Scenario(w.about(len(steps), ""), w.hosts, steps))
	if err != nil {
		return end{}, err
	}
	outcome, dir, err := w.command.execute(w.cobra, file, nil, shown)
	if err != nil {
		return end{}, err
	}
	events, err := os.Open(filepath.Join(dir, result.EventsFile))
	if err != nil {
		return end{}, exit.Failed.Wrap(err)
	}
	defer events.Close()
	begun, err := explore.Begun(result.ReadEvents(events))
	return end{outcome, dir, min(begun, len(steps))}, exit.Failed.Wrap(err)
}

// about is the text at the beginning of a scenario.
func (w *walk) about(steps int, violation string) string {
	return fmt.Sprintf("%d of the %s of mhmig explore --seed %d.\n\n%s", steps, number(w.steps), w.runs.Seed(), violation)
}

// found shrinks a walk with a violation, and writes the smallest one.
func (w *walk) found(steps []explore.Step, ended end) error {
	stderr := w.cobra.ErrOrStderr()
	violation := explore.Violation(ended.outcome.Message)
	fmt.Fprintf(stderr, "mhmig: seed %d: a violation in step %d of %d\n", w.runs.Seed(), ended.begun, len(steps))
	last := ended
	shrunk, err := explore.Shrinking{
		Hosts: w.hosts, Runs: w.shrinkRuns, Time: w.shrinkTime, Tries: 2,
		Run: func(_ context.Context, steps []explore.Step) (bool, error) {
			ended, err := w.execute(steps, fmt.Sprintf("walk-%d-smaller", w.runs.Seed()), false)
			if err != nil {
				return false, err
			}
			same := ended.outcome.Status == result.Fail && explore.Violation(ended.outcome.Message) == violation
			if same {
				last = ended
			}
			return same, nil
		},
		Progress: func(p explore.Progress) {
			fmt.Fprintf(stderr, "mhmig: shrinking: %s; run %d of at most %d: %s\n", fail(p.Smallest), p.Run, w.shrinkRuns, number(p.Steps))
		},
	}.Shrink(w.cobra.Context(), steps[:ended.begun])
	return errors.Join(err, w.report(stderr, shrunk, last))
}

// report writes the smallest walk, and says how to run it.
func (w *walk) report(stderr io.Writer, shrunk explore.Shrunk, last end) error {
	file := cmp.Or(w.out, fmt.Sprintf("explore-%d.star", w.runs.Seed()))
	again := "mhmig exec " + shellescape.QuoteCommand(append([]string{file}, sameFlags(w.cobra.Flags())...))
	source := explore.Scenario(w.about(len(shrunk.Steps), fail(len(shrunk.Steps))+":\n\n    "+again+"\n\n"+last.outcome.Message), w.hosts, shrunk.Steps)
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return exit.Usage.Wrap(err)
	}
	how := "nothing smaller fails in the same way"
	if !shrunk.Complete {
		how = "a limit was reached: something smaller may fail too"
	}
	fmt.Fprintf(stderr, "mhmig: %s (%d smaller walks were run; %s): %s\nmhmig: results: %s\nmhmig: run it again by: %s\n", fail(len(shrunk.Steps)), shrunk.Runs, how, file, last.dir, again)
	for _, text := range explore.Text(w.hosts, shrunk.Steps) {
		fmt.Fprintln(stderr, "  "+text)
	}
	return &exit.Error{Code: exit.Failed} // it is printed
}

// number is "1 step", "2 steps".
func number(steps int) string {
	if steps == 1 {
		return "1 step"
	}
	return fmt.Sprintf("%d steps", steps)
}

// fail says that so many steps do.
func fail(steps int) string {
	if steps == 1 {
		return "1 step fails"
	}
	return number(steps) + " fail"
}

// sameFlags are the flags of this call that mhmig exec needs to do the same.
func sameFlags(flags *pflag.FlagSet) []string {
	var same []string
	flags.Visit(func(f *pflag.Flag) {
		if strings.Contains(" "+strings.Join(own, " ")+" ", " "+f.Name+" ") {
			return
		}
		switch value := f.Value.(type) {
		case pflag.SliceValue:
			if f.Value.Type() == "stringSlice" {
				same = append(same, "--"+f.Name, strings.Join(value.GetSlice(), ","))
				return
			}
			for _, v := range value.GetSlice() {
				same = append(same, "--"+f.Name, v)
			}
		default:
			same = append(same, "--"+f.Name+"="+f.Value.String())
		}
	})
	return same
}
