// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// peer is an end of a move whose QEMU answers with answer.
type peer struct {
	name    string
	answer  func(command string, arguments map[string]any, reply any) error
	asked   *[]string
	machine *machine
	old     bool // its schema has nothing of what it is asked for
	ipv6    bool
}

func (p peer) Supports(context.Context, string) (bool, error) { return !p.old, nil }
func (p peer) String() string                                 { return "vm1@" + p.name }
func (p peer) HostName() string                               { return p.name }
func (p peer) Log() *slog.Logger                              { return slog.New(slog.DiscardHandler) }
func (p peer) Machine() migration.Machine                     { return p.machine }

func (p peer) Spec() vm.Spec {
	files := "/run/" + p.name + "/vm1."
	return vm.Spec{SpareQMP: files + "spare", Migration: files + "mig", State: files + "state", Exec: files + "exec", Program: files + "prog"}
}

func (p peer) Address() string {
	number := strings.TrimPrefix(p.name, "host")
	if p.ipv6 {
		return "2001:db8::" + number
	}
	return "192.0.2." + number
}

func (p peer) ListenAddress() string { return testbed.ListenAddress(p.Address()) }

func (p peer) Execute(_ context.Context, command string, arguments, reply any) error {
	given, _ := arguments.(map[string]any)
	uri, _ := given["uri"].(string)
	if channels, has := given["channels"]; has {
		text, err := json.Marshal(channels)
		if err != nil {
			return err
		}
		uri = string(text)
	}
	*p.asked = append(*p.asked, strings.TrimSpace(p.name+" "+command+" "+uri))
	if p.answer == nil {
		return nil
	}
	return p.answer(command, given, reply)
}

// The addresses on which each transport makes the destination listen, and to which it
// makes the source send.
func TestTransports(t *testing.T) {
	t.Parallel()
	taken := &qmp.Error{Command: "migrate-incoming", Desc: "address in use"}
	channels := map[string]string{"mig_channels": "yes"}
	channel := func(addr string) string { return `[{"addr":` + addr + `,"channel-type":"main"}]` }
	for _, tt := range []struct {
		name, protocol string
		params         map[string]string
		ipv6, old      bool
		taken          string // URI on which the destination cannot listen
		want           []string
		err            string
	}{
		{
			name: "tcp", protocol: "tcp",
			want: []string{"host2 migrate-incoming tcp:0.0.0.0:0", "host2 query-migrate", "host1 migrate tcp:192.0.2.2:4711"},
		},
		{
			name: "a port", protocol: "tcp", params: map[string]string{"mig_port": "4711"},
			want: []string{"host2 migrate-incoming tcp:0.0.0.0:4711", "host2 query-migrate", "host1 migrate tcp:192.0.2.2:4711"},
		},
		{
			name: "a range", protocol: "tcp", params: map[string]string{"mig_port": "4710-4720"}, taken: "tcp:0.0.0.0:4710",
			want: []string{
				"host2 migrate-incoming tcp:0.0.0.0:4710", "host2 migrate-incoming tcp:0.0.0.0:4711", "host2 query-migrate",
				"host1 migrate tcp:192.0.2.2:4711",
			},
		},
		{
			name: "no port", protocol: "tcp", params: map[string]string{"mig_port": "4710"}, taken: "tcp:0.0.0.0:4710",
			want: []string{"host2 migrate-incoming tcp:0.0.0.0:4710"},
			err:  "migrate-incoming: address in use; no port of mig_port = 4710 is free on host2 (0 lets QEMU choose)",
		},
		{
			name: "tcp, IPv6", protocol: "tcp", ipv6: true,
			want: []string{"host2 migrate-incoming tcp:[::]:0", "host2 query-migrate", "host1 migrate tcp:[2001:db8::2]:4711"},
		},
		{
			name: "tcp as a channel", protocol: "tcp", params: channels, ipv6: true,
			want: []string{
				"host2 migrate-incoming " + channel(`{"host":"::","port":"0","transport":"socket","type":"inet"}`), "host2 query-migrate",
				"host1 migrate " + channel(`{"host":"2001:db8::2","port":"4711","transport":"socket","type":"inet"}`),
			},
		},
		{
			name: "unix as a channel", protocol: "unix", params: channels,
			want: []string{
				"host2 migrate-incoming " + channel(`{"path":"/run/host2/vm1.mig","transport":"socket","type":"unix"}`),
				"host1 migrate " + channel(`{"path":"/run/host2/vm1.mig","transport":"socket","type":"unix"}`),
			},
		},
		{
			name: "no channels", protocol: "unix", params: channels, old: true,
			err: "vm1@host2: migrate-incoming of this QEMU has no argument channels, which mig_channels needs: QEMU 8.2 or later has it",
		},
		{
			name: "rdma", protocol: "rdma", ipv6: true,
			want: []string{"host2 migrate-incoming rdma:[2001:db8::2]:20001", "host1 migrate rdma:[2001:db8::2]:20001"},
		},
		{
			name: "rdma on a port", protocol: "x-rdma", params: map[string]string{"mig_port": "4710-4711"}, taken: "rdma:192.0.2.2:4710",
			want: []string{"host2 migrate-incoming rdma:192.0.2.2:4710", "host2 migrate-incoming rdma:192.0.2.2:4711", "host1 migrate rdma:192.0.2.2:4711"},
		},
		{
			name: "rdma as a channel", protocol: "rdma", params: channels,
			want: []string{
				"host2 migrate-incoming " + channel(`{"host":"192.0.2.2","port":"20001","transport":"rdma"}`),
				"host1 migrate " + channel(`{"host":"192.0.2.2","port":"20001","transport":"rdma"}`),
			},
		},
		{
			name: "unix", protocol: "unix",
			want: []string{"host2 migrate-incoming unix:/run/host2/vm1.mig", "host1 migrate unix:/run/host2/vm1.mig"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport(tt.protocol, tt.params)
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source := peer{name: "host1", asked: &asked, ipv6: tt.ipv6, old: tt.old, machine: &machine{name: "host1"}}
			destination := peer{name: "host2", asked: &asked, ipv6: tt.ipv6, old: tt.old, machine: &machine{name: "host2"}}
			destination.answer = func(command string, arguments map[string]any, reply any) error {
				switch {
				case command == "query-migrate":
					return fill(reply, `{"socket-address": [{"port": "4711"}]}`)
				case arguments["uri"] == tt.taken:
					return taken
				}
				return nil
			}
			if err = transport.Listen(t.Context(), destination); err == nil {
				err = transport.Send(t.Context(), source, destination)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, asked); diff != "" {
				t.Errorf("asked (- want, + got):\n%s", diff)
			}
		})
	}
}

// A QEMU that reports no listening port, or an invalid one.
func TestPortUnknown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                                     "vm1@host2: QEMU does not report its listening port",
		`{"socket-address": [{"port": "high"}]}`: `vm1@host2: port "high": `,
	} {
		transport, err := migration.NewTransport("tcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		destination := peer{name: "host2", asked: &asked, answer: func(command string, _ map[string]any, reply any) error {
			if command == "query-migrate" {
				return fill(reply, text)
			}
			return nil
		}}
		if err := transport.Listen(t.Context(), destination); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// unix works between two hosts of a lab, which are one machine.
func TestUnix(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	bed, p := processes(t, cartesian.Params{"mig_protocol": "unix"})
	if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
		t.Fatal(err)
	}
	if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] {
		t.Errorf("the VM is in %v, want on the second host", current)
	}
}

// The same with QEMU itself.
func TestUnixQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_protocol"] = "unix"
	bed := prepared(t, params)
	if err := runBoth(t.Context(), start(t, bed, plan(bed))); err != nil {
		t.Fatal(err)
	}
	if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] {
		t.Errorf("the VM is in %v, want on the second host", current)
	}
}

// A guest moves from one QEMU to another on its host, and back: both have files and a
// name of their own, though both are started at the same time.
func TestSameHost(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"tcp", "unix"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_protocol"] = protocol
			bed := prepared(t, params)
			p := plan(bed)
			p.Destination = p.Source
			for n := range 2 {
				before := bed.Current("vm1")
				if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
					t.Fatal(err)
				}
				after := bed.Current("vm1")
				if after == nil || after == before || after.Host != p.Source || before != nil && after.ID() == before.ID() {
					t.Errorf("move %d: the VM was in %v and is in %v, want another instance on the same host", n+1, before, after)
				}
				if all := bed.Instances(); len(all) != 1 {
					t.Errorf("there are %v, want one", all)
				}
			}
		})
	}
}

// A transport that works on one machine only is refused between two, before anything
// is started.
func TestTwoMachines(t *testing.T) {
	t.Parallel()
	// Two hosts with one kernel, like containers: the second one's folder does not
	// exist on the first.
	bed, p := scripted(t, qmptest.Script{}, qmptest.Script{}, cartesian.Params{"mig_protocol": "unix"})
	if err := os.Rename(bed.Hosts()[1].RunDir(), bed.Hosts()[1].RunDir()+"-away"); err != nil {
		t.Fatal(err)
	}
	err := runBoth(t.Context(), start(t, bed.Bed, p))
	const want = "migration 1, source host1, prepare: param mig_protocol: unix works on one machine only, but host1 and host2 are two machines: use another one, such as tcp"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if instances := bed.Instances(); len(instances) > 0 {
		t.Errorf("started: %v, want nothing", instances)
	}
	if err := os.Rename(bed.Hosts()[1].RunDir()+"-away", bed.Hosts()[1].RunDir()); err != nil {
		t.Error(err)
	}
}

// A transport whose destination loads when the source has completed, and that starts both
// QEMUs in a way of its own.
func TestLoadsAfterSource(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	bed, p := processes(t, nil)
	m := start(t, bed, p)
	migration.UseFileTransport(m)
	if err := runBoth(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if current := bed.Current("vm1"); current == nil || current.Host != bed.Hosts()[1] {
		t.Errorf("the VM is in %v, want on the second host", current)
	}
	for _, host := range []string{"host1", "host2"} {
		text, err := os.ReadFile(filepath.Join(bed.Results.Dir(), filepath.FromSlash(result.VMPath("vm1", host, "qemu.cmdline"))))
		if err != nil || !strings.Contains(string(text), "memory-backend-file") {
			t.Errorf("%s: want memory-backend-file in the command line, %v:\n%s", host, err, text)
		}
	}
}

// When the source fails, the destination does not load.
func TestNothingToLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bed, p := scripted(t, qmptest.Script{Refuse: []string{"migrate"}}, qmptest.Script{}, nil)
		m := start(t, bed.Bed, p)
		migration.UseFileTransport(m)
		if err := runBoth(t.Context(), m); err == nil || !strings.Contains(err.Error(), "the script refuses migrate") {
			t.Errorf("got %v, want that migrate is refused", err)
		}
	})
}

func fill(reply any, text string) error { return json.Unmarshal([]byte(text), reply) }
