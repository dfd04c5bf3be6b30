// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// onDisk lets QEMU do something with a disk as its guest would: the monitor's qemu-io.
func onDisk(ctx context.Context, i *testbed.Instance, disk, command string) error {
	var answer string
	line := fmt.Sprintf("qemu-io -d /machine/peripheral/%s/virtio-backend %q", disk, command)
	if err := i.Monitor().Execute(ctx, "human-monitor-command", map[string]any{"command-line": line}, &answer); err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		return fmt.Errorf("%s: %s: %s", i, command, answer)
	}
	return nil
}

// ownDisks are the params of a guest with two disks, on hosts that share none.
func ownDisks(t *testing.T) cartesian.Params {
	params := bedtest.Blank(t)
	maps.Copy(params, cartesian.Params{
		"images": "image1 image2", "create_image": "yes", "image_size": "16M", "image_format_image2": "raw",
		"mig_storage": "nbd", "mig_storage_timeout": "60", "images_shared": "no",
	})
	return params
}

// scriptedDisks are the params of two disks of a scripted QEMU.
func scriptedDisks() cartesian.Params {
	return cartesian.Params{"images": "image1 image2", "create_image": "yes", "image_size": "16M", "qemu_img_binary": bedtest.ImageProgram}
}

// writeBefore writes to the disks before they are mirrored.
func writeBefore(ctx context.Context, s *migration.Side) error {
	i := s.Instance("vm1")
	return errors.Join(onDisk(ctx, i, "image1", "write -q -P 0x5a 1M 2M"), onDisk(ctx, i, "image2", "write -q -P 0x11 0 64k"))
}

// copies are the folders of copied disks that there are.
func copies(t *testing.T, bed *bedtest.Bed) []string {
	t.Helper()
	found := map[string]bool{}
	for _, h := range bed.Hosts() {
		all, err := filepath.Glob(filepath.Join(h.Params["images_base_dir"], bed.Name, "vm1-*-copy*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range all {
			found[filepath.Base(dir)] = true
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	return names
}

// With QEMU itself: the disks move with the guest, there and back, and what it writes
// meanwhile, until it is stopped, is there too.
func TestStorageQEMU(t *testing.T) {
	t.Parallel()
	bed := prepared(t, ownDisks(t))
	p := plan(bed)
	p.StartWork, p.Hold = writeBefore, true
	m := start(t, bed, p)
	ctx := t.Context()
	during := atStatus(ctx, m, qmp.MigrationActive, func() error {
		err := onDisk(ctx, m.Source.Instance("vm1"), "image1", "write -q -P 0xa5 8M 4k")
		return errors.Join(err, m.Wait(ctx, migration.Condition{Status: qmp.MigrationPreSwitchover}), m.Release(ctx))
	})
	if err := errors.Join(runBoth(ctx, m), <-during); err != nil {
		t.Fatal(err)
	}
	check := func(i *testbed.Instance) error {
		return errors.Join(onDisk(ctx, i, "image1", "read -q -P 0x5a 1M 2M"), onDisk(ctx, i, "image1", "read -q -P 0xa5 8M 4k"), onDisk(ctx, i, "image2", "read -q -P 0x11 0 64k"),
			onDisk(ctx, i, "image1", "write -q -P 0x77 3M 4k"))
	}
	if err := check(bed.Current("vm1")); err != nil {
		t.Error(err)
	}
	back := plan(bed)
	back.Source, back.Destination = back.Destination, back.Source
	if err := runBoth(ctx, start(t, bed, back)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(check(bed.Current("vm1")), onDisk(ctx, bed.Current("vm1"), "image1", "read -q -P 0x77 3M 4k")); err != nil {
		t.Error(err)
	}
	if got := copies(t, bed); len(got) != 1 || !strings.HasPrefix(got[0], "vm1-host1-") {
		t.Errorf("the copies %v are left, want those of host1 only", got)
	}
}

// With QEMU itself: a disk that was plugged in moves with the guest, and one that was
// unplugged does not, there and back.
func TestStorageOfPluggedDisksQEMU(t *testing.T) {
	t.Parallel()
	bed := prepared(t, ownDisks(t))
	ctx := t.Context()
	there := plan(bed)
	if _, _, err := bed.Ensure(ctx, "vm1", there.Source, bed.Params(), vm.Launch{}); err != nil {
		t.Fatal(err)
	}
	i := bed.Current("vm1")
	if err := errors.Join(bed.PlugIn(ctx, i, testbed.Plug{Name: "plugged", Size: 4 << 20, Format: "raw"}), onDisk(ctx, i, "plugged", "write -q -P 0x33 1M 64k")); err != nil {
		t.Fatal(err)
	}
	if err := runBoth(ctx, start(t, bed, there)); err != nil {
		t.Fatal(err)
	}
	i = bed.Current("vm1")
	if err := onDisk(ctx, i, "plugged", "read -q -P 0x33 1M 64k"); err != nil {
		t.Error(err)
	}
	back := plan(bed)
	back.Source, back.Destination = back.Destination, back.Source
	if err := runBoth(ctx, start(t, bed, back)); err != nil {
		t.Fatal(err)
	}
	if err := onDisk(ctx, bed.Current("vm1"), "plugged", "read -q -P 0x33 1M 64k"); err != nil {
		t.Error(err)
	}
}

// With QEMU itself: the NBD server of a destination that hangs says nothing, which blocks
// the source's monitor. The destination is named, not the source.
func TestStorageHangsQEMU(t *testing.T) {
	t.Parallel()
	params := ownDisks(t)
	params["monitor_timeout"] = "5"
	bed := prepared(t, params)
	p := plan(bed)
	p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
		if s.IsSource() {
			return nil
		}
		return signalQEMU(s, syscall.SIGSTOP)
	}
	err := runBoth(t.Context(), start(t, bed, p))
	const want = dstFailed + ": vm1@host2: " + silent
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "blockdev-add") || result.StatusOf(err) != result.Fail {
		t.Errorf("got %v, want %q in it, and blockdev-add", err, want)
	}
}

// signalQEMU sends a signal to a side's QEMU.
func signalQEMU(s *migration.Side, signal syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(s.Host.RunDir(), "vm1.pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}

// The disks that move are those that the guest has now, and a disk of the destination
// without a mirror is found.
func TestStorageOfPluggedDisks(t *testing.T) {
	t.Parallel()
	unplug := func(ctx context.Context, bed *bedtest.Bed, i *testbed.Instance) error {
		return bed.Unplug(ctx, i, "image2", time.Minute)
	}
	for _, tt := range []struct {
		name                    string
		before, beforeMigration func(context.Context, *bedtest.Bed, *testbed.Instance) error // the source's
		log, want               string
	}{
		{
			name: "plugged in", before: func(ctx context.Context, bed *bedtest.Bed, i *testbed.Instance) error {
				return bed.PlugIn(ctx, i, testbed.Plug{Name: "plugged", Size: 4 << 20})
			},
			log: "the mirrors have copied 16777216 bytes of disk image1, 16777216 bytes of disk image2, 16777216 bytes of disk plugged",
		},
		{name: "unplugged", before: unplug, log: "the mirrors have copied 16777216 bytes of disk image1\""},
		{name: "unplugged when the destination has started", beforeMigration: unplug, want: srcFailed + ": mig_storage = nbd was set, but disk image2 of vm1@host2 has no mirror on vm1@host1: it is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				bed := bedtest.NewScriptedBed(t, 1, and(scriptedDisks(), "mig_storage", "nbd"))
				ctx, p := t.Context(), plan(bed.Bed)
				if tt.before != nil {
					i, _, err := bed.Ensure(ctx, "vm1", p.Source, bed.Params(), vm.Launch{})
					if err := errors.Join(err, tt.before(ctx, bed.Bed, i)); err != nil {
						t.Fatal(err)
					}
				}
				if tt.beforeMigration != nil {
					p.BeforeMigration = func(ctx context.Context, s *migration.Side) error {
						if !s.IsSource() {
							return nil
						}
						return tt.beforeMigration(ctx, bed.Bed, s.Instance("vm1"))
					}
				}
				err := runBoth(ctx, start(t, bed.Bed, p))
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || result.StatusOf(err) != result.Fail) {
					t.Errorf("got %v, want %q in it", err, tt.want)
				}
				if !strings.Contains(bedLog(t, bed), tt.log) {
					t.Errorf("log: want %q in it", tt.log)
				}
				if tt.name == "unplugged" {
					err := bed.PlugIn(ctx, bed.Current("vm1"), testbed.Plug{Name: "image2"})
					if wrong := refused(err, "vm1@host2: plug image2: the disk of this name that was unplugged has stayed on host1"); wrong != nil {
						t.Error(wrong)
					}
				}
			})
		})
	}
}

// With QEMU itself: a mirror that ends early is a failure that says so, and a guest whose
// disks were not mirrored is found. The source keeps the guest and its disks, and nothing
// is left on the destination.
func TestStorageFailsQEMU(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault func(context.Context, *migration.Migration) error
		want  string
	}{
		{
			"the mirror is cancelled", func(ctx context.Context, m *migration.Migration) error {
				return m.Source.Instance("vm1").Monitor().Execute(ctx, "block-job-cancel", map[string]any{"device": "mhmig-mirror-image1", "force": true}, nil)
			},
			"the source failed first (host1): the mirror of disk image1: it was cancelled before it was complete",
		},
		{
			"the destination's server ends", func(ctx context.Context, m *migration.Migration) error {
				err := m.Destination.Instance("vm1").Monitor().Execute(ctx, "nbd-server-stop", nil, nil)
				return errors.Join(err, onDisk(ctx, m.Source.Instance("vm1"), "image1", "write -q -P 0xa5 8M 4k"))
			},
			"the source failed first (host1): the mirror of disk image1: ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := ownDisks(t)
			params["mig_speed"] = "100K"
			bed := prepared(t, params)
			p := plan(bed)
			p.StartWork, p.MayFail = writeBefore, true
			m := start(t, bed, p)
			ctx := t.Context()
			during := atStatus(ctx, m, qmp.MigrationActive, func() error { return tt.fault(ctx, m) })
			if err := errors.Join(runBoth(ctx, m), <-during); err != nil {
				t.Fatal(err)
			}
			failure := m.Tolerated()
			if failure == nil || !strings.Contains(failure.Error(), tt.want) || result.StatusOf(failure) != result.Fail {
				t.Errorf("got %v, want %q in it", failure, tt.want)
			}
			if got := copies(t, bed); len(got) != 0 {
				t.Errorf("the copies %v are left", got)
			}
			again := plan(bed)
			again.Params = maps.Clone(bed.Params())
			again.Params["mig_speed"] = "64M"
			if err := runBoth(ctx, start(t, bed, again)); err != nil {
				t.Fatalf("the next migration: %v", err)
			}
			if err := onDisk(ctx, bed.Current("vm1"), "image1", "read -q -P 0x5a 1M 2M"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each step of a migration with its disks fails in its way, and says which side has.
func TestStorage(t *testing.T) {
	t.Parallel()
	nbd := cartesian.Params{"mig_storage": "nbd"}
	during := func(end func(*migration.Migration) *testbed.Instance, command string, arguments map[string]any) func(context.Context, *migration.Migration) error {
		return func(ctx context.Context, m *migration.Migration) error {
			if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
				return err
			}
			return end(m).Monitor().Execute(ctx, command, arguments, nil)
		}
	}
	source := func(m *migration.Migration) *testbed.Instance { return m.Source.Instance("vm1") }
	destination := func(m *migration.Migration) *testbed.Instance { return m.Destination.Instance("vm1") }
	endless := qmptest.Script{Endless: true}
	noJobs := func(ctx context.Context, m *migration.Migration) error {
		var jobs []struct{ Device string }
		err := source(m).Monitor().Execute(ctx, "query-block-jobs", nil, &jobs)
		if err == nil && len(jobs) > 0 {
			err = fmt.Errorf("the source still has the jobs %v", jobs)
		}
		return err
	}
	cancelMirroring := func(ctx context.Context, m *migration.Migration) error {
		for {
			var jobs []struct{ Device string }
			if src := source(m); src != nil {
				if err := src.Monitor().Execute(ctx, "query-block-jobs", nil, &jobs); err != nil {
					return err
				}
			}
			if len(jobs) > 0 {
				return m.Cancel(ctx)
			}
			time.Sleep(time.Millisecond)
		}
	}
	// The end of the destination's QEMU breaks the mirrors, and may be seen before the
	// source's says that the migration is cancelled.
	breaksFirst := func(name string, script qmptest.Script, cancel func(context.Context, *migration.Migration) error) testCase {
		var breakMirrors func()
		script.Execute = func(command string, _ json.RawMessage) (any, error, bool) {
			if command == "migrate_cancel" {
				breakMirrors()
			}
			return nil, nil, false
		}
		return testCase{name: name, source: script, at: "host1", after: noJobs, concurrent: func(ctx context.Context, m *migration.Migration) error {
			breakMirrors = func() {
				_ = destination(m).Monitor().Execute(ctx, "nbd-server-stop", nil, nil)
				time.Sleep(time.Second)
			}
			return cancel(ctx, m)
		}}
	}
	// The cancellation ends the destination's QEMU while it is told that its server ends.
	var cancelling atomic.Pointer[migration.Migration]
	cancelledAtEnd := testCase{
		name: "cancelled while the mirrors end", change: func(p *migration.Plan) { p.Hold = true }, at: "host1", after: noJobs,
		destination: qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
			if command == "nbd-server-stop" {
				_ = cancelling.Load().Cancel(context.Background())
				time.Sleep(time.Second)
			}
			return nil, nil, false
		}},
		concurrent: func(ctx context.Context, m *migration.Migration) error {
			cancelling.Store(m)
			return nil
		},
	}
	byHand := breaksFirst("cancelled by somebody else, and a mirror breaks first", endless, cancelByHand)
	byHand.fails, byHand.want = true, []string{"was cancelled, but not by mig.cancel"}
	const one = "the mirror of disk image1: "
	for _, tt := range []testCase{
		{name: "success", log: "the mirrors have copied 16777216 bytes of disk image1, 16777216 bytes of disk image2"},
		{name: "held", change: func(p *migration.Plan) { p.Hold = true }, concurrent: func(ctx context.Context, m *migration.Migration) error {
			return errors.Join(m.Wait(ctx, migration.Condition{Status: "pre-switchover"}), m.Release(ctx))
		}},
		{name: "over a unix socket", params: and(nbd, "mig_protocol", "unix")},
		{name: "cancelled", source: endless, concurrent: cancelAt("active"), at: "host1", after: noJobs},
		{name: "cancelled before the switchover", change: func(p *migration.Plan) { p.Hold = true }, concurrent: cancelAt("pre-switchover"), at: "host1", after: noJobs},
		{name: "cancelled while it is mirrored", source: qmptest.Script{Drop: []string{"BLOCK_JOB_READY"}}, concurrent: cancelMirroring, at: "host1", after: noJobs},
		breaksFirst("cancelled, and a mirror breaks first", endless, cancelAt("active")),
		byHand, cancelledAtEnd,
		breaksFirst("cancelled while it is mirrored, and a mirror breaks first", qmptest.Script{Drop: []string{"BLOCK_JOB_READY"}}, cancelMirroring),
		{
			name: "no server", destination: qmptest.Script{Refuse: []string{"nbd-server-start"}}, fails: true, status: result.Error, at: "-",
			want: []string{"destination host2, prepare: ", "the script refuses nbd-server-start"},
		},
		{
			name: "no export", destination: qmptest.Script{Refuse: []string{"block-export-add"}}, fails: true, status: result.Error, at: "-",
			want: []string{"destination host2, prepare: ", "the script refuses block-export-add"},
		},
		{name: "a destination without NBD", destination: qmptest.Script{Without: []string{"block-export-add"}}, fails: true, status: result.Skip, at: "-", want: []string{"vm1@host2: this QEMU has no command block-export-add"}},
		{name: "a source that cannot mirror", source: qmptest.Script{Without: []string{"blockdev-mirror"}}, fails: true, status: result.Skip, at: "-", want: []string{"vm1@host1: this QEMU has no command blockdev-mirror"}},
		{
			name: "the export is not there", destination: qmptest.Script{Execute: func(command string, _ json.RawMessage) (any, error, bool) {
				return map[string]any{}, nil, command == "block-export-add"
			}},
			fails: true, status: result.Fail, at: "host1", want: []string{srcFailed, one, "Requested export not available"},
		},
		{name: "no mirror", source: qmptest.Script{Refuse: []string{"blockdev-mirror"}}, fails: true, status: result.Fail, at: "host1", want: []string{srcFailed, one, "the script refuses blockdev-mirror"}},
		{
			name: "the mirror is not started", source: qmptest.Script{Unused: []string{"blockdev-mirror"}}, params: and(nbd, "mig_storage_timeout", "30"), fails: true, status: result.Fail, at: "host1",
			want: []string{srcFailed, one, "no BLOCK_JOB_READY within mig_storage_timeout = 30s"},
		},
		{
			name: "the mirrors do not end", params: and(nbd, "mig_timeout", "5"), fails: true, status: result.Fail, at: "host1",
			source: qmptest.Script{Execute: func(command string, arguments json.RawMessage) (any, error, bool) {
				return map[string]any{}, nil, command == "block-job-cancel" && !strings.Contains(string(arguments), "force")
			}},
			want: []string{"not finished after mig_timeout = 5s: the source has stopped before the switchover (pre-switchover), and the mirrors of its disks have not ended"},
		},
		{
			name: "the mirror copies nothing", source: qmptest.Script{Unused: []string{"mirror-bytes"}}, fails: true, status: result.Fail, at: "-",
			want: []string{srcFailed, "the mirror of disk image1 has copied 0 bytes from vm1@host1 to vm1@host2"},
		},
		{
			name: "a migrate_src that copies no disks", fails: true, status: result.Fail, at: "-", want: []string{srcFailed, "migrate_src has not copied the disks"},
			change: func(p *migration.Plan) {
				p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
					uri := fmt.Sprintf("tcp:127.0.0.1:%d", s.Migration.Ports()["vm1"])
					err := s.Instance("vm1").Execute(ctx, "migrate", map[string]any{"uri": uri}, nil)
					time.Sleep(10 * time.Second)
					return err
				}
			},
		},
		{
			name: "the mirror is cancelled", source: endless, concurrent: during(source, "block-job-cancel", map[string]any{"device": "mhmig-mirror-image1", "force": true}), fails: true, status: result.Fail, at: "host1",
			want: []string{srcFailed, one, "cancelled before it was complete"},
		},
		{
			name: "the mirror ends early", source: endless, concurrent: during(source, "block-job-cancel", map[string]any{"device": "mhmig-mirror-image1"}), fails: true, status: result.Fail, at: "host1",
			want: []string{srcFailed, one, "it has ended before the guest was stopped"},
		},
		{
			name: "the server ends", source: endless, concurrent: during(destination, "nbd-server-stop", nil), fails: true, status: result.Fail, at: "host1",
			want: []string{srcFailed, "the mirror of disk image", "Input/output error"},
		},
		{
			name: "the server ends, as it may", source: endless, concurrent: during(destination, "nbd-server-stop", nil), change: func(p *migration.Plan) { p.MayFail = true }, at: "host1", after: noJobs,
		},
		{
			name: "the destination dies while it is mirrored", source: qmptest.Script{Drop: []string{"BLOCK_JOB_READY"}}, destination: qmptest.Script{StopAt: "block-export-add", Die: true}, fails: true, status: result.Fail, at: "-",
			want: []string{dstFailed, killed},
		},
		{
			name: "the rest is never copied", source: qmptest.Script{Drop: []string{"BLOCK_JOB_COMPLETED"}}, params: and(nbd, "mig_storage_timeout", "30"), fails: true, status: result.Fail, at: "-",
			want: []string{srcFailed, one, "no BLOCK_JOB_COMPLETED within mig_storage_timeout = 30s"},
		},
		{
			name: "a destination that freezes before it is mirrored", fails: true, status: result.Fail, at: "-", want: []string{dstFailed, silent, "the source waits for its NBD server: vm1@host1: " + silent + ": blockdev-add"},
			change: func(p *migration.Plan) {
				p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
					if !s.IsSource() {
						bedtest.Of(s.Instance("vm1")).StopAnswering()
					}
					return nil
				}
			},
		},
		{
			name: "no way to the server", source: qmptest.Script{Ignore: []string{"blockdev-add"}}, params: and(nbd, "mig_port", "4801-4802"), fails: true, status: result.Fail, at: "-",
			want: []string{srcFailed, silent, "blockdev-add", "it connects to the NBD server of vm1@host2 at 127.0.0.1:4801: does a firewall drop that?"},
		},
		{name: "in a range of ports", params: and(nbd, "mig_port", "4811-4812"), log: "uri=tcp:127.0.0.1:4812"},
		{
			name: "a range of ports that are in use", params: and(nbd, "mig_port", "4821-4823"), log: "uri=tcp:127.0.0.1:4823",
			destination: qmptest.Script{Execute: func(command string, arguments json.RawMessage) (any, error, bool) {
				return nil, errors.New("address in use"), strings.Contains(string(arguments), "4821")
			}},
		},
		{
			name: "no port for the server", params: and(nbd, "mig_port", "4831-4832"), fails: true, status: result.Error, at: "-",
			destination: qmptest.Script{Refuse: []string{"nbd-server-start"}}, want: []string{"destination host2, prepare: ", "the script refuses nbd-server-start"},
		},
		{
			name: "a destination that freezes at the end", destination: qmptest.Script{StopAt: "nbd-server-stop"}, fails: true, status: result.Fail, at: "-", want: []string{dstFailed, silent},
		},
	} {
		if tt.params == nil {
			tt.params = nbd
		}
		tt.bed = scriptedDisks()
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
	for _, params := range []cartesian.Params{and(nbd, "mig_postcopy", "yes"), and(nbd, "mig_tls", "psk"), {"mig_storage": "nfs"}} {
		_, err := migration.NewTransport("tcp", params)
		if wrong := refused(err, "param mig_storage: "); wrong != nil {
			t.Errorf("%v: %v", params, wrong)
		}
	}
	for protocol, want := range map[string]bool{"tcp": true, "exec": true, "fd": true, "unix": false} {
		if err := migration.CheckParams(and(and(nbd, "mig_port", "4800"), "mig_protocol", protocol)); (err != nil) != want {
			t.Errorf("one port with mig_protocol = %s: got %v", protocol, err)
		}
	}
}
