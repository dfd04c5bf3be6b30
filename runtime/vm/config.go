// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hugelgupf/go-shlex"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qemu"
)

// Config is the configuration of a VM on one host, from its params, which are read once
// and checked. What depends on the host and its QEMU is added later: see [Cache.Agree]
// and [CommandLine].
type Config struct {
	Name    string
	QEMU    qemu.Program
	QEMUImg string // the program that makes disk images
	Start   bool   // start_vm: start it before the scenario begins

	Accel       string // auto, kvm or tcg
	DirtyGuard  string // auto, on or off
	MachineType string // a pc or q35 type, or an alias, with its options
	CPUModel    string
	CPUFlags    []string // such as +x2apic, -vmx
	CPUs        int      // at the start; Topology says how many there may be
	Topology    Topology
	MemoryBytes int64

	Kernel       string // "" boots from the first disk
	Initrd       string
	KernelParams string
	Extra        []string // extra_params: further arguments for QEMU

	// MonitorTimeout is how long QEMU may take to answer a QMP command.
	MonitorTimeout time.Duration

	Devices []Device
	Login   Login

	// Ignored are params without an effect here, so that a variant that sets them tests
	// something else than it says.
	Ignored []Ignored
}

// Ignored is a param that cannot have an effect together with the VM's other params.
type Ignored struct {
	Param  string
	Object string // of the VM: nic1; or ""
	Reason string
}

func (c *Config) ignore(param, object, reason string) {
	c.Ignored = append(c.Ignored, Ignored{param, object, reason})
}

// Login is how to log in to the guest.
type Login struct {
	Port     int // of its SSH server
	Username string
	Password host.Secret
	Prompt   *regexp.Regexp // of its shell
	NIC      bool           // the VM has a NIC, so SSH is possible
	Timeout  time.Duration  // from the guest's start until a login succeeds

	RebootCommand string // of its shell
}

// ParseConfig parses the params of the VM called name, narrowed to the host and then
// to the VM. It is pure, and reports all errors: there is one for each invalid value,
// with the param, the value and what is allowed.
func ParseConfig(name string, p cartesian.Params) (Config, error) {
	if !plainName.MatchString(name) {
		return Config{}, &api.ValueError{Param: "vms", Value: name, Want: wantPlainNames}
	}
	v := api.Read(p)
	cpus, topology := parseCPUs(v)
	c := Config{
		Name: name, QEMU: parseProgram(v), QEMUImg: v.Word("qemu_img_binary"), Start: v.Bool("start_vm"),
		Accel: v.Choice("accel"), DirtyGuard: v.Choice("tcg_dirty_guard"),
		MachineType: v.Word("machine_type"), CPUModel: v.Word("cpu_model"), CPUFlags: parseFlags(v),
		CPUs: cpus, Topology: topology, MemoryBytes: v.Size("mem"),
		Kernel: v.Text("kernel"), Initrd: v.Text("initrd"), KernelParams: v.Text("kernel_params"),
		MonitorTimeout: v.Seconds("monitor_timeout"),
		Extra:          splitWords(v, "extra_params"),
		Login: Login{
			Port: v.Port("shell_port"), Username: v.Text("username"), Password: host.Secret(v.Text("password")),
			Prompt: v.Pattern("shell_prompt"), NIC: v.Has("nics"), Timeout: v.Seconds("login_timeout"),
			RebootCommand: v.Text("reboot_command"),
		},
	}
	v.Choice("shell_client")
	if c.chipset() == "" {
		v.Invalid("machine_type", "a pc or q35 type")
	}
	if c.MemoryBytes < 1<<20 && v.Err() == nil {
		v.Invalid("mem", "at least 1M")
	}
	if v.Err() == nil && !c.holdsGuest() {
		v.Invalid("mem", wantGuestMemory)
	}
	if c.Initrd != "" && c.Kernel == "" {
		v.Unfit("initrd", "needs param kernel too")
	}
	for _, kind := range deviceKinds {
		c.Devices = append(c.Devices, kind(&c, v)...)
	}
	checkIDs(c.Devices, v)
	if err := v.Err(); err != nil {
		return Config{}, named(name, err)
	}
	return c, nil
}

// CheckFiles returns an error if two files of the VMs on one host would have the same
// name: file names are made of the names of VMs, images and serial ports.
func CheckFiles(configs []Config) error {
	owner := map[string]string{}
	claim := func(name, by string) error {
		if other, taken := owner[name]; taken {
			return fmt.Errorf("%s and %s would both have the file %s: rename one of them", other, by, name)
		}
		owner[name] = by
		return nil
	}
	for _, c := range configs {
		for _, kind := range fileKinds {
			if err := claim(fileName(c.Name, kind), c.Name); err != nil {
				return err
			}
		}
		for _, device := range c.Devices {
			var err error
			switch d := device.(type) {
			case *serialPort:
				err = claim(fileName(c.Name, d.name), fmt.Sprintf("serial port %s of %s", d.name, c.Name))
			case *disk:
				err = claim(d.overlayName(c.Name), fmt.Sprintf("image %s of %s", d.name, c.Name))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// named puts the VM's name in front of each of the joined errors.
func named(name string, err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, fmt.Errorf("%s: %w", name, e))
	}
	return errors.Join(all...)
}

// Memory is the guest's memory as QEMU's -m has it: 512M.
func (c *Config) Memory() string { return memoryOption(c.MemoryBytes >> 10) }

// chipset is the chipset of the machine type: i440fx or q35, "" for one that is not
// a PC.
func (c *Config) chipset() string { return chipsetOf(c.MachineType) }

func chipsetOf(machine string) string {
	name, _, _ := strings.Cut(machine, ",")
	switch {
	case name == "q35" || strings.HasPrefix(name, "pc-q35-"):
		return "q35"
	case name == "pc" || strings.HasPrefix(name, "pc-i440fx-"):
		return "i440fx"
	default:
		return ""
	}
}

// splitWords splits a param into words as a shell does. Unclosed quotes are an error.
func splitWords(v api.Values, param string) []string {
	text := v.Text(param)
	switch open := unclosed(text); open {
	case "":
	case "#":
		v.Invalid(param, `words as in a shell, where "#" begins a comment; write '#' in quotes`)
	case `\`:
		v.Invalid(param, `words as in a shell, and a character after the last \`)
	default:
		v.Invalid(param, "words as in a shell, each "+open+" with a closing one")
	}
	return shlex.Split(text)
}

// unclosed returns the shell character in text whose construct does not end there: that
// of a quote, a backslash or a comment; "" if there is none.
func unclosed(text string) string {
	var quote rune
	escaped, between := false, true // between words
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == '#' && between:
			return "#"
		}
		between = quote == 0 && !escaped && unicode.IsSpace(r)
	}
	switch {
	case quote != 0:
		return string(quote)
	case escaped:
		return `\`
	}
	return ""
}

// settings are the settings that must be the same for all instances of the VM.
func (c *Config) settings() []Setting {
	settings := []Setting{
		{Param: "accel", Value: c.Accel},
		{Param: "tcg_dirty_guard", Value: c.DirtyGuard},
		{Param: "machine_type", Value: c.MachineType},
		{Param: "cpu_model", Value: c.CPUModel},
		{Param: "cpu_model_flags", Value: strings.Join(c.CPUFlags, ",")},
		{Param: "smp", Value: fmt.Sprint(c.CPUs)},
		{Param: "mem", Value: c.Memory()},
		{Param: "kernel", Value: c.Kernel},
		{Param: "initrd", Value: c.Initrd},
	}
	settings = append(settings, c.Topology.settings()...)
	for _, d := range c.Devices {
		settings = append(settings, d.Settings()...)
	}
	return settings
}

// difference is a setting that is not the same on two hosts, so that a guest cannot
// migrate between them.
type difference struct {
	Setting        // from the first host that has it
	first   string // its value on the first host, "" where it has none
	second  string
}

// differences returns the settings in which two configs of one VM differ.
func differences(first, second *Config) []difference {
	firstValues, secondValues := byParam(first), byParam(second)
	var found []difference
	for _, s := range append(first.settings(), second.settings()...) {
		d := difference{Setting: s, first: firstValues[s.key()], second: secondValues[s.key()]}
		if len(s.Objects) > 0 && (d.first == "" || d.second == "") {
			continue // the object itself is missing there: the param that lists it differs
		}
		if d.first == d.second || slices.ContainsFunc(found, func(o difference) bool { return o.key() == s.key() }) {
			continue
		}
		found = append(found, d)
	}
	return found
}

// byParam maps the keys of a config's settings to their values. Names of objects are
// joined, as in the param that lists them.
func byParam(c *Config) map[string]string {
	m := map[string]string{}
	for _, s := range c.settings() {
		m[s.key()] = strings.TrimSpace(m[s.key()] + " " + s.Value)
	}
	return m
}

func (s Setting) key() string { return strings.Join(append([]string{s.Param}, s.Objects...), "_") }
