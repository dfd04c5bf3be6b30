// SPDX-License-Identifier: Apache-2.0

package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Failure is what went wrong, and where.
type Failure struct {
	Status    Status `json:"status"`
	Message   string `json:"message,omitempty"`
	Host      string `json:"host,omitempty"`
	VM        string `json:"vm,omitempty"`
	Side      string `json:"side,omitempty"`      // source, destination
	Phase     string `json:"phase,omitempty"`     // what was being done
	Position  string `json:"position,omitempty"`  // file:line:col in the scenario
	Backtrace string `json:"backtrace,omitempty"` // of the scenario's task
	Source    string `json:"source,omitempty"`    // the scenario's line that Position is in
	Evidence  string `json:"evidence,omitempty"`  // logs and states of each host's QEMU and guest, as text
}

// Outcome is outcome.json: how one variant ended.
type Outcome struct {
	ID        string    `json:"id"`   // the variant's folder; set by Finish
	Name      string    `json:"name"` // set by Finish
	ShortName string    `json:"shortname,omitempty"`
	Repeat    int       `json:"repeat,omitzero"` // counts from 1 when the run repeats its variants; set by Finish
	Hosts     []string  `json:"hosts,omitempty"` // that it ran on, the master first; set by Finish
	Started   time.Time `json:"started"`         // set by Finish
	Seconds   float64   `json:"seconds"`         // without pauses; set by Finish

	Failure           // the status, and the first thing that went wrong
	Further []Failure `json:"further,omitempty"` // what went wrong afterwards, in order

	Warnings   []string    `json:"warnings,omitempty"`
	Notices    []string    `json:"notices,omitempty"`    // information that is not a problem
	Quarantine *Quarantine `json:"quarantine,omitempty"` // set when it turned a failure into a warning

	Machines []Machine `json:"machines,omitempty"` // that the VMs had

	// Unread are params that neither mhmig nor the scenario has read.
	Unread []UnreadParam `json:"unread_params,omitempty"`
}

// Judged is the status by which the system under test is judged: a failure in quarantine is
// still one.
func (o *Outcome) Judged() Status {
	if o.Quarantine != nil {
		return o.Quarantine.Status
	}
	return o.Status
}

// Machine is what a VM ran on.
type Machine struct {
	VM   string            `json:"vm"`
	Type string            `json:"type"` // such as pc-i440fx-7.2
	QEMU map[string]string `json:"qemu"` // host to version, such as 7.2.22
	// Deprecated are the hosts whose QEMU says that a later one will not have the type.
	Deprecated []string `json:"deprecated,omitempty"`
}

// UnreadParam is a param that was not read: mistyped, or for another program.
type UnreadParam struct {
	Key     string `json:"key"`
	Origin  string `json:"origin,omitempty"`  // FILE:LINE that sets it
	Nearest string `json:"nearest,omitempty"` // a similar known param
}

// Quarantine is why a variant's failure is only a warning until a date.
type Quarantine struct {
	Status  Status    `json:"status"` // the status without quarantine
	Reason  string    `json:"reason"`
	Tracker string    `json:"tracker"` // URL
	Expires time.Time `json:"expires"` // from this day on, it is a failure again
}

// State is a line of the journal: the start or the end of a variant.
type State struct {
	ID        string    `json:"id"` // its folder
	Name      string    `json:"name"`
	ShortName string    `json:"shortname,omitempty"`
	Repeat    int       `json:"repeat,omitzero"`
	Hosts     []string  `json:"hosts,omitempty"`
	Status    Status    `json:"status"` // Running when it begins
	Started   time.Time `json:"started"`
	Seconds   float64   `json:"seconds,omitzero"`
	Message   string    `json:"message,omitempty"`
}

// Entry is the data of a variant when it begins.
type Entry struct {
	Name      string
	ShortName string // "": as Name
	Repeat    int    // counts from 1 when the run repeats its variants, else 0
	Hosts     []string
	Params    map[string]string
	Origins   map[string]string // param to the FILE:LINE that set it; nil: unknown
}

// Variant is the folder of a running variant.
type Variant struct {
	folder   *Folder
	state    State
	root     *os.Root
	log      *sink
	timeline timeline
	names    []string // of hosts, VMs and itself: not masked
	unhidden []Unhidden

	mu         sync.Mutex
	migrations int
	finished   bool
	paused     time.Duration
}

// Start makes the folder of the next variant and writes its params, with
// secrets masked. One name may be started several times. From now on, records
// with the key variant=ID go to the variant's log.
func (f *Folder) Start(e Entry) (*Variant, error) {
	if e.ShortName == "" {
		e.ShortName = e.Name
	}
	f.mu.Lock()
	f.started++
	id := fmt.Sprintf("%03d", f.started)
	f.mu.Unlock()
	if safe := safeName(e.ShortName); safe != "" {
		id += "-" + safe
	}
	v := &Variant{folder: f, state: State{
		ID: id, Name: e.Name, ShortName: e.ShortName, Repeat: e.Repeat, Hosts: e.Hosts, Started: time.Now().UTC(),
	}}
	v.names = slices.Concat(e.Hosts, []string{id}, strings.Fields(e.Params["vms"]))
	v.unhidden = v.Hide(e.Params)
	if err := v.open(e); err != nil {
		err = fmt.Errorf("results of variant %s: %w", e.ShortName, err)
		v.state.Status, v.state.Message = Error, err.Error()
		return nil, errors.Join(err, f.writeState(v.state))
	}
	f.mu.Lock()
	f.variants[id] = v
	first := f.started == 1
	f.mu.Unlock()
	if first {
		f.BecomeLatest()
	}
	return v, f.writeState(v.state)
}

// writeState writes a line of the journal.
func (f *Folder) writeState(s State) error {
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = f.journal.Write(append(line, '\n'))
	return err
}

func (v *Variant) open(e Entry) (err error) {
	if err := v.folder.root.Mkdir(v.state.ID, 0o755); err != nil {
		return err
	}
	if v.root, err = v.folder.root.OpenRoot(v.state.ID); err != nil {
		return err
	}
	if v.log, err = openSink(v.root, LogFile, os.O_APPEND, v.folder.onError); err != nil {
		return errors.Join(err, v.root.Close())
	}
	err = writeJSON(filepath.Join(v.Dir(), ParamsFile), v.folder.secrets.maskParams(e.Params))
	if err == nil && e.Origins != nil {
		err = writeJSON(filepath.Join(v.Dir(), OriginsFile), e.Origins)
	}
	if err != nil {
		v.folder.onError(fmt.Errorf("results are incomplete: %w", err))
	}
	return nil
}

// Unhidden returns where secrets among the variant's params cannot be masked, except
// what was returned before.
func (v *Variant) Unhidden() []Unhidden { return v.unhidden }

// Hide masks the secrets among params that the variant's scenario sets from now on, in
// all output and results of the run. It returns where that is not possible, each once.
func (v *Variant) Hide(params map[string]string) []Unhidden { return v.folder.hide(params, v.names) }

// ID returns the name of the variant's folder, unique in the run: the value of the
// key "variant" of records.
func (v *Variant) ID() string { return v.state.ID }

// Name returns the variant's name.
func (v *Variant) Name() string { return v.state.Name }

// Dir returns the path of the variant's folder.
func (v *Variant) Dir() string { return filepath.Join(v.folder.dir, v.state.ID) }

// VMFile opens a file about one VM on one host (qemu.log, console.log, …) for
// appending: an instance that returns to a host continues its files. The caller
// closes it.
func (v *Variant) VMFile(vm, host, name string) (io.WriteCloser, error) {
	file, err := v.create(VMPath(vm, host, name), os.O_APPEND)
	if err != nil {
		return nil, err
	}
	return v.folder.maskingFile(file, name), nil
}

// VMPath is where in a variant's folder the file of [Variant.VMFile] lies.
func VMPath(vm, host, name string) string {
	return path.Join(VMDir, safeName(vm)+"@"+safeName(host), safeName(name))
}

// Artifact opens a file of the scenario for writing, with secrets masked; it replaces
// an existing one. name is a path below the artifacts folder. The caller closes it;
// Close returns write errors.
func (v *Variant) Artifact(name string) (io.WriteCloser, error) {
	if err := checkArtifactName(name); err != nil {
		return nil, err
	}
	file, err := v.create(path.Join(ArtifactsDir, name), os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	return v.folder.maskingFile(file, name), nil
}

func (v *Variant) create(name string, flags int) (io.WriteCloser, error) {
	if err := v.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	s, err := openSink(v.root, name, flags, v.folder.onError)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return s, nil
}

// Migration writes the record of a migration to the next migrations/N.json (from 1).
func (v *Variant) Migration(m Migration) error {
	if err := v.root.Mkdir(MigrationsDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("results: %w", err)
	}
	v.mu.Lock()
	v.migrations++
	n := v.migrations
	v.mu.Unlock()
	return writeJSON(filepath.Join(v.Dir(), MigrationsDir, strconv.Itoa(n)+".json"), m)
}

// Paused subtracts d from the variant's run time, for a pause on the user's request.
func (v *Variant) Paused(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.paused += d
}

// Took is the variant's run time so far, without pauses.
func (v *Variant) Took() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.state.Started) - v.paused
}

// Finish writes outcome.json, with secrets masked, and the variant's line in the journal, and closes
// its log. Later calls do nothing: the first outcome is kept.
func (v *Variant) Finish(o Outcome) error {
	v.mu.Lock()
	again := v.finished
	v.finished = true
	v.mu.Unlock()
	if again {
		return nil
	}
	v.folder.mu.Lock()
	delete(v.folder.variants, v.state.ID)
	v.folder.mu.Unlock()
	o = v.folder.secrets.maskOutcome(o)
	s := v.state
	s.Status, s.Message, s.Seconds = o.Status, o.Message, v.Took().Seconds()
	o.ID, o.Name, o.ShortName, o.Repeat, o.Hosts, o.Started, o.Seconds = s.ID, s.Name, s.ShortName, s.Repeat, s.Hosts, s.Started, s.Seconds
	return errors.Join(
		writeJSON(filepath.Join(v.Dir(), TimelineFile), v.timeline.end()),
		writeJSON(filepath.Join(v.Dir(), OutcomeFile), o),
		v.folder.writeState(s), v.close())
}

func (v *Variant) close() error { return errors.Join(v.log.Close(), v.root.Close()) }
