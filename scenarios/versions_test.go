// SPDX-License-Identifier: Apache-2.0

package scenarios_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/result"
)

// versions is for make test-versions, which downloads QEMUs.
var versions = flag.Bool("versions", false, "move guests between versions of QEMU, fetched by mhmig bootstrap --qemu")

// required are the versions without which the test fails; of the others, those count that
// can be had.
var required = []string{"7.2", "10.0"}

// incompatible are the moves that QEMU itself cannot do, with its reason.
var incompatible = map[string]string{
	"dst_11_1.src_10_0": `VQ 0 vring.num 1024 exceeds allocated max 128`, // of virtio-console, 10.0.13 to 11.1.3
}

// A guest moves between each two versions of QEMU, in both directions and on both machine
// types, and the results say which they were.
func TestVersions(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	binary := mhmig(t)
	var sources, destinations []string
	for _, name := range fetchVersions(t, binary) {
		sources, destinations = append(sources, "src_"+name), append(destinations, "dst_"+name)
	}
	got := outcomes(t, binary, "@std//cfg/versions.cfg", "--defaults", "--lab", labKind(),
		"--filter", "only "+strings.Join(sources, ", "), "--filter", "only "+strings.Join(destinations, ", "))
	if wanted := 2 * len(sources) * len(destinations); len(got) != wanted {
		t.Errorf("%d variants ran, want %d", len(got), wanted)
	}
	for _, o := range got {
		_, pair, _ := strings.Cut(o.ShortName, ".")
		if reason := incompatible[pair]; reason == "" {
			want(t, o, o.ShortName, "")
		} else if o.Status != result.Fail || !strings.Contains(o.Message, reason) {
			t.Errorf("%s: got %s, %s; want a FAIL that says %q", o.ShortName, o.Status, o.Message, reason)
		}
		if len(o.Machines) != 1 {
			t.Errorf("%s: machines are %+v, want that of vm1", o.ShortName, o.Machines)
			continue
		}
		source, destination := strings.ReplaceAll(o.Machines[0].QEMU["host1"], ".", "_"), strings.ReplaceAll(o.Machines[0].QEMU["host2"], ".", "_")
		for part := range strings.SplitSeq(o.ShortName, ".") {
			if version, ok := strings.CutPrefix(part, "src_"); ok && !strings.HasPrefix(source, version) {
				t.Errorf("%s: it ran on QEMU %s", o.ShortName, source)
			}
			if version, ok := strings.CutPrefix(part, "dst_"); ok && !strings.HasPrefix(destination, version) {
				t.Errorf("%s: it moved to QEMU %s", o.ShortName, destination)
			}
		}
	}
}

// fetchVersions fetches the versions of QEMU, and returns those that can be had as parts of
// variants' names: 7_2.
func fetchVersions(t *testing.T, binary string) []string {
	t.Helper()
	var names []string
	for _, version := range qemu.Versions() {
		out, err := exec.CommandContext(t.Context(), binary, "bootstrap", "--qemu", version).CombinedOutput()
		switch {
		case err == nil:
			names = append(names, strings.ReplaceAll(version, ".", "_"))
		case slices.Contains(required, version):
			t.Fatalf("bootstrap --qemu %s: %v\n%s", version, err, out)
		default:
			t.Logf("NOT TESTED: QEMU %s cannot be had: %s", version, out)
		}
	}
	return names
}

// labKind is the kind of a lab whose hosts have networks of their own, if this user may
// make one.
func labKind() string {
	if os.Getuid() == 0 {
		return "netns"
	}
	return "embedded"
}

// A guest is carried from version to version, and back to the first, with what each has
// added to its state.
func TestVersionsChains(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	binary := mhmig(t)
	if had := fetchVersions(t, binary); !slices.Contains(had, "5_2") {
		t.Skipf("NOT TESTED: a chain needs QEMU 5.2 beside 7.2 and 10.0, there are %v", had)
	}
	names := []string{"5_2", "7_2", "10_0"}
	got := outcomes(t, binary, "@std//cfg/version-chains.cfg", "--defaults", "--lab", labKind(), "--lab-hosts", "3",
		"--filter", "only from_5_2", "--filter", "only by_7_2..to_10_0, by_10_0..to_7_2")
	if len(got) != 4 {
		t.Errorf("%d variants ran, want 4: both ways around, on two machine types", len(got))
	}
	for _, o := range got {
		want(t, o, o.ShortName, "")
		if len(o.Machines) != 1 {
			t.Errorf("%s: machines are %+v, want that of vm1", o.ShortName, o.Machines)
			continue
		}
		for _, name := range names { // each on a host of its own
			if !slices.ContainsFunc(slices.Collect(maps.Values(o.Machines[0].QEMU)), func(version string) bool {
				return strings.HasPrefix(strings.ReplaceAll(version, ".", "_"), name)
			}) {
				t.Errorf("%s: it ran on %v, want %s too", o.ShortName, o.Machines[0].QEMU, name)
			}
		}
	}
}

// A machine type that only the newer version has is no test of the older one.
func TestVersionsHaveNoMachineInCommon(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	got := outcomes(t, mhmig(t), "@std//cfg/versions.cfg", "--defaults", "--lab", "embedded", "--param", "machine_type=pc-i440fx-10.0",
		"--filter", "only pc", "--filter", "only src_10_0", "--filter", "only dst_7_2")
	if len(got) != 1 || got[0].Status != result.Skip || !strings.Contains(got[0].Message, `param machine_type: got "pc-i440fx-10.0"`) {
		t.Errorf("got %s, want one SKIP", fmt.Sprint(got))
	}
}

// Where versions cannot load each other's guest because a device is missing, the evidence
// names it, and what else differs.
func TestVersionsDiffer(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	binary := mhmig(t)
	for _, version := range required {
		if out, err := exec.CommandContext(t.Context(), binary, "bootstrap", "--qemu", version).CombinedOutput(); err != nil {
			t.Fatalf("bootstrap --qemu %s: %v\n%s", version, err, out)
		}
	}
	got := outcomes(t, binary, "@std//cfg/versions.cfg", "--defaults", "--lab", "embedded", "--param", "extra_params_host1=-device virtio-rng-pci,addr=0x1e",
		"--filter", "only pc", "--filter", "only src_7_2", "--filter", "only dst_10_0")
	if len(got) != 1 || got[0].Status != result.Fail {
		t.Fatalf("got %+v, want one FAIL", got)
	}
	for _, line := range []string{
		"0000:00:1e.0/virtio-rng, instance 0: only in the source: virtio-rng version 1, ",
		"hpet, instance 0, num_timers: is called num_timers_save in the destination, with the same format: uint8, 1 byte (version 2)\n",
		"globalstate, instance 0, runstate: buffer, 100 bytes (version 1) in the source, buffer, 32 bytes (version 1) in the destination\n",
	} {
		if evidence := got[0].Evidence; !strings.Contains(evidence, line) {
			t.Errorf("want %q in\n%s", line, evidence)
		}
	}
}

// A guest moves by each form of each transport that QEMU 10.0 has, and by those of the
// installed QEMU; a host lacks some programs, and RDMA. Both hosts are one machine, as unix
// wants.
func TestVersionsTransports(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	binary := mhmig(t)
	if out, err := exec.CommandContext(t.Context(), binary, "bootstrap", "--qemu", "10.0").CombinedOutput(); err != nil {
		t.Fatalf("bootstrap --qemu 10.0: %v\n%s", err, out)
	}
	const (
		lacks = `has no (socat|nc|ncat|busybox) \(param mig_exec_program\)|cannot log in to|RDMA`
		older = `|has no argument channels|has no file: URIs|has no migration capability mapped-ram`
	)
	for _, tt := range []struct{ version, skips string }{{"10.0", lacks}, {"", lacks + older}} {
		args := []string{"@std//cfg/transports.cfg", "--defaults", "--lab", "embedded"}
		if tt.version != "" {
			args = append(args, "--param", "qemu_version="+tt.version)
		}
		for _, o := range outcomes(t, binary, args...) {
			want(t, o, o.ShortName, tt.skips)
		}
	}
}

// A guest's RAM is handed over from one QEMU to another one on the same machine, which may
// run in the process of the first; a QEMU whose schema has no such mode is a SKIP that says
// so.
func TestVersionsCPR(t *testing.T) {
	if !*versions {
		t.Skip("make test-versions moves guests between versions of QEMU")
	}
	binary := mhmig(t)
	for _, tt := range []struct{ transport, version, lacks string }{
		{transport: "cpr_transfer", version: "10.0"},
		{transport: "cpr_transfer", version: "11.1"},
		{transport: "cpr_transfer", version: "7.2", lacks: "has no value cpr-transfer: QEMU 10.0 or later has it"},
		{transport: "cpr_exec", version: "11.1"},
		{transport: "cpr_exec", version: "10.0", lacks: "has no value cpr-exec: QEMU 10.2 or later has it"},
	} {
		out, err := exec.CommandContext(t.Context(), binary, "bootstrap", "--qemu", tt.version).CombinedOutput()
		if err != nil && slices.Contains(required, tt.version) {
			t.Fatalf("bootstrap --qemu %s: %v\n%s", tt.version, err, out)
		}
		if err != nil {
			t.Logf("NOT TESTED: QEMU %s cannot be had: %s", tt.version, out)
			continue
		}
		got := outcomes(t, binary, "@std//cfg/matrix.cfg", "--defaults", "--lab", "embedded", "--filter", "only "+tt.transport, "--filter", "only plain, announce",
			"--param", "qemu_version="+tt.version)
		if len(got) != 4 {
			t.Errorf("%s, QEMU %s: %d variants ran, want 4", tt.transport, tt.version, len(got))
		}
		for _, o := range got {
			if tt.lacks == "" {
				want(t, o, o.ShortName, "") // which asserts that the RAM was handed over, and not sent
			} else if o.Status != result.Skip || !strings.Contains(o.Message, tt.lacks) {
				t.Errorf("%s: got %s, %s; want a SKIP that says %q", o.ShortName, o.Status, o.Message, tt.lacks)
			}
		}
	}
}
