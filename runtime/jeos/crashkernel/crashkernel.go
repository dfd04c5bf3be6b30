// SPDX-License-Identifier: Apache-2.0

// Package crashkernel is the guest's command crashkernel, which does what kdump does on
// a distribution: it loads the kernel that is booted when the guest's own panics, and
// that has the memory of the one that has panicked in /proc/vmcore.
//
//	crashkernel load --kernel /tmp/bzimage --initrd /tmp/initrd
//
// The guest's kernel must have kept memory free for it, by the kernel parameter
// crashkernel=112M or so. Kernel and initrd are not in the guest: they are uploaded,
// jeos:bzimage and jeos:initrd for JeOS. Once loaded, the files are needed no more.
package crashkernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// Name is the command's.
const Name = "crashkernel"

// Exit statuses of the command.
const (
	statusOK      = 0
	statusRefused = 1
	statusUsage   = 2
)

type options struct{ kernel, initrd, params string }

// system is what the command needs of the guest.
type system struct {
	read func(file string) ([]byte, error)
	load func(o options) error
}

// Main carries out the command with these arguments, such as [load], and returns its
// exit status.
func Main(args []string, stdout, stderr io.Writer) int {
	return run(args, stdout, stderr, system{read: os.ReadFile, load: load})
}

func run(args []string, stdout, stderr io.Writer, s system) int {
	var o options
	flags := flagsOf(&o)
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		_, _ = io.WriteString(stdout, Usage()) // who has closed it does not read it
		return statusOK
	}
	if err == nil && (flags.NArg() != 1 || flags.Arg(0) != "load") {
		err = fmt.Errorf("got %q, want load; see %s --help", flags.Args(), Name)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Name, err)
		return statusUsage
	}
	if err := s.loadKernel(o); err != nil {
		fmt.Fprintf(stderr, "%s: load %s: %v\n", Name, o.kernel, err)
		return statusRefused
	}
	fmt.Fprintf(stdout, "%s: loaded: a panic boots %s\n", Name, o.kernel)
	return statusOK
}

func (s system) loadKernel(o options) error {
	size, err := s.read("/sys/kernel/kexec_crash_size")
	if err != nil {
		return fmt.Errorf("this kernel has no crash kernels: %w", err)
	}
	if strings.TrimSpace(string(size)) == "0" {
		return errors.New("the guest's kernel has kept no memory for it; boot it with crashkernel=112M in the param kernel_params, or what else the crash kernel needs")
	}
	if o.params == "" {
		own, err := s.read("/proc/cmdline")
		if err != nil {
			return err
		}
		o.params = paramsFrom(string(own))
	}
	return s.load(o)
}

// paramsFrom makes the crash kernel's parameters from those of the guest's: it keeps no
// memory free, and has one CPU, as the others were not stopped in order.
func paramsFrom(own string) string {
	var kept []string
	for _, word := range strings.Fields(own) {
		if !strings.HasPrefix(word, "crashkernel=") {
			kept = append(kept, word)
		}
	}
	return strings.Join(append(kept, "nr_cpus=1", "reset_devices"), " ")
}

// load is the system call kexec_file_load.
func load(o options) error {
	kernel, err := os.Open(o.kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, err := os.Open(o.initrd)
	if err != nil {
		return err
	}
	defer initrd.Close()
	if err := unix.KexecFileLoad(int(kernel.Fd()), int(initrd.Fd()), o.params, unix.KEXEC_FILE_ON_CRASH); err != nil {
		return fmt.Errorf("kexec_file_load: %w; is it a bzImage, and is the memory that crashkernel= keeps enough for it and the initrd?", err)
	}
	return nil
}

func flagsOf(o *options) *pflag.FlagSet {
	flags := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Usage has it
	flags.SortFlags = false
	flags.StringVar(&o.kernel, "kernel", "/tmp/bzimage", "the crash kernel's `FILE`, a bzImage")
	flags.StringVar(&o.initrd, "initrd", "/tmp/initrd", "its initial RAM disk's `FILE`")
	flags.StringVar(&o.params, "params", "", "its kernel `PARAMETERS`; without it those of the running kernel, for one CPU")
	return flags
}

// Usage says for a person what the command does: its text for --help.
func Usage() string {
	return `crashkernel loads the kernel that is booted when the guest's own panics, as kdump does.
In the booted one, /proc/vmcore has the memory of the kernel that has panicked.

  crashkernel load    load it; /sys/kernel/kexec_crash_loaded is 1 then

The guest's kernel must have kept memory free: by crashkernel=112M in the param
kernel_params, and a param mem of 320 or more. For JeOS, upload jeos:bzimage and
jeos:initrd. The files may be removed once they are loaded.

Flags:
` + flagsOf(new(options)).FlagUsages() + `
Exit status: 0 done, 1 the kernel refused it, 2 wrong arguments.
`
}
