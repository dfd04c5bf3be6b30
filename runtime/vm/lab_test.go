// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest is a boot sector. It writes "A" to its serial port, then counts in memory
// for ever and writes the lowest byte of each number.
var guest = []byte{
	0xfa,                   // cli
	0x31, 0xc0, 0x8e, 0xd8, // ds = 0
	0xba, 0xf8, 0x03, // dx = 0x3f8
	0xb0, 0x41, 0xee, // out 'A'
	0x66, 0xc7, 0x06, 0x00, 0x10, 0, 0, 0, 0, // [0x1000] = 0
	// next:
	0x66, 0xb9, 0x80, 0x84, 0x1e, 0x00, // ecx = 2 million
	0x67, 0xe2, 0xfd, // loop here
	0x66, 0xff, 0x06, 0x00, 0x10, // [0x1000]++
	0xa0, 0x00, 0x10, 0xee, // out [0x1000]
	0xeb, 0xec, // to next
}

// bed is a test's hosts: real OpenSSH servers, one process per connection, and real
// QEMU, all on this machine.
type bed struct {
	cache  vm.Cache
	t      *testing.T
	dir    string // short, for unix sockets
	ledger *fakeLedger
}

// host is one of a bed's hosts.
type site struct {
	*host.Host
	bed       *bed
	placement vm.Placement
	artifacts string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if testing.Short() {
		t.Skip("needs OpenSSH and QEMU")
	}
	for program, pkg := range map[string]string{
		"/usr/sbin/sshd": "openssh-server", "ssh-keygen": "openssh-client", "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT TESTED: no %s here; on Debian it is in package %s", program, pkg)
		}
	}
	dir, err := os.MkdirTemp("", "mhmig")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: dir, ledger: &fakeLedger{t: t, entries: map[int]ledger.Entry{}}}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(b.assertClean)
	for _, folder := range []string{"shared", "shared/images", "shared/v1"} {
		b.mkdir(folder)
	}
	image := make([]byte, 1<<20) // SeaBIOS does not boot smaller ones
	copy(image, guest)
	image[510], image[511] = 0x55, 0xaa
	b.write("shared/images/counter.raw", image, 0o644)
	return b
}

// params are the params of a VM that boots the counting guest.
func (b *bed) params(more cartesian.Params) cartesian.Params {
	p := cartesian.Params{
		"name": "counter", "accel": "tcg", "mem": "32", "images": "image1", "image_name": "images/counter", "image_format": "raw",
	}
	maps.Copy(p, more)
	return p
}

// host adds a host. wrapper, if any, runs its sshd, such as "unshare -n" for a host
// with its own network namespace.
func (b *bed) host(name string, wrapper ...string) *site {
	t := b.t
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // required by sshd as root
			t.Fatal(err)
		}
	}
	for _, folder := range []string{name, name + "/run"} {
		b.mkdir(folder)
	}
	key := filepath.Join(b.dir, name, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	b.write(name+"/sshd_config", []byte(strings.Join([]string{
		"HostKey " + key, "AuthorizedKeysFile " + key + ".pub", "StrictModes no", "UsePAM no", "UseDNS no", "PidFile none",
		"PermitRootLogin prohibit-password", "PasswordAuthentication no", "Subsystem sftp internal-sftp",
		"SetEnv HOME=" + filepath.Join(b.dir, name), // the login shell must not run this user's files
		"",
	}, "\n")), 0o600)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	argv := append(slices.Clone(wrapper), "/usr/sbin/sshd", "-i", "-f", filepath.Join(b.dir, name, "sshd_config"), "-E", filepath.Join(b.dir, name, "log"))
	var servers sync.WaitGroup
	servers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			servers.Go(func() { serve(t, argv, conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		servers.Wait()
	})

	h, err := host.Dial(t.Context(), host.Config{
		Name: name, Address: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: me.Username,
		IdentityFiles: []string{key}, HostKeys: host.AnyHostKey,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	s := &site{Host: h, bed: b, artifacts: filepath.Join(b.dir, name)}
	s.placement = vm.Placement{
		Cache: &b.cache,
		Host:  h, RunDir: filepath.Join(b.dir, name, "run"), ImageDir: filepath.Join(b.dir, "shared/v1"), BaseDir: filepath.Join(b.dir, "shared"),
		Ledger: b.ledger, Log: slog.New(slog.DiscardHandler),
		Artifacts: func(file string) (io.WriteCloser, error) {
			return os.OpenFile(filepath.Join(s.artifacts, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		},
	}
	return s
}

func serve(t *testing.T, argv []string, conn *net.TCPConn) {
	socket, err := conn.File()
	conn.Close()
	if err != nil {
		t.Error(err)
		return
	}
	defer socket.Close()
	sshd := exec.Command(argv[0], argv[1:]...)
	sshd.Stdin, sshd.Stdout = socket, socket
	if err := sshd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok { // sshd fails when the client disconnects
			t.Error(err)
		}
	}
}

func (b *bed) mkdir(name string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Join(b.dir, name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) write(name string, data []byte, perm os.FileMode) string {
	b.t.Helper()
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, data, perm); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// assertClean fails the test when processes or files of its VMs remain.
func (b *bed) assertClean() {
	for _, p := range processesOf(b.dir) {
		b.t.Errorf("a process is left: %s", p)
	}
	for _, e := range b.ledger.pending() {
		b.t.Errorf("the ledger still holds %+v", e)
	}
	runs, err := filepath.Glob(filepath.Join(b.dir, "*/run/*"))
	if err != nil {
		b.t.Error(err)
	}
	for _, file := range runs {
		b.t.Errorf("a file is left: %s", file)
	}
}

// processesOf lists QEMUs, and the shells that start them, whose command lines contain
// a text.
func processesOf(dir string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(dir+"/")) && !bytes.Contains(line, []byte("sshd")) {
			found = append(found, filepath.Base(filepath.Dir(file))+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// fakeLedger is a ledger in memory. It checks that nothing exists before it is
// recorded.
type fakeLedger struct {
	t *testing.T

	mu      sync.Mutex // guards all below
	last    int
	entries map[int]ledger.Entry
}

func (l *fakeLedger) Record(e ledger.Entry) (int, error) {
	for _, file := range []string{e.Path, e.PIDFile} {
		if e.Kind == ledger.Process && file == e.Path {
			continue // it is part of the command line
		}
		if _, err := os.Lstat(file); err == nil {
			l.t.Errorf("%s was there before it was recorded", file)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.entries[l.last] = e
	return l.last, nil
}

func (l *fakeLedger) Done(id int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.entries[id]; !ok {
		return fmt.Errorf("no entry %d", id)
	}
	delete(l.entries, id)
	return nil
}

func (l *fakeLedger) pending() []ledger.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []ledger.Entry
	for _, e := range l.entries {
		all = append(all, e)
	}
	return all
}

// config is the config of a VM with these params.
func (s *site) config(name string, p cartesian.Params) vm.Config {
	s.bed.t.Helper()
	c, err := vm.ParseConfig(name, p)
	if err != nil {
		s.bed.t.Fatal(err)
	}
	return c
}

// hosts is this host alone, with a VM with these params.
func (s *site) sites(name string, p cartesian.Params) []vm.HostConfig {
	s.bed.t.Helper()
	return []vm.HostConfig{{Host: s.Host, Label: "host1", Params: p, Config: s.config(name, p)}}
}

// start starts a VM and destroys it at the test's end.
func (s *site) start(name string, p cartesian.Params, incoming bool) *vm.Instance {
	t := s.bed.t
	t.Helper()
	shape, err := s.placement.Cache.Agree(t.Context(), name, s.sites(name, p))
	if err != nil {
		t.Fatal(err)
	}
	i, err := vm.Start(t.Context(), s.placement, s.config(name, p), shape, vm.Launch{Incoming: incoming})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := i.Destroy(ctx); err != nil {
			t.Error(err)
		}
	})
	return i
}

// prepare creates a VM's disks and removes them at the test's end.
func (s *site) prepare(name string, p cartesian.Params) *vm.Images {
	t := s.bed.t
	t.Helper()
	images, err := vm.PrepareImages(t.Context(), s.placement, s.config(name, p))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := images.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	return images
}

// artifact is the content of a file of the results, "" if there is none.
func (s *site) artifact(name string) string {
	data, err := os.ReadFile(filepath.Join(s.artifacts, name))
	if err != nil && !os.IsNotExist(err) {
		s.bed.t.Error(err)
	}
	return string(data)
}

// console attaches to an instance's console.
func console(t *testing.T, i *vm.Instance) net.Conn {
	t.Helper()
	conn, err := i.DialConsole(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// read reads n bytes of a console.
func read(t *testing.T, conn net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if n, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("console: %v after %d bytes (%q)", err, n, b[:n])
	}
	return b
}
