// SPDX-License-Identifier: Apache-2.0

// Package fake has the hosts, QEMUs and guests that a test of a scenario runs on: they
// are models in this process, without SSH, files or processes, and wait by package time
// alone, so that hours of them pass at once in virtual time. Everything above them is
// the real thing: beds, migrations, barriers and verdicts.
//
//	w, err := fake.New(fake.Options{Hosts: 2, Params: params, Steps: migration.Steps(), Faults: faults})
//	defer w.Close()
//	bed := testbed.New(testbed.Config{Hosts: …w.Remotes()…, Launch: w.Launch, Log: slog.New(w.Handler()), …})
//
// A guest has a boot, a clock, a shell with files and programs (see package shell), the
// workloads of JeOS, and memory that it writes to; a QEMU migrates it by the migration
// parameters, so that it converges or not. A [Fault] changes something at a moment: when
// a step of a migration has ended, when a part of the guest's memory was sent, or after
// a time.
//
// A World's methods may be called from any goroutine.
package fake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/fake/shell"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// Options are those of a World.
type Options struct {
	Hosts  int
	Params cartesian.Params // of the variant
	// Steps are the names of a migration's steps, in their order.
	Steps []string
	// Faults happen once each.
	Faults []*Fault
	// Settings change the guests, by VM. Those without are as they are by default.
	Settings map[string]*Guest
	// Answers are commands that hosts and guests answer as the test says, by the name of the
	// host or VM.
	Answers map[string][]Answer
	// Replies are QMP commands that are answered as the test says, by VM.
	Replies map[string][]*Reply
	// Recorded are the migrations of VMs that are replayed, in their order.
	Recorded map[string][][]qmptest.Moment
	// Files are the contents of files, by host or VM, then by path.
	Files map[string]map[string]string
}

// Guest is what a guest is like.
type Guest struct {
	Boot    time.Duration // until it accepts a login
	Used    int64         // bytes of its memory that are not zero, without workloads
	Dirty   float64       // bytes that it writes per second, without workloads
	Busy    int64         // bytes of memory that it writes to, without workloads
	Link    float64       // bytes per second that the network carries for its migration; 0: any number
	Refuses bool          // it refuses every login
	NoKit   bool          // it has none of JeOS's own commands
}

// DefaultGuest is a small JeOS.
var DefaultGuest = Guest{Boot: time.Second, Used: 24 << 20, Dirty: 64 << 10, Busy: 1 << 20}

// Answer answers a shell command.
type Answer struct {
	// Matches says whether it answers a command.
	Matches func(command string) bool
	// Reply returns its output and exit status.
	Reply func(command string) (output string, status int)
}

// Reply answers a QMP command.
type Reply struct {
	Command string
	Side    string // source or destination: only from that role of a migration; "": from any
	Result  any
	Err     error
	Times   int // how often; 0: always
}

// World is the hosts and VMs of one run.
type World struct {
	Options
	network *qmptest.Memory
	shared  *shell.Files // on all hosts
	hosts   []*Host
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu       sync.Mutex // guards what follows
	guests   map[string]*guest
	qemus    map[string][]*qemu          // by VM, in the order in which they were started
	disks    map[string]*disk            // by image file
	bitmaps  map[string][]map[string]any // dirty bitmaps of a VM and block node
	lastPort int                         // of FreePort
	reserved map[int]bool                // ports, on any host
	sizes    map[string]int64            // of the images that qemu-img has created
	commands []Command
	unknown  map[string]bool // commands that no guest or host has, as "vm1: command"
	reached  []string        // steps of migrations that have begun, each once
	happened map[*Fault]bool
	replied  map[*Reply]int // how often each has answered
	moved    map[string]int // VM -> how many migrations have begun
}

// Command is a QMP command that a QEMU has got.
type Command struct {
	VM, Host string
	Side     string // source or destination
	Name     string
}

// Folders of fake hosts.
const (
	imagesDir = "/fake/images"
	stateDir  = "/fake/state"
)

// Params are the params that the hosts set, as those of a lab: their folders.
func Params() cartesian.Params {
	return cartesian.Params{"images_base_dir": imagesDir, "state_dir": stateDir}
}

// New returns the hosts of a run, host1, host2, …
func New(o Options) (*World, error) {
	w := &World{
		Options: o, network: qmptest.NewMemory(), shared: shell.NewFiles(), guests: map[string]*guest{}, qemus: map[string][]*qemu{}, disks: map[string]*disk{},
		bitmaps: map[string][]map[string]any{}, sizes: map[string]int64{}, unknown: map[string]bool{}, happened: map[*Fault]bool{}, replied: map[*Reply]int{}, moved: map[string]int{}, reserved: map[int]bool{},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background()) // a world's lifetime is that of its bubble
	if err := w.shared.MkdirAll(imagesDir); err != nil {
		return nil, err
	}
	for n := range o.Hosts {
		w.hosts = append(w.hosts, w.newHost(n+1))
	}
	if err := errors.Join(w.installImages(), w.writeFiles()); err != nil {
		return nil, err
	}
	for _, name := range o.Params.Objects("vms") {
		w.guests[name] = newGuest(w, name)
	}
	for _, f := range o.Faults {
		w.arm(f)
	}
	return w, nil
}

// installImages makes the images of installed guests that the params name.
func (w *World) installImages() error {
	for key, value := range w.Options.Params {
		if value == "" || key != "image_name" && !strings.HasPrefix(key, "image_name_") {
			continue
		}
		if yes, _ := w.Options.Params.Bool("create_image", false); yes {
			continue
		}
		object := strings.TrimPrefix(strings.TrimPrefix(key, "image_name"), "_")
		if yes, _ := w.Options.Params.Object(object).Bool("force_create_image", false); yes {
			continue
		}
		file := value
		if !path.IsAbs(file) {
			file = path.Join(imagesDir, file)
		}
		file += "." + w.Options.Params.Object(object)["image_format"]
		if err := errors.Join(w.shared.MkdirAll(path.Dir(file)), w.shared.WriteFile(file, []byte("an installed guest"))); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes the files of the test on hosts; guests get theirs when they boot.
func (w *World) writeFiles() error {
	for _, h := range w.hosts {
		for name, content := range w.Files[h.name] {
			if err := errors.Join(h.machine.Files.MkdirAll(path.Dir(name)), h.machine.Files.WriteFile(name, []byte(content))); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remotes are the hosts.
func (w *World) Remotes() []testbed.Remote {
	var remotes []testbed.Remote
	for _, h := range w.hosts {
		remotes = append(remotes, h)
	}
	return remotes
}

// HostNames are the names of the hosts.
func (w *World) HostNames() []string {
	var names []string
	for _, h := range w.hosts {
		names = append(names, h.name)
	}
	return names
}

func (w *World) host(name string) *Host {
	for _, h := range w.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

func (w *World) guest(vm string) *guest {
	w.mu.Lock()
	g := w.guests[vm]
	w.mu.Unlock()
	if g != nil {
		return g
	}
	g = newGuest(w, vm) // of a VM that a migration's params add
	w.mu.Lock()
	defer w.mu.Unlock()
	w.guests[vm] = g
	return g
}

// Close ends everything that still runs.
func (w *World) Close() {
	w.cancel()
	w.mu.Lock()
	var all []*qemu
	for _, qemus := range w.qemus {
		all = append(all, qemus...)
	}
	guests := make([]*guest, 0, len(w.guests))
	for _, g := range w.guests {
		guests = append(guests, g)
	}
	w.mu.Unlock()
	for _, q := range all {
		q.end()
	}
	for _, g := range guests {
		g.close()
	}
	for _, h := range w.hosts {
		h.machine.Wait()
	}
	w.working.Wait()
}

// Commands are the QMP commands that the QEMUs have got, in their order.
func (w *World) Commands() []Command {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.commands)
}

// Unknown are the commands that a host or guest was given and does not have, each once,
// as "vm1: nmap".
func (w *World) Unknown() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for text := range w.unknown {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func (w *World) noteUnknown(whose, command string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unknown[whose+": "+command] = true
}

// answer answers a command as the test says.
func (w *World) answer(whose, command string) (output string, status int, answered bool) {
	for _, a := range w.Answers[whose] {
		if a.Matches(command) {
			output, status = a.Reply(command)
			return output, status, true
		}
	}
	return "", 0, false
}

// Handler is a log handler that learns from the records how far migrations are. It must
// get all records of the run.
func (w *World) Handler() slog.Handler { return stepHandler{w: w} }

// stepHandler watches for the steps of migrations.
type stepHandler struct {
	w         *World
	migration int // the number of the one that the records are of; 0: of none
}

// Enabled, Handle, WithAttrs and WithGroup make it a [slog.Handler].
func (stepHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle makes faults happen whose step the record begins.
func (h stepHandler) Handle(_ context.Context, r slog.Record) error {
	for a := range r.Attrs {
		if a.Key == "step" {
			h.w.begins(h.migration, a.Value.String())
		}
	}
	return nil
}

// WithAttrs notes the migration.
func (h stepHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "migration" && a.Value.Kind() == slog.KindInt64 {
			h.migration = int(a.Value.Int64())
		}
	}
	return h
}

// WithGroup returns h.
func (h stepHandler) WithGroup(string) slog.Handler { return h }

// begins says that a side of a migration begins a step: earlier ones have ended.
func (w *World) begins(migration int, step string) {
	now := slices.Index(w.Steps, step)
	if now < 0 {
		return
	}
	w.mu.Lock()
	if !slices.Contains(w.reached, step) {
		w.reached = append(w.reached, step)
	}
	w.mu.Unlock()
	for _, f := range w.Faults {
		at, after := slices.Index(w.Steps, f.When.At), slices.Index(w.Steps, f.When.After)
		wanted := f.When.Migration == 0 || f.When.Migration == migration
		if wanted && (at >= 0 && now >= at || after >= 0 && now > after) {
			w.happen(f)
		}
	}
}

// Reached are the steps of migrations that have begun, each once.
func (w *World) Reached() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reached)
}

// lostError is the error of a host that is gone.
func lostError(name string) error {
	return &host.LostError{Host: name, Silent: 15 * time.Second, Err: fmt.Errorf("the host is gone, as the test says")}
}
