// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/vmstate"
)

// describeTimeout is for starting a QEMU without a guest and saving its state: half a
// second on an idle host.
const describeTimeout = 20 * time.Second

// describeState starts QEMU and has it save its state into a file, in the run folder. The
// monitor's migrate ends when all is saved. timeout ends a QEMU that hangs, even when this
// process was killed.
const describeState = `
cd %[1]s || exit
trap 'rm -f %[2]s' EXIT
printf 'migrate "exec:cat >%[2]s"\nquit\n' | timeout -k 1 %[4]d %[3]s >/dev/null || exit
[ -s %[2]s ] || { echo "it has saved no state" >&2; exit 1; }
cat %[2]s
`

// DescribeState returns the state of the devices that the VM's QEMU would send in a
// migration. It starts the QEMU once more on its host, by command, which is of
// [StateCommand], and ends it.
func DescribeState(ctx context.Context, placement Placement, name string, command []string) (*vmstate.Stream, error) {
	h := placement.Host
	out, err := h.Run(ctx, host.Command{
		Script: fmt.Sprintf(describeState, shellescape.Quote(placement.RunDir), fileName(InstanceName(name, placement.ID), "vmstate"),
			shellescape.QuoteCommand(command), int(describeTimeout.Seconds())),
		Timeout: describeTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("%s on %s: start QEMU again to describe its devices: %w", name, h.Name(), err)
	}
	s, err := vmstate.Read(bytes.NewReader(out.Stdout), 0, int64(len(out.Stdout)))
	if err != nil {
		return nil, fmt.Errorf("%s on %s: the saved state of its devices: %w", name, h.Name(), err)
	}
	return s, nil
}

// StateCommand is a command line like the VM's, for a QEMU that has the same devices, but
// whose guest does not run, and that touches neither the VM's disks and memory nor its
// networks and sockets: backends of these are replaced by ones that do nothing. Two VMs with
// the same command, and the same QEMU, send the same state. It is controlled by the human
// monitor on its standard input.
func StateCommand(c Config, placement Placement, shape Shape) ([]string, error) {
	spec, err := CommandLine(c, placement, shape, Launch{})
	if err != nil {
		return nil, err
	}
	return stateCommand(spec.Argv), nil
}

// stateCommand makes a VM's command line one of a QEMU that only has its devices. An
// option's value does not begin with a hyphen.
func stateCommand(argv []string) []string {
	options := max(slices.Index(argv, "-name"), 1) // what is before is the program
	command := slices.Clone(argv[:options])
	backed := slices.ContainsFunc(argv, func(word string) bool {
		return word == "-numa" || strings.Contains(word, "memory-backend") || strings.Contains(word, "maxmem")
	})
	hubs := 0
	for i := options; i < len(argv); i++ {
		flag := "-" + strings.TrimLeft(argv[i], "-")
		value := ""
		if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") {
			i++
			value = argv[i]
		}
		switch flag {
		case "-chardev":
			value = "null,id=" + propertyOf(value, "id")
		case "-blockdev":
			value = nullBlockdev(value)
		case "-drive":
			value = nullDrive(value)
		case "-netdev":
			value = fmt.Sprintf("hubport,id=%s,hubid=%d", propertyOf(value, "id"), hubs)
			hubs++
		case "-object":
			if value = withoutFiles(value); value == "" {
				continue
			}
		case "-serial", "-parallel":
			value = "null"
		case "-m":
			if !backed {
				value = leastMemory(value)
			}
		default:
			if slices.Contains(stateless, flag) {
				continue
			}
		}
		command = append(command, flag)
		if value != "" {
			command = append(command, value)
		}
	}
	return append(command, "-display", "none", "-S", "-monitor", "stdio")
}

// stateless are the options that do not change which state the devices have, or that
// affect more than this QEMU.
var stateless = []string{
	"-name", "-mon", "-monitor", "-qmp", "-qmp-pretty", "-S", "-incoming", "-daemonize", "-pidfile", "-display", "-vnc", "-spice", "-nographic",
	"-kernel", "-initrd", "-append", "-dtb", "-D", "-d", "-trace", "-gdb", "-s", "-mem-path", "-mem-prealloc", "-overcommit", "-loadvm", "-snapshot",
	"-net", "-nic", "-add-fd", "-action", "-watchdog-action", "-chroot", "-runas", "-run-with",
}

// nullBlockdev is a block device with the name of another, and no content.
func nullBlockdev(value string) string {
	var fields struct {
		Node     string `json:"node-name"`
		ReadOnly bool   `json:"read-only"`
	}
	if !strings.HasPrefix(value, "{") || json.Unmarshal([]byte(value), &fields) != nil {
		fields.Node, fields.ReadOnly = propertyOf(value, "node-name"), propertyOf(value, "read-only") == "on"
	}
	value = "driver=null-co,node-name=" + escape(fields.Node) + ",read-zeroes=on"
	if fields.ReadOnly {
		value += ",read-only=on"
	}
	return value
}

// nullDrive is -drive without its content.
func nullDrive(value string) string {
	drive := []string{"driver=null-co", "read-zeroes=on"}
	for _, name := range []string{"if", "id", "node-name", "index", "bus", "unit", "media", "readonly", "read-only", "werror", "rerror"} {
		if text := propertyOf(value, name); text != "" {
			drive = append(drive, name+"="+escape(text))
		}
	}
	return strings.Join(drive, ",")
}

// withoutFiles is an object without the files that it may share with the VM, "" if it is
// not needed.
func withoutFiles(value string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(value, "qom-type="), ",")
	switch {
	case strings.HasPrefix(kind, "memory-backend-"):
		return "memory-backend-ram,id=" + escape(propertyOf(value, "id")) + ",size=" + propertyOf(value, "size")
	case strings.HasPrefix(kind, "tls-") || strings.HasPrefix(kind, "secret"):
		return ""
	}
	return value
}

// stateMemory is how much RAM is enough, in KiB: it is saved too, page by page.
const stateMemory = 64 << 10

// leastMemory lowers -m to what is enough.
func leastMemory(value string) string {
	size, _, _ := strings.Cut(strings.TrimPrefix(value, "size="), ",")
	unit := int64(1 << 10)
	for suffix, kib := range map[string]int64{"K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30} {
		if number, is := strings.CutSuffix(strings.ToUpper(size), suffix); is {
			size, unit = number, kib
		}
	}
	if n, err := strconv.ParseInt(size, 10, 64); err != nil || n <= stateMemory/unit {
		return value
	}
	return memoryOption(stateMemory)
}

// propertyOf is a property of an option's value, "" if it has none.
func propertyOf(value, name string) string {
	const comma = "\x00" // of a value, where it is doubled
	for field := range strings.SplitSeq(strings.ReplaceAll(value, ",,", comma), ",") {
		if key, text, ok := strings.Cut(field, "="); ok && key == name {
			return strings.ReplaceAll(text, comma, ",")
		}
	}
	return ""
}
