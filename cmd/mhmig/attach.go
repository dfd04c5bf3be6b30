// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mhmig/mhmig/runtime/attach"
	"github.com/mhmig/mhmig/runtime/result"
)

// attachWarning warns whoever attaches to a VM.
const attachWarning = "the run is still running: your input may affect the test"

// attachFlags are the flags of the commands that attach to a VM.
type attachFlags struct {
	run, results string
	attach.Finder
}

func (a *attachFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.run, "run", "", "results folder `DIR` of the run (default: the latest)")
	c.Flags().StringVar(&a.results, "results", resultsDir, "`DIR` of the folders of results")
	c.Flags().StringVar(&a.Host, "host", "", "`NAME` of the host, if the VM is on several")
	c.Flags().StringVar(&a.Variant, "variant", "", "`ID` of the variant, if several have such a VM")
	c.Flags().StringVar((*string)(&a.Password), "ssh-password", "", "the hosts' `PASSWORD`, if the run had it from a param")
}

// find looks for the VM; if there are several, it prompts on a terminal.
func (a *attachFlags) find(ctx context.Context, name string, stderr io.Writer) (*attach.Endpoint, error) {
	a.Folder = cmp.Or(a.run, filepath.Join(a.results, result.LatestLink))
	a.Notice = func(text string) { fmt.Fprintln(stderr, "mhmig:", text) }
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) {
		a.Choose = func(lines []string) int { return chooseLine(stderr, lines) }
	}
	found, err := a.Find(ctx, name)
	if err == nil && found.Running {
		a.Notice(attachWarning)
	}
	return found, err
}

// chooseLine prompts the user to choose a line, and returns -1 for none.
func chooseLine(stderr io.Writer, lines []string) int {
	for i, line := range lines {
		fmt.Fprintf(stderr, "%d: %s\n", i+1, line)
	}
	fmt.Fprintf(stderr, "Which one? [1-%d] ", len(lines))
	var answer int
	_, _ = fmt.Fscanln(os.Stdin, &answer) // no answer: none of them
	return answer - 1
}
