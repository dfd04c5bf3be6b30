// SPDX-License-Identifier: Apache-2.0

package scenariotest_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/mhmig/mhmig/builtins/scenariotest"
	"github.com/mhmig/mhmig/runtime/result"
)

// Variants and VMs whose names are alike have tests and constants of different names: the
// last one would be the only one.
func TestRecordedNames(t *testing.T) {
	t.Parallel()
	folder, err := result.Create(t.TempDir(), result.Run{}, func(err error) { t.Errorf("results: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	record := func(name string) error {
		v, err := folder.Start(result.Entry{Name: "all." + name, ShortName: name, Params: map[string]string{"vms": "vm-1 vm_1"}})
		if err != nil {
			return err
		}
		for _, vm := range []string{"vm-1", "vm_1"} {
			file, err := v.VMFile(vm, "host1", "qmp.jsonl")
			if err != nil {
				return err
			}
			_, err = file.Write([]byte(`{"time":"2026-01-02T15:04:05Z","dir":"send","message":{"execute":"migrate","id":1}}` + "\n"))
			if err != nil {
				return err
			}
			if err := file.Close(); err != nil {
				return err
			}
		}
		return v.Finish(result.Outcome{})
	}
	for _, name := range []string{"a-b", "a_b", "A.b"} {
		if err := record(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := folder.Finish(result.Pass); err != nil {
		t.Fatal(err)
	}
	text, err := scenariotest.Record(t.Context(), folder.Dir(), "", "", options())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, found := range regexp.MustCompile(`(?m)^(?:def )?(\w+)(?: = |\(t\))`).FindAllSubmatch(text, -1) {
		got = append(got, string(found[1]))
	}
	want := []string{
		"A_B_VM_1_1", "A_B_VM_1_1_2", "test_a_b",
		"A_B_VM_1_1_3", "A_B_VM_1_1_4", "test_a_b_2",
		"A_B_VM_1_1_5", "A_B_VM_1_1_6", "test_A_b_3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q in\n%s", got, want, text)
	}
}
