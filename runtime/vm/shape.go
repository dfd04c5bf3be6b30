// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
)

// Site is one host that a VM may run on, with the VM's params there.
type Site struct {
	Host   *host.Host
	Params cartesian.Params // narrowed to the host and the VM
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

// Agree settles the shape of the VM called name for all sites that it may run on.
// It asks each host for its QEMU and, where the params let it choose, whether KVM
// works there. Sites whose params differ in what must be alike are an error.
func Agree(ctx context.Context, name string, sites []Site) (Shape, error) {
	if len(sites) == 0 {
		return Shape{}, fmt.Errorf("%s: no hosts to run on", name)
	}
	s, err := agree(ctx, sites)
	if err != nil {
		return Shape{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func agree(ctx context.Context, sites []Site) (Shape, error) {
	if err := sameParams(sites); err != nil {
		return Shape{}, err
	}
	p := sites[0].Params
	s := Shape{Accel: "kvm"}
	var qemus []QEMU
	oldest := Version{}
	for i, site := range sites {
		binary := qemuBinary(site.Params)
		q, err := Facts(ctx, site.Host, binary)
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
		accel, reason, err := ProbeAccel(ctx, site.Host, binary, word(p, "accel", "auto"))
		if err != nil {
			return Shape{}, err
		}
		s.Accel = accel
		if reason != "" {
			s.Notices = append(s.Notices, "runs under TCG: "+reason)
		}
	}

	machine, err := CommonMachine(word(p, "machine_type", "pc"), qemus...)
	if err != nil {
		return Shape{}, err
	}
	s.Machine = machine

	cpu, notice := cpuOf(p, s.Accel)
	s.CPU = cpu
	s.notice(notice)

	bytes, err := p.Size("mem", defaultMemory, 1<<20)
	if err != nil {
		return Shape{}, err
	}
	if bytes < 1<<20 {
		return Shape{}, fmt.Errorf("param mem: got %q, want 1M at least", p["mem"])
	}
	s.MemoryKiB, notice, err = guardMemory(s.Accel, oldest, bytes>>10, word(p, "tcg_dirty_guard", "auto"))
	if err != nil {
		return Shape{}, err
	}
	s.notice(notice)
	return s, nil
}

func (s *Shape) notice(text string) {
	if text != "" {
		s.Notices = append(s.Notices, text)
	}
}

// sameParams refuses sites that cannot take the guest from each other.
func sameParams(sites []Site) error {
	var all []error
	for _, key := range []string{
		"accel", "machine_type", "cpu_model", "cpu_model_flags", "mem", "smp", "tcg_dirty_guard",
		"nics", "nic_model", "images", "drive_format", "serials", "guest_clock", "display",
	} {
		first := sites[0]
		for _, site := range sites[1:] {
			if a, b := first.Params[key], site.Params[key]; a != b {
				all = append(all, fmt.Errorf("param %s: %q on %s but %q on %s: a guest cannot move between them",
					key, a, first.Host.Name(), b, site.Host.Name()))
			}
		}
	}
	return errors.Join(all...)
}

// cpuOf makes -cpu from cpu_model and cpu_model_flags. Without a model it is
// qemu64, which is the same on every host.
func cpuOf(p cartesian.Params, accel string) (cpu, notice string) {
	cpu = word(p, "cpu_model", "qemu64")
	if cpu == "host" && accel != "kvm" {
		cpu, notice = "max", "cpu_model is max instead of host, which needs KVM"
	}
	for _, flag := range splitFlags(p["cpu_model_flags"]) {
		cpu += "," + flag
	}
	return cpu, notice
}
