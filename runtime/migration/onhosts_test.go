// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// machine is a host with these programs and files.
type machine struct {
	name  string
	has   []string // what its search for programs prints
	files map[string]string
	made  []string // what the ledger has
	deaf  bool     // no port of it is ever listened on
	busy  bool     // no port of it is free
	full  bool     // nothing can be written
	wrong bool     // what is written is changed
	says  string   // what mhmig's own program says
	at    string   // what the file has at an offset, in hexadecimal
}

func (m *machine) Name() string             { return m.name }
func (m *machine) MigrationAddress() string { return "192.0.2." + strings.TrimPrefix(m.name, "host") }

func (m *machine) Run(_ context.Context, c host.Command) (host.Output, error) {
	failed := func(text string) (host.Output, error) {
		out := host.Output{Status: 1, Stderr: []byte(text)}
		return out, &host.ExitError{Host: m.name, Command: c.String(), Output: out}
	}
	path, writes := strings.CutPrefix(c.Script, "cat >")
	answer := ""
	switch {
	case writes && m.full:
		return failed("cat: write error: No space left on device")
	case writes:
		text, err := io.ReadAll(c.Stdin)
		if err != nil {
			return failed(err.Error())
		}
		if m.wrong {
			text = text[:len(text)-1]
		}
		m.files[path] = string(text)
	case len(c.Args) > 0 && c.Args[0] == "ssh" && m.says != "":
		return failed(m.says)
	case len(c.Args) > 0 && c.Args[0] == "stat":
		answer = fmt.Sprint(len(m.files[c.Args[4]]))
	case len(c.Args) > 0 && c.Args[0] == "od":
		answer = cmp.Or(m.at, " 51 45 56 4d")
	case strings.Contains(c.Script, "/dev/infiniband"):
		answer = m.says
	case strings.Contains(c.Script, " migfd "):
		m.files["/run/"+m.name+"/vm1.exec"], answer = m.says, m.says
	case len(c.Args) > 0 && c.Args[0] == "uname":
		answer = strings.Join(m.has, " ")
	case strings.Contains(c.Script, "command -v socat"):
		answer = strings.Join(m.has, "\n")
	case strings.Contains(c.Script, "until cat /proc/net/tcp"):
		answer = map[bool]string{true: "no", false: "yes"}[m.deaf]
	case len(c.Args) > 0 && c.Args[0] == "sha256sum":
		answer = fmt.Sprintf("%x  %s", sha256.Sum256([]byte(m.files[c.Args[2]])), c.Args[2])
	}
	return host.Output{Stdout: []byte(answer + "\n")}, nil
}

func (m *machine) ReadFile(_ context.Context, name string) ([]byte, error) {
	text, there := m.files[name]
	if !there {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (m *machine) CopyTo(ctx context.Context, name string, w io.Writer) error {
	text, err := m.ReadFile(ctx, name)
	if err == nil {
		_, err = io.Copy(w, bytes.NewReader(text))
	}
	return err
}

func (m *machine) MkdirAll(context.Context, string, fs.FileMode) error { return nil }

func (m *machine) WriteFile(_ context.Context, name string, data []byte, _ fs.FileMode) error {
	m.files[name] = string(data)
	return nil
}

func (m *machine) RemoveAll(_ context.Context, name string) error {
	delete(m.files, name)
	return nil
}

func (m *machine) FreePort(context.Context) (int, error) { return 20001, nil }

func (m *machine) ReservePort(_ context.Context, first, last int) (port int, release func(), err error) {
	if m.busy {
		return 0, nil, fmt.Errorf("%s: find a free port: all of %d to %d are taken", m.name, first, last)
	}
	return last, func() {}, nil
}

func (m *machine) Record(kind ledger.Kind, path string) (func() error, error) {
	entry := string(kind) + " " + path
	m.made = append(m.made, entry)
	return func() error {
		m.made = slices.DeleteFunc(m.made, func(e string) bool { return e == entry })
		return nil
	}, nil
}

func (m *machine) NewMark() (string, error)                { return "mhmig-1-" + m.name + "/1/", nil }
func (m *machine) EndMarked(context.Context, string) error { return nil }

// ends are a source and a destination, which note the commands that their QEMUs get.
func ends(asked *[]string) (source, destination peer) {
	end := func(name string) peer {
		return peer{name: name, asked: asked, machine: &machine{name: name, files: map[string]string{}}}
	}
	return end("host1"), end("host2")
}

// uriOf is the URI of an exec: transport on a host.
func uriOf(host, command string) string {
	return fmt.Sprintf(`exec:export MHMIG_RUN=mhmig-1-%[1]s/1/; { %[2]s; echo "status $?" >&2; } 2>/run/%[1]s/vm1.exec`, host, command)
}

// The command lines of exec, by what the hosts have.
func TestExec(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		has1, has2 []string
		params     map[string]string
		ipv6       bool
		change     func(destination *machine)
		source     func(source *machine)
		want       []string // of the destination, of the source
		err        string
		status     result.Status
	}{
		{
			name: "socat is preferred", has1: []string{"socat", "openbsd"}, has2: []string{"busybox", "socat"},
			want: []string{"socat - TCP4-LISTEN:20001,bind=0.0.0.0,reuseaddr", "socat - TCP:192.0.2.2:20001"},
		},
		{
			name: "each host its own", has1: []string{"openbsd"}, has2: []string{"busybox"},
			want: []string{"busybox nc -l -p 20001", "nc -N 192.0.2.2 20001"},
		},
		{
			name: "the other way round", has1: []string{"busybox"}, has2: []string{"openbsd"},
			want: []string{"nc -4 -N -l 0.0.0.0 20001", "busybox nc 192.0.2.2 20001"},
		},
		{
			name: "ncat, also as nc", has1: []string{"nmap"}, has2: []string{"ncat", "nmap"},
			want: []string{"ncat -4 -l 0.0.0.0 20001", "nc 192.0.2.2 20001"},
		},
		{
			name: "IPv6", ipv6: true, has1: []string{"socat"}, has2: []string{"socat"},
			want: []string{"socat - 'TCP6-LISTEN:20001,bind=[::],reuseaddr'", "socat - 'TCP:[2001:db8::2]:20001'"},
		},
		{
			name: "IPv6 with nc", ipv6: true, has1: []string{"openbsd"}, has2: []string{"openbsd"},
			want: []string{"nc -6 -N -l :: 20001", "nc -N 2001:db8::2 20001"},
		},
		{
			name: "a program", has1: []string{"socat", "busybox"}, has2: []string{"socat", "busybox"}, params: map[string]string{"mig_exec_program": "busybox"},
			want: []string{"busybox nc -l -p 20001", "busybox nc 192.0.2.2 20001"},
		},
		{
			name: "a port", has1: []string{"busybox"}, has2: []string{"busybox"}, params: map[string]string{"mig_port": "4700-4711"},
			want: []string{"busybox nc -l -p 4711", "busybox nc 192.0.2.2 4711"},
		},
		{
			name: "ssh", has2: []string{"openbsd"}, params: map[string]string{"mig_exec_program": "ssh"},
			want: []string{"nc -4 -N -l 0.0.0.0 20001", "ssh -o BatchMode=yes -o ConnectTimeout=10 192.0.2.2 'nc -N 192.0.2.2 20001'"},
		},
		{
			name: "ssh, but no login", has2: []string{"socat"}, params: map[string]string{"mig_exec_program": "ssh"}, status: result.Skip,
			source: func(m *machine) { m.says = "root@192.0.2.2:\nPermission denied (publickey)." },
			err:    "mig_protocol = exec, mig_exec_program = ssh: host1 cannot log in to host2 (192.0.2.2) by ssh, without a password: root@192.0.2.2: Permission denied (publickey).",
		},
		{
			name: "ssh, but nothing there", params: map[string]string{"mig_exec_program": "ssh"}, status: result.Skip,
			err: "mig_protocol = exec: host2 has none of the programs socat, nc, ncat, busybox (of nc only OpenBSD's or nmap's): install one there",
		},
		{
			name: "no program", has1: []string{"socat"}, status: result.Skip,
			err: "mig_protocol = exec: host2 has none of the programs socat, nc, ncat, busybox (of nc only OpenBSD's or nmap's): install one there",
		},
		{
			name: "not that program", has1: []string{"busybox"}, has2: []string{"socat"}, params: map[string]string{"mig_exec_program": "socat"}, status: result.Skip,
			err: "mig_protocol = exec: host1 has no socat (param mig_exec_program), or not one that can be used: install it there, or use another one",
		},
		{
			name: "no port", has1: []string{"socat"}, has2: []string{"socat"}, params: map[string]string{"mig_port": "4710"}, status: result.Error,
			change: func(m *machine) { m.busy = true },
			err:    "mig_port = 4710 (0 lets mhmig choose): host2: find a free port: all of 4710 to 4710 are taken",
		},
		{
			name: "it does not listen", has1: []string{"socat"}, has2: []string{"busybox"}, status: result.Error,
			change: func(m *machine) {
				m.deaf, m.files["/run/host2/vm1.exec"] = true, "nc: bind: Address already in use\nstatus 1\n"
			},
			want: []string{"busybox nc -l -p 20001"},
			err:  "the command that carries the migration on host2 (exec: busybox nc -l -p 20001) does not listen on port 20001 after 10s (ended: true, status 1): nc: bind: Address already in use",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport("exec", tt.params)
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source, destination := ends(&asked)
			source.ipv6, destination.ipv6 = tt.ipv6, tt.ipv6
			source.machine.has, destination.machine.has = tt.has1, tt.has2
			if tt.change != nil {
				tt.change(destination.machine)
			}
			if tt.source != nil {
				tt.source(source.machine)
			}
			err = transport.(migration.Checker).Check(t.Context(), source.machine, destination.machine)
			if err == nil {
				err = transport.Listen(t.Context(), destination)
			}
			if err == nil {
				err = transport.Send(t.Context(), source, destination)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err || result.StatusOf(err) != tt.status) {
				t.Errorf("got %v: %v\nwant %v: %q", result.StatusOf(err), err, tt.status, tt.err)
			}
			var want []string
			for i, command := range tt.want {
				if i == 0 {
					want = append(want, "host2 migrate-incoming "+uriOf("host2", command))
				} else {
					want = append(want, "host1 migrate "+uriOf("host1", command))
				}
			}
			if d := diff.Diff(want, asked); d != "" {
				t.Errorf("asked (- want, + got):\n%s", d)
			}
		})
	}
}

// The param's values are the programs.
func TestExecPrograms(t *testing.T) {
	t.Parallel()
	param, found := api.Find("mig_exec_program")
	want := append(append([]string{"any"}, migration.ExecPrograms()...), "ssh")
	if d := diff.Diff(want, param.Choices); !found || d != "" {
		t.Errorf("mig_exec_program (- want, + got):\n%s", d)
	}
}

// Which end's program has failed first.
func TestExecExplains(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, said1, said2 string
		failed             migration.Role
		why                string
	}{
		{name: "both are well", said1: "status 0\n", said2: "status 0\n"},
		{name: "neither has ended"},
		{
			name: "the destination's is killed", said1: "socat: Connection reset by peer\nstatus 1\n", said2: "Killed\nstatus 137\n", failed: migration.DestinationRole,
			why: "the command that carries the migration on host2 (exec: socat - TCP4-LISTEN:20001,bind=0.0.0.0,reuseaddr) was ended by signal 9: Killed",
		},
		{
			name: "the source's is killed", said1: "status 143\n", said2: "status 1\n", failed: migration.SourceRole,
			why: "the command that carries the migration on host1 (exec: socat - TCP:192.0.2.2:20001) was ended by signal 15",
		},
		{
			name: "nobody listens", said1: "socat: Connection refused\nstatus 1\n", failed: migration.SourceRole,
			why: "the command that carries the migration on host1 (exec: socat - TCP:192.0.2.2:20001) ended with status 1: socat: Connection refused",
		},
		{name: "its QEMU is gone", said1: "status 0\n", said2: "status 141\n"},
		{ // ssh's own status
			name: "ssh has lost its connection", said1: "client_loop: send disconnect: Broken pipe\nstatus 255\n", failed: migration.SourceRole,
			why: "the command that carries the migration on host1 (exec: socat - TCP:192.0.2.2:20001) ended with status 255: client_loop: send disconnect: Broken pipe",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport("exec", nil)
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source, destination := ends(&asked)
			source.machine.has, destination.machine.has = []string{"socat"}, []string{"socat"}
			on := transport.(migration.OnHosts)
			err = errors.Join(transport.(migration.Checker).Check(t.Context(), source.machine, destination.machine),
				transport.Listen(t.Context(), destination), transport.Send(t.Context(), source, destination))
			if err != nil {
				t.Fatal(err)
			}
			source.machine.files["/run/host1/vm1.exec"] = tt.said1
			destination.machine.files["/run/host2/vm1.exec"] = tt.said2
			if failure := on.Explain(t.Context()); failure.End != tt.failed || failure.Why != tt.why || failure.Killed != strings.Contains(tt.why, "by signal") {
				t.Errorf("got %+v\nwant %q: %s", failure, tt.failed, tt.why)
			}
			if err := errors.Join(on.Close(t.Context(), migration.SourceRole), on.Close(t.Context(), migration.DestinationRole)); err != nil {
				t.Error(err)
			}
			if left := len(source.machine.files) + len(destination.machine.files); left > 0 {
				t.Errorf("left: %v, %v", source.machine.files, destination.machine.files)
			}
		})
	}
}

// The URIs of file, by what the QEMUs have, and what is copied.
func TestFile(t *testing.T) {
	t.Parallel()
	byGzip := map[string]string{"migration_exec_cmd_src": "gzip -c >'%s'", "migration_exec_cmd_dst": "gzip -dc %s"}
	for _, tt := range []struct {
		name       string
		protocol   string // "": file
		params     map[string]string
		old1, old2 bool // QEMU has no file: URIs
		change     func(source, destination *machine)
		want       []string
		err        string
		status     result.Status
	}{
		{name: "both have file:", want: []string{"host1 migrate file:/run/host1/vm1.state", "host2 migrate-incoming file:/run/host2/vm1.state"}},
		{
			name: "an offset", params: map[string]string{"mig_file_offset": "1M"},
			want: []string{"host1 migrate file:/run/host1/vm1.state,offset=0x100000", "host2 migrate-incoming file:/run/host2/vm1.state,offset=0x100000"},
		},
		{
			name: "channels", params: map[string]string{"mig_channels": "yes", "mig_file_offset": "1M"},
			want: []string{
				`host1 migrate [{"addr":{"filename":"/run/host1/vm1.state","offset":1048576,"transport":"file"},"channel-type":"main"}]`,
				`host2 migrate-incoming [{"addr":{"filename":"/run/host2/vm1.state","offset":1048576,"transport":"file"},"channel-type":"main"}]`,
			},
		},
		{
			name: "no guest at the offset", params: map[string]string{"mig_file_offset": "1M"}, change: func(source, _ *machine) { source.at = "00 00 00 00" }, status: result.Error,
			want: []string{"host1 migrate file:/run/host1/vm1.state,offset=0x100000"},
			err:  `QEMU has completed, but no guest begins at mig_file_offset = 1048576 of /run/host1/vm1.state: there is "00 00 00 00", want "51 45 56 4d"`,
		},
		{
			name: "from an old QEMU", old1: true,
			want: []string{"host1 migrate " + uriOf("host1", "cat >/run/host1/vm1.state"), "host2 migrate-incoming file:/run/host2/vm1.state"},
		},
		{
			name: "to an old QEMU", old2: true,
			want: []string{"host1 migrate file:/run/host1/vm1.state", "host2 migrate-incoming " + uriOf("host2", "cat /run/host2/vm1.state")},
		},
		{
			name: "an offset, and an old QEMU", params: map[string]string{"mig_file_offset": "1M"}, old1: true, status: result.Skip,
			err: "vm1@host1: this QEMU has no file: URIs, which mig_file_offset needs: QEMU 8.2 or later has them",
		},
		{
			name: "the command has failed", old1: true, status: result.Error,
			change: func(source, _ *machine) {
				source.files["/run/host1/vm1.exec"] = "cat: write error: No space left on device\nstatus 1\n"
			},
			want: []string{"host1 migrate " + uriOf("host1", "cat >/run/host1/vm1.state")},
			err:  "the command that carries the migration on host1 (exec: cat >/run/host1/vm1.state) ended with status 1: cat: write error: No space left on device",
		},
		{
			name: "by commands", protocol: "exec", params: byGzip,
			want: []string{"host1 migrate " + uriOf("host1", "gzip -c >'/run/host1/vm1.state'"), "host2 migrate-incoming " + uriOf("host2", "gzip -dc /run/host2/vm1.state")},
		},
		{
			name: "by a command that fails", protocol: "exec", params: byGzip, status: result.Error,
			change: func(source, _ *machine) {
				source.files["/run/host1/vm1.exec"] = "sh: 1: gzip: not found\nstatus 127\n"
			},
			want: []string{"host1 migrate " + uriOf("host1", "gzip -c >'/run/host1/vm1.state'")},
			err:  "the command that carries the migration on host1 (exec: gzip -c >'/run/host1/vm1.state') ended with status 127: sh: 1: gzip: not found",
		},
		{
			name: "no file", change: func(source, _ *machine) { delete(source.files, "/run/host1/vm1.state") }, status: result.Error,
			want: []string{"host1 migrate file:/run/host1/vm1.state"}, err: "copy the guest's file from host1 to host2: file does not exist",
		},
		{
			name: "the destination's disk is full", change: func(_, destination *machine) { destination.full = true }, status: result.Error,
			want: []string{"host1 migrate file:/run/host1/vm1.state"}, err: "No space left on device",
		},
		{
			name: "what arrives is cut", change: func(_, destination *machine) { destination.wrong = true }, status: result.Error,
			want: []string{"host1 migrate file:/run/host1/vm1.state"}, err: "host2: /run/host2/vm1.state differs from what was read on host1 (9 bytes): SHA-256",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport(cmp.Or(tt.protocol, "file"), tt.params)
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source, destination := ends(&asked)
			source.old, destination.old = tt.old1, tt.old2
			source.machine.files = map[string]string{"/run/host1/vm1.state": "the guest", "/run/host1/vm1.exec": "status 0\n"}
			if tt.change != nil {
				tt.change(source.machine, destination.machine)
			}
			on := transport.(migration.OnHosts)
			err = transport.Send(t.Context(), source, destination)
			if err == nil && !slices.Contains(source.machine.made, "file /run/host1/vm1.state") {
				t.Errorf("recorded: %v, want the source's file", source.machine.made)
			}
			if err == nil {
				err = on.Sent(t.Context(), source)
			}
			if err == nil {
				err = transport.Listen(t.Context(), destination)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || result.StatusOf(err) != tt.status) {
				t.Errorf("got %v: %v\nwant %v: %q", result.StatusOf(err), err, tt.status, tt.err)
			}
			if d := diff.Diff(tt.want, asked); d != "" {
				t.Errorf("asked (- want, + got):\n%s", d)
			}
			if err == nil && destination.machine.files["/run/host2/vm1.state"] != "the guest" {
				t.Errorf("the destination has %q", destination.machine.files)
			}
			if err := errors.Join(on.Close(t.Context(), migration.SourceRole), on.Close(t.Context(), migration.DestinationRole)); err != nil {
				t.Error(err)
			}
			for _, m := range []*machine{source.machine, destination.machine} {
				if len(m.made) > 0 || len(tt.want) > 0 && m.files["/run/"+m.name+"/vm1.state"] != "" {
					t.Errorf("%s: left: %v, %v", m.name, m.files, m.made)
				}
			}
		})
	}
}

// cpr-reboot leaves the RAM where it is, or is refused.
func TestCPRReboot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, memory, err string
		offset            int // of the guest in the file
		asked             []string
	}{
		{
			name: "behind a hole", memory: `[{"size": 100, "share": true}]`, offset: 96,
			asked: []string{"host1 query-memdev", "host1 migrate file:/run/host1/vm1.state,offset=0x60", "host1 migrate-incoming file:/run/host1/vm1.state,offset=0x60"},
		},
		{
			name: "the RAM is sent behind a hole", memory: `[{"size": 10, "share": true}]`, offset: 96, asked: []string{"host1 query-memdev", "host1 migrate file:/run/host1/vm1.state,offset=0x60"},
			err: "cpr-reboot: the file has 9 bytes: QEMU has sent RAM (of 10 bytes) that was to stay where it is",
		},
		{
			name: "success", memory: `[{"size": 100, "share": true}, {"size": 7, "share": false}]`,
			asked: []string{"host1 query-memdev", "host1 migrate file:/run/host1/vm1.state", "host1 migrate-incoming file:/run/host1/vm1.state"},
		},
		{
			name: "the RAM is not shared", memory: `[{"size": 100, "share": false}]`, asked: []string{"host1 query-memdev"},
			err: "vm1@host1: its RAM is not in a shared file, as its guest was started for another transport: let migrate start it anew",
		},
		{
			name: "the RAM is sent", memory: `[{"size": 10, "share": true}]`, asked: []string{"host1 query-memdev", "host1 migrate file:/run/host1/vm1.state"},
			err: "cpr-reboot: the file has 9 bytes: QEMU has sent RAM (of 10 bytes) that was to stay where it is",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport("cpr-reboot", cartesian.Params{"mig_file_offset": strconv.Itoa(tt.offset)})
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source, elsewhere := ends(&asked)
			source.machine.files = map[string]string{"/run/host1/vm1.state": strings.Repeat("\x00", tt.offset) + "the guest"}
			source.answer = func(command string, _ map[string]any, reply any) error {
				if command == "query-memdev" {
					return fill(reply, tt.memory)
				}
				return nil
			}
			check := transport.(migration.Checker).Check
			const refused = "param mig_protocol: cpr-reboot leaves the guest's RAM where it is, but host1 and host2 are two hosts: migrate from a host to itself, or use another transport"
			if err := check(t.Context(), source.machine, elsewhere.machine); err == nil || err.Error() != refused {
				t.Errorf("two hosts: got %v, want %s", err, refused)
			}
			if !transport.Launch(migration.SourceRole).SharedMemory || !transport.Launch(migration.DestinationRole).SharedMemory {
				t.Error("both ends are to be started with the shared RAM")
			}
			err = check(t.Context(), source.machine, source.machine)
			if err == nil {
				err = transport.Send(t.Context(), source, source)
			}
			if err == nil {
				err = transport.(migration.OnHosts).Sent(t.Context(), source)
			}
			if err == nil {
				err = transport.Listen(t.Context(), source)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if d := diff.Diff(tt.asked, asked); d != "" {
				t.Errorf("asked (- want, + got):\n%s", d)
			}
		})
	}
}

// A QEMU that accepts the mode and drops it is found.
func TestCPRRebootModes(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	dropped := qmptest.Script{Dropped: []string{"mode"}}
	for _, tt := range []testCase{
		{
			name: "success", after: func(_ context.Context, m *migration.Migration) error {
				return differs([]result.FeatureUse{{Feature: "cpr-reboot", Used: true, Seen: "the mode of both ends; no RAM is in the file"}}, m.Record().VMs[0].Features)
			},
		},
		{name: "the source drops the mode", source: dropped, fails: true, status: result.Fail, want: []string{"the migration was to have the mode cpr-reboot, but the mode of vm1", "@host1 is normal"}},
		{name: "the destination drops the mode", destination: dropped, fails: true, status: result.Fail, want: []string{"the migration was to have the mode cpr-reboot, but the mode of vm1", "@host1 is normal"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.params, tt.at = cartesian.Params{"mig_protocol": "cpr-reboot"}, "-"
			tt.change = func(p *migration.Plan) { p.Destination = p.Source }
			synctest.Test(t, tt.run)
		})
	}
}

// With QEMU itself: it moves on its host, twice, and then by TCP to the other one, or it
// is a SKIP.
func TestCPRRebootQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_protocol"] = "cpr-reboot"
	bed := prepared(t, params)
	p := plan(bed)
	p.Destination = p.Source
	for n := range 2 {
		before := bed.Current("vm1")
		err := runBoth(t.Context(), start(t, bed, p))
		if result.StatusOf(err) == result.Skip && strings.Contains(err.Error(), "this QEMU has no migration parameter mode") {
			t.Skipf("NOT TESTED: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if after := bed.Current("vm1"); after == nil || after == before || after.Host != p.Source {
			t.Errorf("move %d: the VM is in %v, was in %v", n+1, after, before)
		}
		wantNothingOf(t, bed)
	}
	p = plan(bed)
	p.Params = maps.Clone(p.Params)
	p.Params["mig_protocol"] = "tcp"
	if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
		t.Fatal(err)
	}
}

// With QEMU itself: a guest moves on its host, and its RAM is not sent.
func TestIgnoreSharedQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_ignore_shared"] = "yes"
	bed := prepared(t, params)
	p := plan(bed)
	p.Destination = p.Source
	m := start(t, bed, p)
	if err := runBoth(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if all := m.Record().VMs[0].Features; len(all) != 1 || all[0].Feature != "x-ignore-shared" || !all[0].Used {
		t.Errorf("got %+v, want that x-ignore-shared was used", all)
	}
}

// What the hosts lack for RDMA is why the variant is skipped.
func TestRDMALacks(t *testing.T) {
	t.Parallel()
	transport, err := migration.NewTransport("rdma", nil)
	if err != nil {
		t.Fatal(err)
	}
	check := transport.(migration.Checker).Check
	first, second := &machine{name: "host1"}, &machine{name: "host2"}
	if err := check(t.Context(), first, second); err != nil {
		t.Errorf("nothing is missing: got %v", err)
	}
	first.says = "no RDMA device (/sys/class/infiniband)\n"
	second.says = "no RDMA connection manager (/dev/infiniband/rdma_cm; modprobe rdma_ucm)\nno active port of an RDMA device (/sys/class/infiniband/*/ports/*/state)\n"
	const want = "mig_protocol = rdma: host1 has no RDMA device (/sys/class/infiniband); host2 has no RDMA connection manager (/dev/infiniband/rdma_cm; modprobe rdma_ucm); host2 has no active port of an RDMA device (/sys/class/infiniband/*/ports/*/state)"
	if err := check(t.Context(), first, second); err == nil || err.Error() != want || result.StatusOf(err) != result.Skip {
		t.Errorf("got %v: %v\nwant SKIP: %s", result.StatusOf(err), err, want)
	}
}

// What a host of this machine lacks for RDMA is said before anything is started.
func TestRDMASkips(t *testing.T) {
	t.Parallel()
	if found, _ := filepath.Glob("/sys/class/infiniband/*"); len(found) > 0 {
		t.Skip("NOT TESTED: this machine has RDMA")
	}
	bed, p := processes(t, cartesian.Params{"mig_protocol": "rdma"})
	err := runBoth(t.Context(), start(t, bed, p))
	if err == nil || result.StatusOf(err) != result.Skip || !strings.Contains(err.Error(), "host1 has no RDMA device (/sys/class/infiniband)") {
		t.Errorf("got %v: %v, want SKIP", result.StatusOf(err), err)
	}
	if all := bed.Instances(); len(all) > 0 {
		t.Errorf("started: %v", all)
	}
}

// What fd does with the program's answers.
func TestFD(t *testing.T) {
	t.Parallel()
	const listens = "the command that carries the migration on host2 (fd: /run/host2/vm1.prog migfd listen --address 0.0.0.0 --ports 0-0 --monitor /run/host2/vm1.spare >&2) "
	const connects = "the command that carries the migration on host1 (fd: /run/host1/vm1.prog migfd connect --address 192.0.2.2 --port 4711 --monitor /run/host1/vm1.spare >&2) "
	for _, tt := range []struct {
		name, says1, says2, system string
		err                        string
		status                     result.Status
		refused                    bool // by QEMU
	}{
		{name: "success", says1: "status 0\n", says2: "port 4711\n"},
		{name: "another architecture", system: "Linux aarch64", status: result.Skip, err: "mig_protocol = fd: host2 is Linux aarch64, and mhmig's program that passes descriptors is for Linux x86_64"},
		{name: "it cannot listen", says2: "migfd: listen tcp :4711: bind: address already in use\nstatus 1\n", status: result.Error, err: listens + "ended with status 1: migfd: listen tcp :4711: bind: address already in use"},
		{name: "it cannot run", says2: "sh: 1: /run/host2/vm1.prog: Permission denied\nstatus 126\n", status: result.Error, err: listens + "ended with status 126: sh: 1: /run/host2/vm1.prog: Permission denied"},
		{name: "it says nothing", says2: "", status: result.Error, err: listens + `does not listen: it said "\n"`},
		{name: "QEMU refuses", says1: `getfd {"error": {"class": "GenericError", "desc": "no"}}` + "\nstatus 3\n", says2: "port 4711\n", status: result.Error, err: "getfd: no", refused: true},
		{name: "nobody listens", says1: "migfd: connection refused\nstatus 1\n", says2: "port 4711\n", status: result.Error, err: connects + "ended with status 1: migfd: connection refused"},
		{name: "the listening one was killed", says1: "migfd: connection refused\nstatus 1\n", says2: "port 4711\nKilled\nstatus 137\n", status: result.Error, err: listens + "was ended by signal 9: port 4711; Killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport, err := migration.NewTransport("fd", nil)
			if err != nil {
				t.Fatal(err)
			}
			var asked []string
			source, destination := ends(&asked)
			source.machine.says, destination.machine.says = tt.says1, tt.says2
			source.machine.has, destination.machine.has = []string{"Linux", "x86_64"}, []string{cmp.Or(tt.system, "Linux x86_64")}
			on := transport.(migration.OnHosts)
			err = transport.(migration.Checker).Check(t.Context(), source.machine, destination.machine)
			if err == nil {
				err = transport.Listen(t.Context(), destination)
			}
			if err == nil {
				err = transport.Send(t.Context(), source, destination)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err || result.StatusOf(err) != tt.status) {
				t.Errorf("got %v: %v\nwant %v: %s", result.StatusOf(err), err, tt.status, tt.err)
			}
			if _, refused := errors.AsType[*qmp.Error](err); refused != tt.refused {
				t.Errorf("got %T", err)
			}
			if err := errors.Join(on.Close(t.Context(), migration.SourceRole), on.Close(t.Context(), migration.DestinationRole)); err != nil {
				t.Error(err)
			}
			for _, m := range []*machine{source.machine, destination.machine} {
				if len(m.made) > 0 || len(m.files) > 0 {
					t.Errorf("%s: left: %v, %v", m.name, m.files, m.made)
				}
			}
		})
	}
}

// marked are the processes of this machine that have a mark of the bed.
func marked(t *testing.T, bed *bedtest.Bed) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environment, _ := os.ReadFile(file) // the process may have just ended
		if bytes.Contains(environment, []byte(host.MarkVariable+"="+bed.Name)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// stateFiles are the files of migrations in the folders of the bed's hosts.
func stateFiles(t *testing.T, bed *bedtest.Bed) (found []string) {
	t.Helper()
	for _, h := range bed.Hosts() {
		for _, kind := range []string{"state", "exec", "prog"} {
			files, err := filepath.Glob(filepath.Join(h.RunDir(), "*."+kind))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, files...)
		}
	}
	return found
}

// wantNothingOf checks that a move has left no programs and no files of its transport.
func wantNothingOf(t *testing.T, bed *bedtest.Bed) {
	t.Helper()
	if pids, files := marked(t, bed), stateFiles(t, bed); len(pids) > 0 || len(files) > 0 {
		t.Errorf("left: processes %v, files %v", pids, files)
	}
}

// A guest moves by each transport, and back by TCP, whose return path stays on; then by it
// again.
func moveAround(t *testing.T, params cartesian.Params, protocol string) {
	t.Helper()
	bed := prepared(t, params)
	there, back := bed.Hosts()[1], bed.Hosts()[0]
	for _, move := range []string{protocol, "tcp", protocol} {
		p := plan(bed)
		p.Params = cartesian.Params{}
		maps.Copy(p.Params, bed.Params())
		p.Params["mig_protocol"] = move
		p.Source, p.Destination = back, there
		if err := runBoth(t.Context(), start(t, bed, p)); err != nil {
			t.Fatalf("%s: %v", move, err)
		}
		if current := bed.Current("vm1"); current == nil || current.Host != there {
			t.Errorf("%s: the VM is in %v, want on %s", move, current, there.Name())
		}
		wantNothingOf(t, bed)
		there, back = back, there
	}
}

// Of the two commands that write and read the guest's file, one is of no use, nor is one
// that does not name the file.
func TestFileCommands(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ write, read, want string }{
		{"gzip -c > %s", "", "param migration_exec_cmd_dst"},
		{"", "gzip -dc %s", "param migration_exec_cmd_src"},
		{"gzip -c > /tmp/guest", "gzip -dc %s", "want a command with %s for the guest's file"},
	} {
		_, err := migration.NewTransport("exec", map[string]string{"migration_exec_cmd_src": tt.write, "migration_exec_cmd_dst": tt.read})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q and %q: got %v, want %s", tt.write, tt.read, err, tt.want)
		}
	}
}

// Between scripted processes.
func TestOnHosts(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	for _, protocol := range []string{"exec", "file"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			moveAround(t, bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{}), protocol)
		})
	}
}

// Several VMs that move at the same time by exec have a port of mig_port each, and the next
// move has them again.
func TestExecPorts(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	params := bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{})
	params["vms"], params["mig_protocol"] = "vm1 vm2", "exec"
	bed := prepared(t, params)
	// between those of FreePort and the ephemeral ones
	first, release, err := bed.Hosts()[0].ReservePort(t.Context(), 32000+rand.IntN(700), 32766)
	if err != nil {
		t.Fatal(err)
	}
	release()
	p := plan(bed)
	p.VMs = []string{"vm1", "vm2"}
	p.Params = maps.Clone(bed.Params())
	p.Params["mig_port"] = fmt.Sprintf("%d-%d", first, first+1)
	for move := range 4 {
		m := start(t, bed, p)
		if err := runBoth(t.Context(), m); err != nil {
			t.Fatalf("move %d: %v", move, err)
		}
		if ports := m.Ports(); ports["vm1"]+ports["vm2"] != 2*first+1 {
			t.Errorf("move %d: got %v, want %s", move, ports, p.Params["mig_port"])
		}
		p.Source, p.Destination = p.Destination, p.Source
	}
	wantNothingOf(t, bed)
}

// A destination that stays when it cannot load its file says at once why: that file has no
// other side, which could be the one that was lost.
func TestFileNotLoaded(t *testing.T) {
	t.Parallel()
	needProcesses(t)
	params := bedtest.Scripted(t, qmptest.Script{}, qmptest.Script{})
	params["migration_exec_cmd_src"], params["migration_exec_cmd_dst"] = "cat > '%s'", "head -c 1 '%s'"
	params["mig_protocol"], params["mig_exit_on_error"], params["mig_timeout"] = "exec", "no", "300"
	bed := prepared(t, params)
	began := time.Now()
	err := runBoth(t.Context(), start(t, bed, plan(bed)))
	const want = "migration 1 of vm1: the destination failed first (host2): it could not load the guest: load of migration failed: Input/output error"
	if err == nil || result.StatusOf(err) != result.Fail || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

// With QEMU itself.
func TestOnHostsQEMU(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"exec", "fd", "file"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			moveAround(t, bedtest.Blank(t), protocol)
		})
	}
	t.Run("exec to a file", func(t *testing.T) {
		t.Parallel()
		params := bedtest.Blank(t)
		params["migration_exec_cmd_src"], params["migration_exec_cmd_dst"] = "gzip -c > '%s'", "gzip -c -d '%s'"
		moveAround(t, params, "exec")
	})
}

// TCP over IPv6, with QEMU itself.
func TestIPv6QEMU(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"tcp", "exec", "fd"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_protocol"], params["mig_address"] = protocol, "::1"
			if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
				t.Skip("NOT TESTED: no IPv6 here")
			}
			if protocol == "exec" { // busybox's nc listens on all addresses
				params["mig_exec_program"] = "busybox"
			}
			bed := prepared(t, params)
			if err := runBoth(t.Context(), start(t, bed, plan(bed))); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// atStatus calls do when the move has a status.
func atStatus(ctx context.Context, m *migration.Migration, status migration.State, do func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := m.Wait(ctx, migration.Condition{Status: status})
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return done
}

// programOf waits for the program of an end that QEMU has started: the process with a mark
// of that host.
func programOf(t *testing.T, bed *bedtest.Bed, label string) int {
	t.Helper()
	for range 200 {
		for _, pid := range marked(t, bed) {
			environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if bytes.Contains(environment, []byte(host.MarkVariable+"="+bed.Name+"-"+label+"/")) {
				return pid
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s: no program of the migration", label)
	return 0
}

// A program of exec that is killed while QEMU sends: the failure is that end's.
func TestExecKilledQEMU(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{
		"host1": "the source failed first (host1): the command that carries the migration on host1 (exec: busybox nc",
		"host2": "the destination failed first (host2): the command that carries the migration on host2 (exec: busybox nc",
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_protocol"], params["mig_exec_program"], params["mig_speed"] = "exec", "busybox", "20K"
			bed := prepared(t, params)
			m := start(t, bed, plan(bed))
			done := atStatus(t.Context(), m, qmp.MigrationActive, func() error { return syscall.Kill(programOf(t, bed, label), syscall.SIGKILL) })
			err := runBoth(t.Context(), m)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err == nil || result.StatusOf(err) != result.Fail || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "was ended by signal 9") {
				t.Errorf("got %v, want %s", err, want)
			}
			wantNothingOf(t, bed)
		})
	}
}

// The program of fd that waits for the source is killed: nothing has begun yet, and the
// error names it.
func TestFDKilledQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_protocol"] = "fd"
	bed := prepared(t, params)
	p := plan(bed)
	p.BeforeMigration = func(_ context.Context, s *migration.Side) error {
		if s.IsSource() {
			return nil
		}
		return syscall.Kill(programOf(t, bed, "host2"), syscall.SIGKILL)
	}
	err := runBoth(t.Context(), start(t, bed, p))
	const want = "migration 1, source host1, migrate: the command that carries the migration on host2 (fd: "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "was ended by signal 9") {
		t.Errorf("got %v, want %s", err, want)
	}
	wantNothingOf(t, bed)
}

// A migration in post-copy whose transport cannot connect again is not paused: its guest
// would be lost.
func TestFDPauseQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_protocol"], params["mig_postcopy"], params["mig_speed"] = "fd", "yes", "20K"
	params["parameters"], params["parameters_value"] = "max-postcopy-bandwidth", "16M"
	bed := prepared(t, params)
	m := start(t, bed, plan(bed))
	done := atStatus(t.Context(), m, qmp.MigrationActive, func() error {
		return errors.Join(m.StartPostcopy(t.Context()), m.Wait(t.Context(), migration.Condition{Status: qmp.MigrationPostcopyActive}), refused(m.Pause(t.Context()), "pause: mig_protocol = fd cannot connect again"))
	})
	if err := errors.Join(runBoth(t.Context(), m), <-done); err != nil {
		t.Error(err)
	}
}

// A program that hangs does not keep a migration from being cancelled: without the end of
// the program, QEMU would have the status cancelling for ever.
func TestExecHangsQEMU(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_protocol"], params["mig_exec_program"], params["mig_speed"] = "exec", "busybox", "20K"
	bed := prepared(t, params)
	m := start(t, bed, plan(bed))
	done := atStatus(t.Context(), m, qmp.MigrationActive, func() error {
		err := syscall.Kill(programOf(t, bed, "host1"), syscall.SIGSTOP)
		if err == nil {
			err = m.SetSpeed(t.Context(), 1<<30)
		}
		if err == nil {
			time.Sleep(500 * time.Millisecond) // QEMU fills the pipe, and waits
			err = m.Cancel(t.Context())
		}
		return err
	})
	began := time.Now()
	err := runBoth(t.Context(), m)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	if current := bed.Current("vm1"); m.State() != qmp.MigrationCancelled || current == nil || current.Host != bed.Hosts()[0] {
		t.Errorf("the migration is %s, the VM in %v; want it cancelled, and on the first host", m.State(), current)
	}
	log, err := os.ReadFile(filepath.Join(bed.Results.Dir(), result.LogFile))
	if err != nil || !bytes.Contains(log, []byte("the migration is not cancelled yet: ending the transport's program")) {
		t.Errorf("want in the log that the program was ended, %v", err)
	}
	wantNothingOf(t, bed)
}

// Faults of a migration through a file, with QEMU itself.
func TestFileFaultsQEMU(t *testing.T) {
	t.Parallel()
	full := func(t *testing.T, bed *bedtest.Bed, n int) {
		t.Helper()
		if err := os.Symlink("/dev/full", filepath.Join(bed.Hosts()[n].RunDir(), "vm1.state")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		plant  func(t *testing.T, bed *bedtest.Bed)
		hook   func(ctx context.Context, s *migration.Side) error // of the source, when it has completed
		status result.Status
		want   []string
	}{
		{
			name: "the source's disk is full", plant: func(t *testing.T, bed *bedtest.Bed) { t.Helper(); full(t, bed, 0) }, status: result.Fail,
			want: []string{"the source failed first (host1): the command that carries the migration on host1 (exec: cat >", "ended with status 1: cat: write error: No space left on device"},
		},
		{
			name: "the destination's disk is full", plant: func(t *testing.T, bed *bedtest.Bed) { t.Helper(); full(t, bed, 1) }, status: result.Error,
			want: []string{"migration 1, destination host2, migrate: copy the guest's file from host1 to host2: write ", "No space left on device"},
		},
		{
			name: "the file is cut", status: result.Fail,
			hook: func(ctx context.Context, s *migration.Side) error {
				if err := s.Send(ctx, []string{"vm1"}); err != nil {
					return err
				}
				file := s.Instance("vm1").Spec().State
				info, err := os.Stat(file)
				if err == nil {
					err = os.Truncate(file, info.Size()/2)
				}
				return err
			},
			want: []string{"the destination failed first (host2): ", "load of migration failed"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			params["mig_protocol"] = "file"
			bed := prepared(t, params)
			if tt.plant != nil {
				tt.plant(t, bed)
			}
			p := plan(bed)
			p.MigrateSrc = tt.hook
			m := start(t, bed, p)
			began := time.Now()
			err := runBoth(t.Context(), m)
			for _, words := range tt.want {
				if err == nil || result.StatusOf(err) != tt.status || !strings.Contains(err.Error(), words) {
					t.Errorf("got %v: %v\nwant %v: %s", result.StatusOf(err), err, tt.status, words)
				}
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			wantNothingOf(t, bed)
		})
	}
}
