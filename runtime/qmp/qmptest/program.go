// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// environment is the variable that makes a program with Main a scripted QEMU.
const environment = "MHMIG_SCRIPTED_QEMU"

// Program writes a script that runs this test's binary as a scripted QEMU, and returns
// its path, for the param qemu_binary. The test's TestMain must call [Main].
func Program(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "scripted-qemu")
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *'-qmp stdio') # its schema, in which modes of migrations are looked for
	cat >/dev/null
	echo '"query-qmp-schema" "%s" "%s"'
	exit ;;
esac
case $1 in
--version) echo 'QEMU emulator version 9.2.0'; exit ;;
-machine) printf 'Supported machines are:\npc-i440fx-9.2  Standard PC\n'; exit ;;
esac
%s=1 exec '%s' "$@"
`, modeCPRTransfer, modeCPRExec, environment, self)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// Option is the script as an option of the scripted QEMU's command line, for the param
// extra_params. Only StopAt, at which the process gets SIGSTOP, Endless, DropData, InUse,
// Refuse and Drop are supported.
func (s Script) Option() string {
	return fmt.Sprintf("-script stop-at=%s;endless=%t;cut=%t;in-use=%d;refuse=%s;drop=%s", s.StopAt, s.Endless, s.DropData, s.InUse, strings.Join(s.Refuse, "+"), strings.Join(s.Drop, "+"))
}

// Main runs a scripted QEMU if this process was started as one; it does not return
// then. Otherwise it does nothing.
func Main() {
	if os.Getenv(environment) == "" {
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scripted-qemu:", err)
		os.Exit(1) //nolint:forbidigo // this is main of the process that was started as a QEMU
	}
	os.Exit(0) //nolint:forbidigo // as above
}

// run evaluates the parts of QEMU's command line that are used here: the sockets, and
// -incoming.
func run(arguments []string) error {
	script := Script{Stop: stop}
	incoming := false
	var sockets []map[string]string // in order: mhmig waits for the last
	for i, option := range arguments {
		if i+1 == len(arguments) {
			break
		}
		switch value := arguments[i+1]; option {
		case "-incoming":
			incoming = true
		case "-chardev":
			sockets = append(sockets, properties(value, ","))
		case "-script":
			fields := properties(value, ";")
			script.StopAt, script.Endless = fields["stop-at"], fields["endless"] == "true"
			script.DropData = fields["cut"] == "true"
			var err error
			if script.InUse, err = strconv.Atoi(fields["in-use"]); err != nil {
				return err
			}
			script.Refuse, script.Drop = strings.Split(fields["refuse"], "+"), strings.Split(fields["drop"], "+")
		}
	}
	m := New(script, incoming)
	m.exec = func(command []string) error { return syscall.Exec(command[0], command, os.Environ()) }
	listeners := make([]net.Listener, len(sockets)) // all, before the first is served
	for i, socket := range sockets {
		var err error
		if listeners[i], err = net.Listen("unix", socket["path"]); err != nil {
			return err
		}
	}
	for i, l := range listeners {
		serve := m.Serve
		if id := sockets[i]["id"]; id != "qmp" && id != "spare" { // a serial port without output
			serve = func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go serve(conn)
			}
		}()
	}
	<-m.Done()
	if incoming && m.queryMigrate()["status"] == "failed" {
		return errors.New("load of migration failed: Input/output error")
	}
	return nil
}

// stop stops this process with SIGSTOP. The signal may be delivered to another thread:
// this one waits for it.
func stop() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	time.Sleep(time.Second) //nolint:forbidigo // there is nothing to wait for: the process is stopped
}

func properties(text, separator string) map[string]string {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, separator) {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	return fields
}
