// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// Topology is how the guest's CPUs are arranged. The zero value leaves it to QEMU; else
// no number is 0, and MaxCPUs is the product of the others.
type Topology struct {
	MaxCPUs int // vcpu_maxcpus: CPUs can be hot-plugged up to this number
	Sockets int // vcpu_sockets
	Cores   int // vcpu_cores: per socket
	Threads int // vcpu_threads: per core
}

// parseCPUs returns the number of CPUs at the start, and their topology. As in virt-test
// a number that is missing or 0 is computed from the others: first the sockets, then the
// cores, then the threads; and smp, if it is not set, from the topology.
func parseCPUs(v api.Values) (cpus int, t Topology) {
	cpus = v.Int("smp")
	t = Topology{v.Int("vcpu_maxcpus"), v.Int("vcpu_sockets"), v.Int("vcpu_cores"), v.Int("vcpu_threads")}
	if t == (Topology{}) {
		return cpus, t
	}
	if !v.Has("smp") {
		cpus = 0
	}
	t = t.complete(cpus)
	if cpus == 0 {
		cpus = t.MaxCPUs
	}
	if product := t.Sockets * t.Cores * t.Threads; product != t.MaxCPUs || cpus > product {
		v.AddError(fmt.Errorf("params vcpu_sockets, vcpu_cores, vcpu_threads: %d x %d x %d is %d CPUs, want vcpu_maxcpus = %d, and at least smp = %d",
			t.Sockets, t.Cores, t.Threads, product, t.MaxCPUs, cpus))
	}
	return cpus, t
}

// complete computes the missing numbers for this number of CPUs, 0 if that is not set.
func (t Topology) complete(cpus int) Topology {
	total := t.MaxCPUs
	if total == 0 {
		total = cpus
	}
	switch {
	case t.Sockets == 0:
		t.Cores, t.Threads = max(t.Cores, 1), max(t.Threads, 1)
		t.Sockets = max(total/(t.Cores*t.Threads), 1)
	case t.Cores == 0:
		t.Threads = max(t.Threads, 1)
		t.Cores = max(total/(t.Sockets*t.Threads), 1)
	case t.Threads == 0:
		t.Threads = max(total/(t.Sockets*t.Cores), 1)
	}
	if t.MaxCPUs == 0 { // more places than CPUs are free for hot-plugging
		t.MaxCPUs = max(total, t.Sockets*t.Cores*t.Threads)
	}
	return t
}

// option is the value of -smp.
func (t Topology) option(cpus int) string {
	if t == (Topology{}) {
		return strconv.Itoa(cpus)
	}
	return fmt.Sprintf("%d,maxcpus=%d,sockets=%d,cores=%d,threads=%d", cpus, t.MaxCPUs, t.Sockets, t.Cores, t.Threads)
}

// settings are those of the params of the topology.
func (t Topology) settings() []Setting {
	if t == (Topology{}) {
		return nil
	}
	return []Setting{
		{Param: "vcpu_maxcpus", Value: strconv.Itoa(t.MaxCPUs)},
		{Param: "vcpu_sockets", Value: strconv.Itoa(t.Sockets)},
		{Param: "vcpu_cores", Value: strconv.Itoa(t.Cores)},
		{Param: "vcpu_threads", Value: strconv.Itoa(t.Threads)},
	}
}

// cpuFlag is +x2apic, -vmx, hv_relaxed or hv_spinlocks=0x1fff.
var cpuFlag = regexp.MustCompile(`^[+-]?[A-Za-z0-9_.][A-Za-z0-9_.-]*(=[A-Za-z0-9_.-]+)?$`)

// parseFlags also accepts virt-test's form, which begins with a comma.
func parseFlags(v api.Values) []string {
	flags := strings.FieldsFunc(v.Text("cpu_model_flags"), func(r rune) bool { return r == ',' || r == ' ' })
	for _, flag := range flags {
		if !cpuFlag.MatchString(flag) {
			v.Invalid("cpu_model_flags", "flags such as +x2apic, -vmx, hv_relaxed or hv_spinlocks=0x1fff")
			return nil
		}
	}
	return flags
}
