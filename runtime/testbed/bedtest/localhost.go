// SPDX-License-Identifier: Apache-2.0

package bedtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// localHost is a host without SSH: its commands are processes of this machine, its
// files are in folders of the test. It does not wait on the network, so that a bed on
// it can run in virtual time (testing/synctest), which stops while a command runs.
type localHost struct {
	name string
	lost chan struct{} // never closed

	ports sync.Map // the reserved ones
}

var _ testbed.Remote = (*localHost)(nil)

// LocalHosts are so many hosts, called host1, host2, …, and the params that give
// them folders of the test.
func LocalHosts(t testing.TB, count int) ([]testbed.Remote, cartesian.Params) {
	t.Helper()
	params := cartesian.Params{"images_base_dir": tempDir(t)}
	var hosts []testbed.Remote
	for n := range count {
		name := fmt.Sprintf("host%d", n+1)
		params["state_dir_"+name] = tempDir(t)
		hosts = append(hosts, &localHost{name: name, lost: make(chan struct{})})
	}
	return hosts, params
}

func (h *localHost) Name() string          { return h.name }
func (h *localHost) Address() string       { return "127.0.0.1" }
func (h *localHost) Config() host.Config   { return host.Config{Name: h.name, Address: h.Address()} }
func (h *localHost) Lost() <-chan struct{} { return h.lost }
func (h *localHost) Err() error            { return nil }

// Facts are constant, independent of this machine.
func (h *localHost) Facts(context.Context) (host.Facts, error) {
	return host.Facts{
		Kernel: "6.1.0", Hostname: h.name, Arch: "x86_64", OS: "Test", User: "tester", CPUs: 4, MemoryBytes: 8 << 30, BootID: "one machine",
	}, nil
}

// ImageProgram is a qemu-img of local hosts, for the param qemu_img_binary: it makes empty
// files, and says of each file that there is that it has 16 MiB. It takes no process: a test
// has hundreds of beds with disks.
const ImageProgram = "scripted-qemu-img"

func runImageProgram(args []string) (host.Output, error) {
	if args[0] == "info" {
		_, err := os.Stat(args[len(args)-1])
		return host.Output{Stdout: []byte(`{"virtual-size": 16777216}`)}, err
	}
	var errs []error
	for _, arg := range args {
		if filepath.IsAbs(arg) {
			errs = append(errs, os.WriteFile(arg, nil, 0o644))
		}
	}
	return host.Output{}, errors.Join(errs...)
}

// Run runs a command. The fake QEMU's version and machine types are known without a
// process: a test has hundreds of beds that ask for them. This machine's connections are
// none of the scripted QEMUs', which have a network of their own.
func (h *localHost) Run(ctx context.Context, c host.Command) (host.Output, error) {
	switch {
	case strings.HasSuffix(c.Script, fakeQEMU+" -machine help"):
		return host.Output{Stdout: []byte(fakeQEMUOutput)}, nil
	case strings.Contains(c.Script, " /proc/net/"):
		return host.Output{Stdout: []byte("0\n")}, nil
	case len(c.Args) > 0 && c.Args[0] == ImageProgram:
		return runImageProgram(c.Args[1:])
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	args := c.Args
	if c.Script != "" {
		args = []string{"/bin/sh", "-c", c.Script}
	}
	run := exec.CommandContext(ctx, args[0], args[1:]...)
	run.Dir, run.Stdin = c.Dir, c.Stdin
	run.Env = os.Environ()
	for key, value := range c.Env {
		run.Env = append(run.Env, key+"="+value)
	}
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	out := host.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: run.ProcessState.ExitCode()}
	if _, exited := errors.AsType[*exec.ExitError](err); exited && ctx.Err() == nil {
		err = &host.ExitError{Host: h.name, Command: c.String(), Output: out}
	}
	return out, cmp.Or(context.Cause(ctx), err)
}

var errLocal = errors.New("a local host of a test has no connections and leaves no commands running")

// lastPort is the last port that FreePort has returned.
var lastPort atomic.Int32

// FreePort returns a port that nobody has had: scripted QEMUs have a network of their own.
func (h *localHost) FreePort(context.Context) (int, error) {
	return 50000 + int(lastPort.Add(1)), nil
}

// ReservePort looks at no sockets, as FreePort.
func (h *localHost) ReservePort(_ context.Context, first, last int) (port int, release func(), err error) {
	for port := first; port <= last; port++ {
		if _, reserved := h.ports.LoadOrStore(port, true); !reserved {
			return port, func() { h.ports.Delete(port) }, nil
		}
	}
	return 0, nil, fmt.Errorf("%s: find a free port: all of %d to %d are taken", h.name, first, last)
}

func (h *localHost) Start(context.Context, host.Command) (*host.Process, error) {
	return nil, errLocal
}

func (h *localHost) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, errLocal
}

func (h *localHost) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, errLocal
}

func (h *localHost) ReadFile(_ context.Context, name string) ([]byte, error) {
	return os.ReadFile(name)
}

func (h *localHost) WriteFile(_ context.Context, name string, data []byte, perm fs.FileMode) error {
	return os.WriteFile(name, data, perm)
}

func (h *localHost) Stat(_ context.Context, name string) (fs.FileInfo, error) { return os.Stat(name) }

func (h *localHost) Exists(_ context.Context, name string) (bool, error) {
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (h *localHost) MkdirAll(_ context.Context, name string, perm fs.FileMode) error {
	return os.MkdirAll(name, perm)
}

func (h *localHost) RemoveAll(_ context.Context, name string) error { return os.RemoveAll(name) }

func (h *localHost) Upload(_ context.Context, local, remote string) error {
	data, err := os.ReadFile(local)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(remote), 0o755); err != nil {
		return err
	}
	return os.WriteFile(remote, data, 0o644)
}

func (h *localHost) Download(ctx context.Context, remote, local string) error {
	return h.Upload(ctx, remote, local)
}

func (h *localHost) CopyTo(_ context.Context, name string, w io.Writer) error {
	data, err := os.ReadFile(name)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}
