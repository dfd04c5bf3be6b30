// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// options are a command's arguments.
type options struct {
	name   string // memwork or diskwork
	verb   string
	dir    string // of the worker's socket and log
	device string // diskwork's
	size   int64  // bytes
	rate   int64  // bytes per second; 0 is as fast as it goes
}

var verbs = []string{"start", "check", "status", "stop", "serve"}

// flagsOf returns the flags of a command; sizes are text still.
func flagsOf(o *options) (flags *pflag.FlagSet, size, rate *string) {
	flags = pflag.NewFlagSet(o.name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Usage has it
	flags.SortFlags = false
	size = flags.String("size", "16M", "how much to work on: `BYTES`, or such as 32M")
	rate = flags.String("rate", "0", "how much to rewrite per second, `BYTES`; 0: as fast as it goes")
	flags.StringVar(&o.device, "device", "/dev/vda", "block device or `FILE` to overwrite")
	if o.name != diskwork {
		_ = flags.MarkHidden("device") // it is there
	}
	flags.StringVar(&o.dir, "dir", "/run/"+o.name, "`FOLDER` of the worker's socket and log; a second worker needs another one")
	return flags, size, rate
}

// Usage says for a person what a command does: its text for --help.
func Usage(name string) string {
	what := "memory"
	if name == diskwork {
		what = "a disk"
	}
	flags, _, _ := flagsOf(&options{name: name})
	return fmt.Sprintf(`%[1]s fills %[2]s with pages that can be told apart and keeps rewriting them, and
proves that none is lost, old or damaged.

  %[1]s start     leave a worker behind, once all pages are filled
  %[1]s check     verify every page
  %[1]s status    say how far it has come
  %[1]s stop      end the worker

Flags:
%[3]s
Exit status: 0 all is well, 1 the work is damaged or the worker has died, 2 wrong
arguments or nothing was started, 3 the guest has too little memory for the work.
`, name, what, flags.FlagUsages())
}

func parse(name string, args []string) (options, error) {
	o := options{name: name}
	flags, size, rate := flagsOf(&o)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		return o, err
	}
	if err == nil && (flags.NArg() != 1 || !slices.Contains(verbs, flags.Arg(0))) {
		err = fmt.Errorf("got %q, want start, check, status or stop; see %s --help", flags.Args(), name)
	}
	if err == nil {
		o.size, err = bytesOf("--size", *size)
	}
	if err == nil && (o.size < pageSize || o.size%pageSize != 0) {
		err = fmt.Errorf("--size: got %s, want a multiple of %d bytes", *size, pageSize)
	}
	if err == nil {
		o.rate, err = bytesOf("--rate", *rate)
	}
	o.verb = flags.Arg(0)
	return o, err
}

// bytesOf reads 4096, 64K, 32M or 1G.
func bytesOf(flag, text string) (int64, error) {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if i := strings.IndexByte("KMG", text[n-1]); i >= 0 {
			digits, shift = text[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s: got %q, want a size such as 32M", flag, text)
	}
	return n << shift, nil
}
