// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"context"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

var snapshotTimeoutParam = Param{"timeout", Seconds, Computed("the param mig_timeout"), "how long it may take"}

// snapshotMethod is vm.background_snapshot.
var snapshotMethod = &Builtin{
	Name: "background_snapshot", Waits: true,
	Params: []Param{
		{"bytes_per_second", Bytes, Computed("no limit"), "how much is written per second; QEMU applies no max-bandwidth here"},
		snapshotTimeoutParam,
	},
	Doc: "Saves the guest as it is now to a file on its host while it runs on (QMP migrate with the capability background-snapshot, QEMU 6.0 or later), and waits until the file is complete. " +
		"QEMU stops the guest for a moment first: when its event RESUME has come (see vm.expect), nothing that the guest does is in the snapshot. " +
		"It is a FAIL if QEMU drops the capability, or does not let the guest run on. A QEMU or a kernel without what it needs (userfaultfd with write protection, and root or vm.unprivileged_userfaultfd = 1) is a SKIP. " +
		"Not during a migration. The file is removed at the end of the scenario.",
	Returns: Return{"snapshot", "the snapshot"},
	Fn:      vmBackgroundSnapshot,
}

// snapshotTimeout is the argument timeout of a builtin.
func snapshotTimeout(a *Args, bed *testbed.Bed) (time.Duration, error) {
	v := api.Read(bed.Params())
	timeout := argOr(a, "timeout", v.Seconds("mig_timeout"))
	return timeout, v.Err()
}

func vmBackgroundSnapshot(t *task.Task, a *Args) (starlark.Value, error) {
	s := stateOf(t)
	speed := argOr(a, "bytes_per_second", int64(0))
	if a.Has("bytes_per_second") && speed <= 0 {
		return nil, misusef("bytes_per_second: got %d, want more than 0", speed)
	}
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	timeout, err := snapshotTimeout(a, s.bed)
	if err != nil {
		return nil, err
	}
	release, err := s.bed.Claim([]string{inst.Name()}, "vm.background_snapshot")
	if err != nil {
		return nil, misuse{err}
	}
	defer release()
	taken, err := task.Wait(t, func(ctx context.Context) (*migration.BackgroundSnapshot, error) {
		return migration.TakeBackgroundSnapshot(ctx, s.bed, inst, migration.SnapshotOptions{Speed: speed, Timeout: timeout})
	})
	if err != nil {
		return nil, err
	}
	return s.newObject("snapshot", &snapshotHandle{taken, inst}, inst.String()), nil
}

// snapshotHandle is a snapshot of an instance's guest.
type snapshotHandle struct {
	*migration.BackgroundSnapshot

	of *testbed.Instance
}

// snapshotClass is what vm.background_snapshot returns.
func snapshotClass() *Class {
	number := func(f func(*snapshotHandle) starlark.Value) func(*scenarioState, any) (starlark.Value, error) {
		return func(_ *scenarioState, self any) (starlark.Value, error) { return f(self.(*snapshotHandle)), nil }
	}
	return &Class{
		Name: "snapshot",
		Doc:  "A guest as it was at one moment, in a file on its host.",
		Attrs: []Attr{
			{"host", "host", "where the file is", func(s *scenarioState, self any) (starlark.Value, error) {
				return s.host(self.(*snapshotHandle).Host), nil
			}},
			{"bytes", "int", "the size of the file", number(func(h *snapshotHandle) starlark.Value { return starlark.MakeInt64(h.Bytes) })},
			{"pause", "float", "how long the guest was stopped when it began, in seconds", number(func(h *snapshotHandle) starlark.Value { return starlark.Float(h.Pause.Seconds()) })},
			{"took", "float", "how long it took until the file was complete, in seconds", number(func(h *snapshotHandle) starlark.Value { return starlark.Float(h.Took.Seconds()) })},
			{"stats", "dict[string, any]", "QEMU's final query-migrate", func(_ *scenarioState, self any) (starlark.Value, error) {
				return ToStarlark(self.(*snapshotHandle).Query)
			}},
		},
		Methods: []*Builtin{{
			Name: "restore", Waits: true,
			Params: []Param{
				{"find", Strings, Value([]string(nil)), "texts to look for in its memory. One that begins on another page of 4 KiB than it ends on may not be found"},
				{"host", Host, Computed("where the file is"), "the host to restore it on, which must have the VM's disks"},
				snapshotTimeoutParam,
			},
			Doc: "Loads the snapshot into a second QEMU, and ends that when it has been looked at. The guest that is restored never runs and never uses its disks: " +
				"vm is still the guest that runs, and nothing else is. A snapshot that QEMU cannot load is a FAIL. Not during a migration.",
			Returns: Return{"dict[string, bool]", "whether the guest's memory has each of the texts"},
			Fn:      snapshotRestore,
		}},
	}
}

func snapshotRestore(t *task.Task, a *Args) (starlark.Value, error) {
	s, h := stateOf(t), a.Self.(*snapshotHandle)
	texts, host := arg[[]string](a, "find"), argOr(a, "host", h.Host)
	for _, text := range texts {
		if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			return nil, misusef("find: got %q, want texts without control characters", text)
		}
	}
	timeout, err := snapshotTimeout(a, s.bed)
	if err != nil {
		return nil, err
	}
	release, err := s.bed.Claim([]string{h.of.Name()}, "snapshot.restore")
	if err != nil {
		return nil, misuse{err}
	}
	defer release()
	found, err := task.Wait(t, func(ctx context.Context) (map[string]bool, error) {
		return h.Restore(ctx, host, texts, timeout)
	})
	if err != nil {
		return nil, err
	}
	result := starlark.NewDict(len(found))
	for _, text := range texts {
		if err := result.SetKey(starlark.String(text), starlark.Bool(found[text])); err != nil {
			return nil, err
		}
	}
	return result, nil
}
