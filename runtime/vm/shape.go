// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// HostConfig is a host that a VM may run on, with the VM's config there.
type HostConfig struct {
	Host   Host
	Label  string           // the host's suffix in params: host1
	Params cartesian.Params // the variant's, for errors that name the param that set a value
	Config Config
	// Kept is the user's folder on the host that runs leave there: it has the verdict that
	// KVM is too slow. "": there is none, each run tries.
	Kept string
}

// Shape is what must be the same for all instances of a VM, on all hosts, so that its
// guest can migrate between them.
type Shape struct {
	Accel     string   // kvm or tcg
	Machine   string   // a versioned machine type, such as pc-i440fx-7.2, with its options
	CPU       string   // the value of -cpu
	MemoryKiB int64    // the guest's RAM
	Address   string   // with nic_ip = auto: the guest's on its first card, such as 10.77.3.140/24
	Notices   []string // what differs from the params, and why
	QEMUs     []QEMU   // those of the hosts
}

// Agree determines the shape of the VM called name for all hosts that it may run on. It
// queries each host's QEMU and, with accel = auto, probes KVM there. Params that differ
// between hosts where they must be the same are an error.
func (c *Cache) Agree(ctx context.Context, name string, hostConfigs []HostConfig) (Shape, error) {
	if len(hostConfigs) == 0 {
		return Shape{}, fmt.Errorf("%s: no hosts to run on", name)
	}
	s, err := c.agree(ctx, hostConfigs)
	if err != nil {
		return Shape{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (c *Cache) agree(ctx context.Context, hostConfigs []HostConfig) (Shape, error) {
	for _, hostConfig := range hostConfigs[1:] {
		if err := CheckSame(hostConfigs[0], hostConfig); err != nil {
			return Shape{}, err
		}
	}
	first := hostConfigs[0].Config
	s := Shape{Accel: "kvm"}
	var qemus []QEMU
	oldest := Version{}
	for i, hostConfig := range hostConfigs {
		program := hostConfig.Config.QEMU
		q, err := c.Facts(ctx, hostConfig.Host, program)
		if err != nil {
			return Shape{}, err
		}
		if i == 0 || q.Version.Less(oldest) {
			oldest = q.Version
		}
		qemus = append(qemus, q)

		if s.Accel == "tcg" {
			continue // all hosts must use the same accelerator
		}
		accel, reason, err := c.probeAccel(ctx, hostConfig.Host, program, first.Accel, hostConfig.Kept)
		if err != nil {
			return Shape{}, err
		}
		s.Accel = accel
		if reason != "" {
			s.Notices = append(s.Notices, "runs under TCG: "+reason)
		}
	}

	machine, err := commonMachine(first.MachineType, qemus...)
	versions := slices.ContainsFunc(qemus, func(q QEMU) bool { return q.Program.Version != "" })
	if err != nil && versions && someHas(first.MachineType, qemus) {
		return Shape{}, result.Skip.Wrap(err) // no test of these two versions, as [MissingVersionError]
	}
	if err != nil {
		return Shape{}, err
	}
	s.Machine, s.QEMUs = machine, qemus

	cpu, notice := cpuOf(first, s.Accel)
	s.CPU = cpu
	s.notice(notice)

	s.MemoryKiB, notice = guardMemory(s.Accel, oldest, first.MemoryBytes>>10, first.DirtyGuard)
	s.notice(notice)

	s.Address, err = c.chooseAddress(ctx, hostConfigs[0])
	return s, err
}

func (s *Shape) notice(text string) {
	if text != "" {
		s.Notices = append(s.Notices, text)
	}
}

// shapeParams are the params that determine a [Shape].
var shapeParams = []string{"accel", "machine_type", "cpu_model", "cpu_model_flags", "mem", "tcg_dirty_guard"}

// CheckFits returns an error if a running guest cannot migrate to another host, because
// their configs differ. It ignores the params of the shape, which the running guest
// determines.
func CheckFits(running, other HostConfig) error { return checkSame(running, other, shapeParams) }

// CheckSame returns a [DifferenceError] for each setting that differs between two hosts, so
// that no guest can migrate between them. It is pure; without a Host, the host's label is
// its name.
func CheckSame(first, second HostConfig) error { return checkSame(first, second, nil) }

// checkSame is CheckSame without the settings of the ignored params.
func checkSame(first, second HostConfig, ignored []string) error {
	var errs []error
	for _, d := range differences(&first.Config, &second.Config) {
		if slices.Contains(ignored, d.Param) {
			continue
		}
		e := &DifferenceError{Params: differingParams(d, first, second), hosts: [2]string{first.hostName(), second.hostName()}, values: [2]string{d.first, d.second}}
		if !slices.ContainsFunc(errs, func(o error) bool { return o.Error() == e.Error() }) { // one param may apply to several disks
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}

func (hc HostConfig) hostName() string {
	if hc.Host == nil {
		return hc.Label
	}
	return hc.Host.Name()
}

// DifferenceError is the error of a setting that differs between two hosts, so that a guest
// cannot migrate between them.
type DifferenceError struct {
	Params []string // that set the different values, as the config names them
	hosts  [2]string
	values [2]string
}

func (e *DifferenceError) Error() string {
	return fmt.Sprintf("param %s: %q on %s but %q on %s: the guest cannot migrate between them",
		strings.Join(e.Params, ", "), e.values[0], e.hosts[0], e.values[1], e.hosts[1])
}

// differingParams are the params that set the different values, such as smp_vm1_host2.
func differingParams(d difference, hostConfigs ...HostConfig) []string {
	var keys []string
	for _, hc := range hostConfigs {
		key := hc.Params.Source(d.Param, append([]string{hc.Label, hc.Config.Name}, d.Objects...)...)
		if !slices.Contains(keys, key) && (strings.HasSuffix(key, "_"+hc.Label) || key == d.Param) {
			keys = append(keys, key)
		}
	}
	if len(keys) > 1 {
		keys = slices.DeleteFunc(keys, func(key string) bool { return key == d.Param })
	}
	if len(keys) == 0 {
		keys = []string{d.Param}
	}
	return keys
}

// cpuOf returns -cpu for cpu_model and cpu_model_flags.
func cpuOf(c Config, accel string) (cpu, notice string) {
	cpu = c.CPUModel
	if cpu == "host" && accel != "kvm" {
		cpu, notice = "max", "cpu_model is max instead of host, which needs KVM"
	}
	for _, flag := range c.CPUFlags {
		cpu += "," + flag
	}
	return cpu, notice
}
