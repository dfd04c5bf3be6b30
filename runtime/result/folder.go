// SPDX-License-Identifier: Apache-2.0

package result

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// The names of the files in a results folder.
const (
	RunFile        = "run.json"
	JournalFile    = "variants.jsonl"
	PlanFile       = "plan.jsonl"
	EventsFile     = "events.jsonl"
	LatestLink     = "latest" // beside the folders: a symbolic link to the newest
	ParamsFile     = "params.json"
	OriginsFile    = "origins.json"  // where each param came from
	TimelineFile   = "timeline.json" // Timeline
	LogFile        = "log.txt"
	OutcomeFile    = "outcome.json"
	ArtifactsDir   = "artifacts"
	MigrationsDir  = "migrations"
	VMDir          = "vm"
	timeInFolder   = "20060102T150405Z"
	createAttempts = 100
)

// Run is run.json: the properties of a whole run. It is written atomically when the
// run begins and when it ends; the variants' states are in the journal.
type Run struct {
	ID        string    `json:"id"` // the folder's name; set by Create
	Status    Status    `json:"status"`
	Started   time.Time `json:"started"`             // set by Create when zero
	Finished  time.Time `json:"finished,omitzero"`   // zero while it runs
	Seconds   float64   `json:"seconds,omitzero"`    // how long it took
	PID       int       `json:"pid,omitempty"`       // of the mhmig that runs it; set by Create
	Version   string    `json:"version,omitempty"`   // mhmig's
	Command   []string  `json:"command"`             // as typed; Create masks secrets
	Libraries []string  `json:"libraries,omitempty"` // the user's: name, version and hash of each
	Scenario  string    `json:"scenario,omitempty"`
	Config    string    `json:"config,omitempty"`
	Filters   []string  `json:"filters,omitempty"` // Create masks secrets
	Hosts     []string  `json:"hosts,omitempty"`   // as the user named them, master first
	Seed      uint64    `json:"seed,omitzero"`     // of --shuffle and of random numbers
	Shard     string    `json:"shard,omitempty"`   // as --shard has it: i/n

	Planned int    `json:"planned,omitzero"`  // how many variants were to run, repeats counted; 0: unknown
	NotRun  int    `json:"not_run,omitzero"`  // how many of them did not begin
	Because string `json:"because,omitempty"` // why the run ended before they began
}

// Folder is the results folder of the current run.
type Folder struct {
	dir     string
	root    *os.Root
	onError func(error)
	events  *sink
	journal *sink
	secrets secrets

	mu       sync.Mutex
	run      Run
	started  int                 // variants
	variants map[string]*Variant // those that run
}

// Create makes a new folder in base, named by the time (UTC) and a short
// random part, and writes run.json. base is made when missing. The caller fills in
// the other fields of run. base's link "latest" points at it from the first variant
// on: a run that fails before does not replace the previous one.
//
// onError is called with the first error of each kind, such as a full disk, by any
// goroutine; it must not log through the folder's own Handler.
func Create(base string, run Run, onError func(error)) (*Folder, error) {
	if run.Started.IsZero() {
		run.Started = time.Now()
	}
	run.Started = run.Started.UTC()
	onError = oncePerKind(onError)
	dir, err := makeFolder(base, run.Started)
	if err != nil {
		return nil, fmt.Errorf("results folder: %w; another place: --results DIR", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("results folder: %w", err)
	}
	events, err := openSink(root, EventsFile, os.O_APPEND, onError)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("results folder: %w", err), root.Close())
	}
	journal, err := openSink(root, JournalFile, os.O_APPEND, onError)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("results folder: %w", err), events.Close(), root.Close())
	}
	run.ID, run.PID, run.Status = filepath.Base(dir), os.Getpid(), Running
	run.Command, run.Filters = maskStatements(run.Command), maskStatements(run.Filters)
	f := &Folder{dir: dir, root: root, onError: onError, events: events, journal: journal, run: run, variants: map[string]*Variant{}}
	if err := writeJSON(filepath.Join(dir, RunFile), run); err != nil {
		onError(fmt.Errorf("results are incomplete: %w", err))
	}
	return f, nil
}

// oncePerKind passes only the first error of each kind: a full disk causes one for
// every file of every variant.
func oncePerKind(onError func(error)) func(error) {
	var mu sync.Mutex
	reported := map[string]bool{}
	return func(err error) {
		kind := err.Error()
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			kind = errno.Error()
		}
		mu.Lock()
		again := reported[kind]
		reported[kind] = true
		mu.Unlock()
		if !again {
			onError(err)
		}
	}
}

// Plan writes the names of the planned variants, for a later run of those that this
// run did not start.
func (f *Folder) Plan(names iter.Seq[string]) error {
	file, err := f.root.Create(PlanFile)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	w := bufio.NewWriter(file)
	encode := json.NewEncoder(w)
	var errs []error
	for name := range names {
		if err := encode.Encode(name); err != nil {
			errs = append(errs, err)
			break
		}
	}
	return errors.Join(append(errs, w.Flush(), file.Close())...)
}

// BecomeLatest points the link "latest" next to the folder at it. Starting the first
// variant does so; only a run without variants needs to call it.
func (f *Folder) BecomeLatest() {
	if err := renameio.Symlink(f.ID(), filepath.Join(filepath.Dir(f.dir), LatestLink)); err != nil {
		f.onError(fmt.Errorf("link %s to the new results: %w", LatestLink, err))
	}
}

// makeFolder makes the folder under an unused name.
func makeFolder(base string, started time.Time) (string, error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	var err error
	for range createAttempts {
		var id [3]byte
		_, _ = rand.Read(id[:]) // never fails: crypto/rand says so
		dir := filepath.Join(base, started.Format(timeInFolder)+"-"+hex.EncodeToString(id[:]))
		if err = os.Mkdir(dir, 0o755); !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
	return "", err
}

// Dir returns the folder's path, below the base that was given to Create.
func (f *Folder) Dir() string { return f.dir }

// ID returns the folder's name: the value of the key "run" of its events.
func (f *Folder) ID() string { return f.run.ID }

// NotRun records how many of the planned variants will not begin, and why.
func (f *Folder) NotRun(variants int, because string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.run.NotRun, f.run.Because = variants, because
}

// Finish writes the run's status and closes the folder's files. Later records are
// dropped; variants that are not finished stay "running".
func (f *Folder) Finish(status Status) error {
	f.mu.Lock()
	f.run.Status, f.run.Finished = status, time.Now().UTC()
	f.run.Seconds = f.run.Finished.Sub(f.run.Started).Seconds()
	f.maskRun()
	err := writeJSON(filepath.Join(f.dir, RunFile), f.run)
	variants := f.variants
	f.variants = map[string]*Variant{}
	f.mu.Unlock()

	errs := []error{err, f.events.Close(), f.journal.Close()}
	for _, v := range variants {
		errs = append(errs, v.close())
	}
	return errors.Join(append(errs, f.root.Close())...)
}

// writeJSON writes value to path atomically: a reader sees the old or the new
// content, also when mhmig is killed. It does not fsync, which would slow down runs
// of many variants.
func writeJSON(path string, value any) error {
	if err := writeWhole(path, value); err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok { // it names the temporary file
			err = failed.Err
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeWhole(path string, value any) (err error) {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(append(data, '\n'))
	if err := errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Handler returns the handler that writes the records from Info on to
// events.jsonl, and all records from Debug on to the log.txt of the variant
// that their key "variant" names (Variant.ID).
func (f *Folder) Handler() slog.Handler { return &folderHandler{folder: f} }

type folderHandler struct {
	recorder
	folder *Folder
}

func (h *folderHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelDebug
}

func (h *folderHandler) Handle(_ context.Context, rec slog.Record) error {
	e := h.event(rec)
	if v := h.folder.variant(e.Variant); v != nil {
		_, _ = v.log.Write(e.logLine()) // a sink never fails
		v.timeline.add(&e)
	}
	if e.Level < slog.LevelInfo {
		return nil
	}
	if e.Run == "" {
		e.Run = h.folder.ID()
	}
	line, err := e.jsonLine()
	if err != nil {
		return err
	}
	_, err = h.folder.events.Write(line)
	return err
}

func (h *folderHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &folderHandler{h.withAttrs(attrs), h.folder}
}

func (h *folderHandler) WithGroup(name string) slog.Handler {
	return &folderHandler{h.withGroup(name), h.folder}
}

func (f *Folder) variant(id string) *Variant {
	if id == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.variants[id]
}
