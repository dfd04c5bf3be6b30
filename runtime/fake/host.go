// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/fake/shell"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Host is a fake host.
type Host struct {
	w       *World
	name    string
	number  int
	machine *shell.Machine
	lost    chan struct{}

	mu     sync.Mutex // guards what follows
	gone   bool
	tables map[string]func() // nftables' tables -> what unblocks their port
}

var _ testbed.Remote = (*Host)(nil)

func (w *World) newHost(number int) *Host {
	files := shell.NewFiles()
	files.Mount(imagesDir, w.shared)
	h := &Host{w: w, name: fmt.Sprintf("host%d", number), number: number, machine: shell.New(files), lost: make(chan struct{}), tables: map[string]func(){}}
	h.machine.Unknown = func(command string) { w.noteUnknown(h.name, command) }
	qemu := cmp.Or(api.OnHost(w.Options.Params, h.name)["qemu_binary"], "qemu-system-x86_64")
	h.machine.Programs[path.Base(qemu)] = qemuProgram
	h.machine.Programs[path.Base(cmp.Or(w.Options.Params.Object(h.name)["qemu_img_binary"], "qemu-img"))] = h.qemuImg
	h.machine.Programs["uname"] = uname
	h.machine.Programs["hostname"] = func(c *shell.Call) int { fmt.Fprintln(&c.Stdout, h.name); return 0 }
	return h
}

// machineTypes is what QEMU's -machine help prints.
const machineTypes = `QEMU emulator version 9.2.0
Supported machines are:
pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-9.2)
pc-i440fx-9.2        Standard PC (i440FX + PIIX, 1996) (default)
q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-9.2)
pc-q35-9.2           Standard PC (Q35 + ICH9, 2009)
`

// qemuProgram is QEMU, which says what it is, and nothing more: [World.Launch] starts it.
func qemuProgram(c *shell.Call) int {
	if version, types, _ := strings.Cut(machineTypes, "\n"); strings.Contains(strings.Join(c.Args, " "), "--version") {
		fmt.Fprintln(&c.Stdout, version)
	} else {
		c.Stdout.WriteString(types)
	}
	return 0
}

// qemuImg makes images, which are empty files, and remembers their sizes.
func (h *Host) qemuImg(c *shell.Call) int {
	if len(c.Args) < 3 || c.Args[1] == "info" {
		fmt.Fprintf(&c.Stdout, "{\"virtual-size\": %d}\n", h.w.disk(c.Args[len(c.Args)-1]).size)
		return 0
	}
	file, size := c.Args[len(c.Args)-1], int64(0)
	if n, err := strconv.ParseInt(file, 10, 64); err == nil {
		file, size = c.Args[len(c.Args)-2], n
	}
	h.w.mu.Lock()
	h.w.sizes[file] = size
	h.w.mu.Unlock()
	if err := h.machine.Files.WriteFile(file, []byte("an image")); err != nil {
		return c.Fail("%v", err)
	}
	return 0
}

func uname(c *shell.Call) int {
	switch strings.Join(c.Args[1:], " ") {
	case "-r":
		fmt.Fprintln(&c.Stdout, "6.1.0")
	case "-m":
		fmt.Fprintln(&c.Stdout, "x86_64")
	default:
		fmt.Fprintln(&c.Stdout, "Linux")
	}
	return 0
}

// Name is host1, host2, …
func (h *Host) Name() string { return h.name }

// Address is an address that nobody has.
func (h *Host) Address() string { return fmt.Sprintf("192.0.2.%d", h.number) }

// Config is how it would be reached.
func (h *Host) Config() host.Config {
	return host.Config{Name: h.name, Address: h.Address(), Port: 22, User: "root"}
}

// Lost is closed when the host is gone.
func (h *Host) Lost() <-chan struct{} { return h.lost }

// Err says that it is gone.
func (h *Host) Err() error {
	select {
	case <-h.lost:
		return lostError(h.name)
	default:
		return nil
	}
}

// lose loses the host with its QEMUs.
func (h *Host) lose() {
	h.mu.Lock()
	if h.gone {
		h.mu.Unlock()
		return
	}
	h.gone = true
	close(h.lost)
	h.mu.Unlock()
	h.w.mu.Lock()
	var here []*qemu
	for _, qemus := range h.w.qemus {
		for _, q := range qemus {
			if q.placement.Host == h {
				here = append(here, q)
			}
		}
	}
	h.w.mu.Unlock()
	for _, q := range here {
		q.process.Die()
	}
}

// Facts are those of a machine that is large enough.
func (h *Host) Facts(context.Context) (host.Facts, error) {
	if err := h.Err(); err != nil {
		return host.Facts{}, err
	}
	return host.Facts{
		Kernel: "6.1.0", Hostname: h.name, Arch: "x86_64", OS: "Fake Linux", User: "root", CPUs: 16, MemoryBytes: 64 << 30, BootID: fmt.Sprintf("fake-%d", h.number),
	}, nil
}

// Run runs a command, in the fake shell.
func (h *Host) Run(ctx context.Context, c host.Command) (host.Output, error) {
	if err := h.Err(); err != nil {
		return host.Output{Status: -1}, err
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, &host.TimeoutError{Limit: c.Timeout})
		defer cancel()
	}
	text := c.Script
	if text == "" {
		text = shellescape.QuoteCommand(c.Args)
	}
	var stdin []byte
	if c.Stdin != nil {
		var err error
		if stdin, err = io.ReadAll(c.Stdin); err != nil {
			return host.Output{Status: -1}, err
		}
	}
	out := h.run(ctx, text, stdin, c)
	result := host.Output{Stdout: out.Stdout, Stderr: out.Stderr, Status: out.Status}
	switch {
	case h.Err() != nil:
		return result, h.Err()
	case ctx.Err() != nil:
		return result, &host.KilledError{Host: h.name, Command: c.String(), Output: result, Cause: context.Cause(ctx)}
	case out.Status != 0:
		return result, &host.ExitError{Host: h.name, Command: c.String(), Output: result}
	}
	return result, nil
}

// dropRule is the rule of nftables by which a port is blocked.
var dropRule = regexp.MustCompile(`add rule inet (\S+) in tcp dport (\d+) (.*)`)

// deleteTable is the part of the script that deletes a table of nftables.
var deleteTable = regexp.MustCompile(`grep -qxF 'table inet (\S+)'`)

// statusKVM is how the probe of KVM ends where it works.
const statusKVM = 33

// run runs a script of mhmig itself, a command that the test answers, or another one.
func (h *Host) run(ctx context.Context, text string, stdin []byte, c host.Command) shell.Output {
	if output, status, answered := h.w.answer(h.name, strings.TrimSpace(text)); answered {
		return shell.Output{Stdout: []byte(output), Status: status}
	}
	switch rule, table := dropRule.FindStringSubmatch(text), deleteTable.FindStringSubmatch(text); {
	case strings.Contains(text, "isa-debug-exit"):
		return shell.Output{Status: statusKVM}
	case strings.HasPrefix(text, "group="): // ends processes, of which there are none
		return shell.Output{}
	case rule != nil:
		port, _ := strconv.Atoi(rule[2]) // digits
		unblock := h.w.network.Block(port, strings.Contains(rule[3], "reset"))
		h.mu.Lock()
		defer h.mu.Unlock()
		h.tables[rule[1]] = unblock
		return shell.Output{}
	case table != nil:
		h.mu.Lock()
		defer h.mu.Unlock()
		unblock, there := h.tables[table[1]]
		if !there {
			return shell.Output{}
		}
		unblock()
		delete(h.tables, table[1])
		return shell.Output{Stdout: []byte("table " + table[1] + " of nftables\n")}
	}
	if c.Dir != "" {
		text = "cd " + shellescape.Quote(c.Dir) + " && {\n" + text + "\n}"
	}
	return h.machine.Run(ctx, h.w.ctx, text, stdin, c.Env)
}

// FreePort returns a port that nobody has had: all hosts have one network.
func (h *Host) FreePort(context.Context) (int, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.lastPort++
	return 50000 + h.w.lastPort, nil
}

// ReservePort returns a port that nobody has now.
func (h *Host) ReservePort(_ context.Context, first, last int) (port int, release func(), err error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for port := first; port <= last; port++ {
		if h.w.reserved[port] {
			continue
		}
		h.w.reserved[port] = true
		return port, func() {
			h.w.mu.Lock()
			defer h.w.mu.Unlock()
			delete(h.w.reserved, port)
		}, nil
	}
	return 0, nil, fmt.Errorf("%s: find a free port: all of %d to %d are taken", h.name, first, last)
}

var errNoProcess = errors.New("a fake host has no commands in the background and no connections: host.start cannot be tested by mhmig test")

// Start is not possible.
func (h *Host) Start(context.Context, host.Command) (*host.Process, error) { return nil, errNoProcess }

// Dial is not possible.
func (h *Host) Dial(context.Context, string, string) (net.Conn, error) { return nil, errNoProcess }

// Listen returns a listener that nobody connects to: what would are commands on the host.
func (h *Host) Listen(_ context.Context, network, address string) (net.Listener, error) {
	if err := h.Err(); err != nil {
		return nil, err
	}
	return h.w.network.Listen(network, h.name+address)
}

// ReadFile returns the content of a file of the host.
func (h *Host) ReadFile(_ context.Context, name string) ([]byte, error) {
	if err := h.Err(); err != nil {
		return nil, err
	}
	return h.machine.Files.ReadFile(name)
}

// WriteFile writes a file of the host.
func (h *Host) WriteFile(_ context.Context, name string, data []byte, _ fs.FileMode) error {
	return cmp.Or(h.Err(), h.machine.Files.WriteFile(name, data))
}

// Stat describes a file of the host.
func (h *Host) Stat(_ context.Context, name string) (fs.FileInfo, error) {
	if err := h.Err(); err != nil {
		return nil, err
	}
	return h.machine.Files.Stat(name)
}

// Exists says whether the host has a file.
func (h *Host) Exists(ctx context.Context, name string) (bool, error) {
	_, err := h.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// MkdirAll makes a folder of the host.
func (h *Host) MkdirAll(_ context.Context, name string, _ fs.FileMode) error {
	return cmp.Or(h.Err(), h.machine.Files.MkdirAll(name))
}

// RemoveAll removes a file or folder of the host.
func (h *Host) RemoveAll(_ context.Context, name string) error {
	if err := h.Err(); err != nil {
		return err
	}
	h.machine.Files.RemoveAll(name)
	return nil
}

// Upload copies a file of this machine to the host.
func (h *Host) Upload(ctx context.Context, local, remote string) error {
	data, err := os.ReadFile(local)
	if err != nil {
		return err
	}
	return cmp.Or(h.MkdirAll(ctx, path.Dir(remote), 0o755), h.WriteFile(ctx, remote, data, 0o644))
}

// Download copies a file of the host to this machine.
func (h *Host) Download(ctx context.Context, remote, local string) error {
	data, err := h.ReadFile(ctx, remote)
	if err != nil {
		return err
	}
	return os.WriteFile(local, data, 0o644)
}

// CopyTo writes the content of a file of the host to w.
func (h *Host) CopyTo(ctx context.Context, name string, w io.Writer) error {
	data, err := h.ReadFile(ctx, name)
	if err == nil {
		_, err = w.Write(data)
	}
	return err
}
