// SPDX-License-Identifier: Apache-2.0

package capability_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/runtime/capability"
	"github.com/mhmig/mhmig/runtime/qemu"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

// behaviour is the variable that makes this test's binary a QEMU, one of behaviours.
const behaviour = "MHMIG_TEST_QEMU"

func TestMain(m *testing.M) {
	if name := os.Getenv(behaviour); name != "" {
		serve(name)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// program writes a script that runs this test's binary as a QEMU, and returns its path.
// The script's process stays: the QEMU is its child. The last line of its file pid is the
// process id of the QEMU.
func program(t *testing.T, name string) (path, pid string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, pid = filepath.Join(dir, "qemu-"+name), filepath.Join(dir, "pid")
	script := fmt.Sprintf("#!/bin/sh\n%s=%s MHMIG_TEST_PID='%s' '%s' \"$@\"\nexit\n", behaviour, name, pid, self)
	// A process that another test starts meanwhile would have the file open for writing, and
	// nobody could execute it.
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, []byte(script), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path, pid
}

// serve is a QEMU on standard input and output.
func serve(name string) {
	f, err := os.OpenFile(os.Getenv("MHMIG_TEST_PID"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(f, os.Getpid())
	f.Close()
	incoming := slices.Contains(os.Args, "-incoming")
	switch name {
	case "dead":
		fmt.Fprintln(os.Stderr, "qemu-dead: unsupported machine type")
		return
	case "mute":
		<-time.After(time.Hour) // no select {}: without other goroutines that is a deadlock to Go
	}
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		panic(err)
	}
	names := []string{"xbzrle", "multifd", "zero-copy-send", "postcopy-ram"}
	if name == "new" {
		names = []string{"multifd", "zero-copy-send", "postcopy-ram", "mapped-ram"}
	}
	if name == "unequal" && incoming {
		names = names[1:]
	}
	commands := 0
	m := qmptest.New(qmptest.Script{Execute: func(command string, arguments json.RawMessage) (any, error, bool) {
		if commands++; commands > 5 {
			switch {
			case name == "frozen":
				<-time.After(time.Hour) // no select {}: without other goroutines that is a deadlock to Go
			case name == "dying" && incoming:
				fmt.Fprintln(os.Stderr, "qemu-dying: Assertion failed")
				os.Exit(1)
			}
		}
		switch command {
		case "query-migrate-capabilities":
			return settings(names), nil, true
		case "query-migrate-parameters":
			return map[string]any{"max-bandwidth": 128 << 20, "multifd-compression": "none", "tls-creds": ""}, nil, true
		case "query-qmp-schema":
			return schema(name), nil, true
		case "migrate-set-capabilities":
			return struct{}{}, refusal(name, incoming, arguments), true
		}
		return nil, nil, false
	}}, incoming)
	go m.Serve(conn)
	<-m.Done()
}

func settings(names []string) []map[string]any {
	var all []map[string]any
	for _, name := range names {
		all = append(all, map[string]any{"capability": name, "state": name == "xbzrle"})
	}
	return all
}

func schema(name string) json.RawMessage {
	values := `"none", "zlib"`
	if name == "new" {
		values += `, "zstd"`
	}
	return json.RawMessage(`[
		{"name": "migrate-set-parameters", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
		{"name": "1", "meta-type": "object", "members": [{"name": "max-bandwidth", "type": "int"}, {"name": "multifd-compression", "type": "2"}, {"name": "tls-creds", "type": "str"}, {"name": "block-bitmap-mapping", "type": "int"}]},
		{"name": "2", "meta-type": "enum", "values": [` + values + `]}]`)
}

// refusal is why capabilities that are on are refused, nil if they are not.
func refusal(name string, incoming bool, arguments json.RawMessage) error {
	var request struct {
		Capabilities []struct {
			Capability string
			State      bool
		}
	}
	if err := json.Unmarshal(arguments, &request); err != nil {
		return err
	}
	on := map[string]bool{}
	for _, c := range request.Capabilities {
		on[c.Capability] = c.State
	}
	refuse := func(text string) error { return &qmptest.CommandError{Class: "GenericError", Desc: text} }
	switch {
	case on["zero-copy-send"] && !on["multifd"]:
		return refuse("Zero copy needs\nmultifd")
	case on["multifd"] && on["postcopy-ram"] && incoming && name == "new":
		return refuse("Postcopy is not yet compatible with multifd")
	case on["multifd"] && on["postcopy-ram"] && name == "reworded":
		return refuse("No")
	}
	return nil
}

func TestProbe(t *testing.T) {
	t.Parallel()
	path, _ := program(t, "new")
	got, err := capability.Probe(t.Context(), qemu.Program{Binary: path})
	if err != nil {
		t.Fatal(err)
	}
	const needs, apart = "Zero copy needs multifd", "Postcopy is not yet compatible with multifd"
	want := &capability.Map{
		Binary: path, Version: "9.2.0", Tried: 6,
		Capabilities: []capability.Capability{
			{Name: "multifd"}, {Name: "zero-copy-send", Alone: capability.Verdict{Source: needs, Destination: needs}}, {Name: "postcopy-ram"}, {Name: "mapped-ram"},
		},
		Pairs: []capability.Pair{
			{First: "multifd", Second: "zero-copy-send"},
			{First: "multifd", Second: "postcopy-ram", Verdict: capability.Verdict{Destination: apart}},
		},
		Parameters: []capability.Parameter{
			{Name: "max-bandwidth", Default: float64(128 << 20)},
			{Name: "multifd-compression", Values: []string{"none", "zlib", "zstd"}, Default: "none"},
			{Name: "tls-creds", Default: ""},
			{Name: "block-bitmap-mapping"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var b strings.Builder
	if err := got.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"QEMU 9.2.0, " + path + ": migration capabilities: 4, of which are accepted alone: 3",
		"zero-copy-send  refused: Zero copy needs multifd",
		"pairs tried: 6; accepted where both parts are alone, but for:",
		"multifd + zero-copy-send  accepted",
		"multifd + postcopy-ram    refused by the destination: Postcopy is not yet compatible with multifd",
		"max-bandwidth         134217728",
		`multifd-compression   "none"  none zlib zstd`,
		"block-bitmap-mapping  -",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("want the line %s in\n%s", line, b.String())
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	probe := func(name string) *capability.Map {
		path, _ := program(t, name)
		m, err := capability.Probe(t.Context(), qemu.Program{Binary: path})
		if err != nil {
			t.Fatal(err)
		}
		m.Binary = name
		return m
	}
	older, newer := probe("old"), probe("new")
	changes := capability.Compare(older, newer)
	var b strings.Builder
	if err := capability.WriteChanges(&b, older, newer, changes); err != nil {
		t.Fatal(err)
	}
	const want = `old: QEMU 9.2.0, old
new: QEMU 9.2.0, new

capability xbzrle
  old: accepted
  new: unknown

capability mapped-ram
  old: unknown
  new: accepted

pair multifd + postcopy-ram
  old: accepted
  new: refused by the destination: Postcopy is not yet compatible with multifd

values multifd-compression
  old: none zlib
  new: none zlib zstd
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if changes := capability.Compare(older, older); len(changes) > 0 {
		t.Errorf("a QEMU and itself: got %+v", changes)
	}
	b.Reset()
	if err := capability.WriteChanges(&b, older, older, nil); err != nil || !strings.HasSuffix(b.String(), "\nno difference\n") {
		t.Errorf("got %v, %s", err, b.String())
	}
	back := capability.Compare(newer, older)
	if len(back) != len(changes) || back[2] != (capability.Change{What: capability.OnePair, Name: "multifd + postcopy-ram", Old: changes[2].New, New: "accepted"}) {
		t.Errorf("the other way: got %+v", back)
	}
}

// TestCompareAlone: a capability that is refused alone, in other words, with another
// default; and one that both do not know.
func TestCompareAlone(t *testing.T) {
	t.Parallel()
	one := func(reason string, on bool) *capability.Map {
		return &capability.Map{Capabilities: []capability.Capability{{"x", on, capability.Verdict{Source: reason}}}}
	}
	for _, test := range []struct {
		older, newer *capability.Map
		want         []capability.Change
	}{
		{one("no", false), one("never", false), nil},
		{one("", false), one("no", true), []capability.Change{{"capability", "x", "accepted", "refused by the source: no"}, {"default", "x", "off", "on"}}},
		{&capability.Map{Parameters: []capability.Parameter{{"p", []string{"a"}, "a"}}}, &capability.Map{}, []capability.Change{{"parameter", "p", `default "a", values a`, ""}}},
		{&capability.Map{Parameters: []capability.Parameter{{"p", nil, 1.0}}}, &capability.Map{Parameters: []capability.Parameter{{"p", nil, 2.0}}}, []capability.Change{{"default", "p", "1", "2"}}},
	} {
		if diff := cmp.Diff(test.want, capability.Compare(test.older, test.newer)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestFaults: whatever the program does, Probe ends, says why, and leaves no process.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		timeout time.Duration
		want    string
		is      error
	}{
		{"dead", time.Minute, "QEMU is gone", qmp.ErrGone},
		{"mute", 500 * time.Millisecond, "too late", nil},
		{"frozen", 2 * time.Second, "too late", nil},
		{"dying", time.Minute, "Assertion failed", qmp.ErrGone},
		{"unequal", time.Minute, "a source has the capabilities xbzrle multifd zero-copy-send postcopy-ram, a destination multifd zero-copy-send postcopy-ram", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path, pid := program(t, test.name)
			ctx, cancel := context.WithTimeoutCause(t.Context(), test.timeout, errors.New("too late"))
			defer cancel()
			m, err := capability.Probe(ctx, qemu.Program{Binary: path})
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %+v, %v; want %s", m, err, test.want)
			}
			pids, err := os.ReadFile(pid)
			if err != nil && test.name != "mute" { // which may be killed before it is up
				t.Error(err)
			}
			for id := range strings.FieldsSeq(string(pids)) {
				if line, err := os.ReadFile("/proc/" + id + "/cmdline"); err == nil && strings.Contains(string(line), "capability") {
					t.Errorf("process %s is left: %s", id, line)
				}
			}
		})
	}
	if _, err := capability.Probe(t.Context(), qemu.Program{Binary: "/no/such/qemu"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: got %v", err)
	}
	if _, err := capability.Probe(t.Context(), qemu.Program{Binary: "true"}); !errors.Is(err, qmp.ErrGone) || !strings.HasPrefix(err.Error(), "true: ") {
		t.Errorf("no QEMU: got %v", err)
	}
}

// TestReal asks the QEMU of this machine.
func TestReal(t *testing.T) {
	if testing.Short() {
		t.Skip("needs QEMU")
	}
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("NOT TESTED: no qemu-system-x86_64 here; on Debian it is in package qemu-system-x86")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := capability.Probe(ctx, qemu.Program{Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	alone := map[string]bool{}
	for _, c := range m.Capabilities {
		alone[c.Name] = c.Alone.Accepted()
	}
	if !alone["multifd"] || !alone["return-path"] || alone["zero-copy-send"] {
		t.Errorf("alone: got %v", alone)
	}
	pair := func(first, second string) *capability.Pair {
		for i, p := range m.Pairs {
			if p.First == first && p.Second == second {
				return &m.Pairs[i]
			}
		}
		return nil
	}
	if p := pair("multifd", "zero-copy-send"); p == nil || !p.Accepted() {
		t.Errorf("zero-copy-send with multifd: got %+v", p)
	}
	if p := pair("multifd", "background-snapshot"); p == nil || p.Accepted() {
		t.Errorf("background-snapshot with multifd: got %+v", p)
	}
	if n := len(m.Capabilities); m.Tried != n*(n-1)/2 || len(m.Parameters) < 20 {
		t.Errorf("got %d pairs of %d, %d parameters", m.Tried, n, len(m.Parameters))
	}
}
