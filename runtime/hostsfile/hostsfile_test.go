// SPDX-License-Identifier: Apache-2.0

package hostsfile_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/hostsfile"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := hostsfile.Load(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: got %v, want %v", err, fs.ErrNotExist)
	}
	saved := hostsfile.Record{
		Lab:   &hostsfile.Lab{ID: "a1b2", Kind: "embedded", Dir: "/var/lab", Machine: "ws1", Own: true},
		Hosts: []host.Config{{Name: "host1", Address: "127.0.0.1", Port: 2201, User: "root", Password: "hidden"}},
	}
	if err := saved.Save(folder); err != nil {
		t.Fatal(err)
	}
	got, err := hostsfile.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	saved.Hosts[0].Password = "***" // a secret stays with the run
	if diff := cmp.Diff(saved, got); diff != "" {
		t.Errorf("(-saved +loaded):\n%s", diff)
	}
	if !got.EndsWithRun() || got.Lab.IsAlive() {
		t.Errorf("a lab of the run's own, which is gone: got EndsWithRun %v, IsAlive %v", got.EndsWithRun(), got.Lab.IsAlive())
	}
	if c, err := got.Config("host1"); err != nil || c.Port != 2201 {
		t.Errorf("Config: got %+v, %v", c, err)
	}
	if _, err := got.Config("host9"); err == nil {
		t.Error("Config of a host that is not noted: got no error")
	}
}
