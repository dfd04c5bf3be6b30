// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// HostConfig is one host that a VM may run on, with the VM's config there.
type HostConfig struct {
	Host   Host
	Label  string           // how params name the host: host1
	Params cartesian.Params // the variant's, in which errors find what set a value
	Config Config
}

// Shape is what all instances of one VM must have alike, on whatever host, so
// that its guest can move between them.
type Shape struct {
	Accel     string   // kvm or tcg
	Machine   string   // a pinned machine type, as pc-i440fx-7.2, with its options
	CPU       string   // the value of -cpu
	MemoryKiB int64    // the guest's RAM
	Notices   []string // what was chosen otherwise than the params say, and why
}

// Agree settles the shape of the VM called name for all hosts that it may run on.
// It asks each host for its QEMU and, where the params let it choose, whether KVM
// works there. Sites whose params differ in what must be alike are an error.
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
		if err := CheckAlike(hostConfigs[0], hostConfig); err != nil {
			return Shape{}, err
		}
	}
	first := hostConfigs[0].Config
	s := Shape{Accel: "kvm"}
	var qemus []QEMU
	oldest := Version{}
	for i, hostConfig := range hostConfigs {
		binary := hostConfig.Config.QEMU
		q, err := c.Facts(ctx, hostConfig.Host, binary)
		if err != nil {
			return Shape{}, err
		}
		if i == 0 || q.Version.Less(oldest) {
			oldest = q.Version
		}
		qemus = append(qemus, q)

		if s.Accel == "tcg" {
			continue // a guest cannot move between accelerators
		}
		accel, reason, err := c.ProbeAccel(ctx, hostConfig.Host, binary, first.Accel)
		if err != nil {
			return Shape{}, err
		}
		s.Accel = accel
		if reason != "" {
			s.Notices = append(s.Notices, "runs under TCG: "+reason)
		}
	}

	machine, err := CommonMachine(first.MachineType, qemus...)
	if err != nil {
		return Shape{}, err
	}
	s.Machine = machine

	cpu, notice := cpuOf(first, s.Accel)
	s.CPU = cpu
	s.notice(notice)

	s.MemoryKiB, notice = guardMemory(s.Accel, oldest, first.MemoryBytes>>10, first.DirtyGuard)
	s.notice(notice)
	return s, nil
}

func (s *Shape) notice(text string) {
	if text != "" {
		s.Notices = append(s.Notices, text)
	}
}

// CheckAlike is an error when a VM's guest cannot move between two hosts, because
// its configs differ there in what both must have alike. It names each param, as
// the config sets it.
func CheckAlike(first, second HostConfig) error { return checkAlike(first, second, nil) }

// shapeParams are the params of which a [Shape] is made.
var shapeParams = []string{"accel", "machine_type", "cpu_model", "cpu_model_flags", "mem", "tcg_dirty_guard"}

// CheckFits is an error when a guest that runs on one host cannot move to another
// one. Its shape is what it is, whatever the params say now.
func CheckFits(running, other HostConfig) error { return checkAlike(running, other, shapeParams) }

// checkAlike compares all settings but those of some params.
func checkAlike(first, second HostConfig, but []string) error {
	var lines []string
	for _, d := range Differences(&first.Config, &second.Config) {
		if slices.Contains(but, d.Param) {
			continue
		}
		line := fmt.Sprintf("%s: %q on %s but %q on %s: a guest cannot move between them",
			differingParams(d, first, second), d.First, first.Host.Name(), d.Second, second.Host.Name())
		if !slices.Contains(lines, line) { // one param may hold for several disks
			lines = append(lines, line)
		}
	}
	var all []error
	for _, line := range lines {
		all = append(all, errors.New(line))
	}
	return errors.Join(all...)
}

// differingParams names what sets the values that differ: "param smp_vm1_host2".
func differingParams(d Difference, hostConfigs ...HostConfig) string {
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
	return "param " + strings.Join(keys, ", ")
}

// cpuOf makes -cpu from cpu_model and cpu_model_flags. Without a model it is
// qemu64, which is the same on every host.
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
