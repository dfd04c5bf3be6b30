// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// hostAddress matches the reply of gpa2hva.
var hostAddress = regexp.MustCompile(`Host virtual address for 0x[0-9a-f]+ \([^)]+\) is (0x[0-9a-f]+)`)

// plant writes into the memory of a real QEMU's guest, at a physical address, behind
// QEMU's back.
func plant(ctx context.Context, i *testbed.Instance, address int64, content string) error {
	text, err := i.Monitor().Human(ctx, fmt.Sprintf("gpa2hva %#x", address))
	if err != nil {
		return err
	}
	m := hostAddress.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("gpa2hva: got %q", text)
	}
	at, err := strconv.ParseInt(m[1], 0, 64)
	if err != nil {
		return err
	}
	pid, err := os.ReadFile(filepath.Join(i.Host.RunDir(), "vm1.pid"))
	if err != nil {
		return err
	}
	memory, err := os.OpenFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "mem"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = memory.WriteAt([]byte(content), at)
	return errors.Join(err, memory.Close())
}

// Memory of a real QEMU that is changed when the guest has arrived is found.
func TestMemoryProofFindsChange(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["memory_proof"] = "yes"
	bed := prepared(t, params)
	p := plan(bed)
	p.MigrateDst = func(ctx context.Context, s *migration.Side) error {
		if err := s.Receive(ctx, []string{"vm1"}); err != nil {
			return err
		}
		return plant(ctx, s.Instance("vm1"), 0x812345, "PLANTED!")
	}
	m, err := migration.New(bed.Bed, 1, p)
	if err != nil {
		t.Fatal(err)
	}
	err = runBoth(t.Context(), m)
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("NOT TESTED: memory that is changed: this kernel does not let a process write into another one's: %v", err)
	}
	const want = ": 0x812000-0x812fff; the first is 0x812000 of pc.ram: at 0x812345 the source has 00 00 00 00 00 00 00 00, the destination 50 4c 41 4e 54 45 44 21"
	failure, ok := errors.AsType[*migration.Failure](err)
	if !ok || result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), "guest memory differs after the migration: 1 of ") || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want FAIL with %q", err, want)
	}
	if detail := failure.Detail(); !strings.Contains(detail, "+ 812340  00 00 00 00 00 50 4c 41 4e 54 45 44 21 00 00 00  .....PLANTED!...") {
		t.Errorf("evidence: got %s", detail)
	}
}

// The memory is compared over every transport, and with features that send it otherwise.
func TestMemoryProofTransports(t *testing.T) {
	t.Parallel()
	cases := map[string]cartesian.Params{
		"multifd": {"mig_multifd": "yes", "mig_multifd_compression": "zlib"},
		"xbzrle":  {"capabilitys": "xbzrle"},
		"offline": {"mig_offline": "yes"},
	}
	for _, name := range migration.Transports() {
		if strings.HasPrefix(name, "cpr-") { // both ends map the same RAM
			continue
		}
		cases["mig_protocol "+name] = cartesian.Params{"mig_protocol": name}
	}
	for name, changed := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["memory_proof"] = "yes"
			maps.Copy(params, changed)
			bed := prepared(t, params)
			m := start(t, bed, plan(bed))
			err := runBoth(t.Context(), m)
			if result.StatusOf(err) == result.Skip {
				t.Skipf("NOT TESTED: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if proof := m.Record().VMs[0].Proof; proof == nil || proof.Differ != 0 || proof.Pages < 15<<20/4096 {
				t.Errorf("got %+v, want all pages to be compared", proof)
			}
			if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] || current.State() != "running" {
				t.Errorf("the VM is in %v, want it to run on the second host", current)
			}
		})
	}
}

// The GUID of a real vmgenid, of which each QEMU has its own, is found in the memory, and
// is no difference.
func TestMemoryProofAllowsVMGenID(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["memory_proof"], params["extra_params"] = "yes", "-device vmgenid,guid=auto"
	bed := prepared(t, params)
	p := plan(bed)
	p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
		if !s.IsSource() {
			return nil
		}
		return waitGenerationID(ctx, s.Instance("vm1"), filepath.Join(t.TempDir(), "ram"))
	}
	m, err := migration.New(bed.Bed, 1, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := runBoth(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if proof := m.Record().VMs[0].Proof; proof == nil || proof.Allowed != 1 || proof.Differ != 0 || proof.Pages < 16<<20/4096 {
		t.Errorf("got %+v, want one page that differs by design", proof)
	}
}

// waitGenerationID waits until the firmware has told QEMU where the GUID is to be, and
// QEMU has written it there.
func waitGenerationID(ctx context.Context, i *testbed.Instance, file string) error {
	var reply struct{ GUID string }
	if err := i.Execute(ctx, "query-vm-generation-id", nil, &reply); err != nil {
		return err
	}
	end := reply.GUID[len(reply.GUID)-12:] // its bytes have the order of the text
	want := make([]byte, 6)
	for n := range want {
		b, err := strconv.ParseUint(end[2*n:2*n+2], 16, 8)
		if err != nil {
			return err
		}
		want[n] = byte(b)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if err := i.Execute(ctx, "pmemsave", map[string]any{"val": 0, "size": 16 << 20, "filename": file}, nil); err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if bytes.Contains(content, want) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the GUID is not in the guest's memory: %w", context.Cause(ctx))
		}
	}
}
