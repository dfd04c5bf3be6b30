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
	name  string // memwork, diskwork or cpuwork
	verb  string
	dir   string   // of the worker's socket and log
	given []string // the other flags, for the worker

	// Of memwork and diskwork:
	size   byteCount
	rate   byteCount // per second; 0 is as fast as it goes
	device string    // diskwork's

	// Of cpuwork:
	threads int
	load    int // percent
}

var verbs = []string{"start", "check", "status", "stop", "serve"}

const (
	dirFlag        = "dir"
	defaultSize    = 16 << 20
	mostThreads    = 256
	wholeProcessor = 100 // percent
)

func flagsOf(o *options) *pflag.FlagSet {
	flags := pflag.NewFlagSet(o.name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Usage has it
	flags.SortFlags = false
	o.size = defaultSize
	if o.name == cpuwork {
		flags.IntVar(&o.threads, "workers", 0, "how many threads compute, `N`; 0: one for each CPU")
		flags.IntVar(&o.load, "load", wholeProcessor, "how much of its time a thread computes, `PERCENT`; it sleeps for the rest")
	} else {
		flags.Var(&o.size, "size", "how much to work on: `BYTES`, or such as 32M")
		flags.Var(&o.rate, "rate", "how much to rewrite per second, `BYTES`; 0: as fast as it goes")
	}
	if o.name == diskwork {
		flags.StringVar(&o.device, "device", "/dev/vda", "block device or `FILE` to overwrite")
	}
	flags.StringVar(&o.dir, dirFlag, "/run/"+o.name, "`FOLDER` of the worker's socket and log; a second worker needs another one")
	return flags
}

// Usage says for a person what a command does: its text for --help.
func Usage(name string) string {
	k := kinds[name]
	return fmt.Sprintf(`%[2]s

  %[1]s start     leave a worker behind, %[3]s
  %[1]s check     %[4]s
  %[1]s status    say how far it has come
  %[1]s stop      end the worker

Flags:
%[5]s
Exit status: 0 all is well, 1 the work is damaged or the worker has died, 2 wrong
arguments or nothing was started, 3 the guest has too little memory for the work.
`, name, k.does, k.started, k.checks, flagsOf(&options{name: name}).FlagUsages())
}

func parse(name string, args []string) (options, error) {
	o := options{name: name}
	flags := flagsOf(&o)
	err := flags.Parse(args)
	if err != nil {
		return o, err
	}
	if flags.NArg() != 1 || !slices.Contains(verbs, flags.Arg(0)) {
		return o, fmt.Errorf("got %q, want start, check, status or stop; see %s --help", flags.Args(), name)
	}
	o.verb = flags.Arg(0)
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != dirFlag {
			o.given = append(o.given, "--"+f.Name+"="+f.Value.String())
		}
	})
	return o, o.check()
}

func (o options) check() error {
	switch {
	case o.size < pageSize || o.size%pageSize != 0:
		return fmt.Errorf("--size: got %s, want a multiple of %d bytes", &o.size, pageSize)
	case o.threads < 0 || o.threads > mostThreads:
		return fmt.Errorf("--workers: got %d, want at most %d", o.threads, mostThreads)
	case o.name == cpuwork && (o.load < 1 || o.load > wholeProcessor):
		return fmt.Errorf("--load: got %d, want 1 to %d percent", o.load, wholeProcessor)
	}
	return nil
}

// byteCount is a flag's value: 4096, 64K, 32M or 1G.
type byteCount int64

const byteUnits = "KMG"

// Set implements [pflag.Value].
func (b *byteCount) Set(text string) error {
	digits, shift := text, 0
	if n := len(text); n > 0 {
		if i := strings.IndexByte(byteUnits, text[n-1]); i >= 0 {
			digits, shift = text[:n-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 {
		return errors.New("want a size such as 32M")
	}
	*b = byteCount(n << shift)
	return nil
}

// String implements [pflag.Value]: the largest unit that fits.
func (b *byteCount) String() string {
	n, unit := int64(*b), ""
	for i := 0; i < len(byteUnits) && n > 0 && n%1024 == 0; i++ {
		n, unit = n/1024, byteUnits[i:i+1]
	}
	return strconv.FormatInt(n, 10) + unit
}

// Type implements [pflag.Value].
func (*byteCount) Type() string { return "bytes" }
