// SPDX-License-Identifier: Apache-2.0

package workload

import (
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

func parse(name string, args []string) (options, error) {
	o := options{name: name}
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.dir, "dir", "/run/"+name, "folder of the worker's socket and log; a second worker needs another one")
	flags.StringVar(&o.device, "device", "/dev/vda", "block device or file to overwrite")
	size := flags.String("size", "16M", "how much to work on")
	rate := flags.String("rate", "0", "how much to rewrite per second; 0: as fast as it goes")
	err := flags.Parse(args)
	if err == nil && (flags.NArg() != 1 || !slices.Contains(verbs, flags.Arg(0))) {
		err = fmt.Errorf("got %q, want start, check, status or stop", flags.Args())
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
