// SPDX-License-Identifier: Apache-2.0

package result

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
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
	Backtrace string `json:"backtrace,omitempty"` // of the scenario's task, for people
	Evidence  string `json:"evidence,omitempty"`  // what each host's QEMU and guest had to say, for people
}

// Outcome is outcome.json: how one variant ended.
type Outcome struct {
	ID        string    `json:"id"`   // the variant's folder; set by Finish
	Name      string    `json:"name"` // set by Finish
	ShortName string    `json:"shortname,omitempty"`
	Started   time.Time `json:"started"` // set by Finish
	Seconds   float64   `json:"seconds"` // set by Finish

	Failure           // the status, and the first thing that went wrong
	Further []Failure `json:"further,omitempty"` // what went wrong afterwards, in order

	Warnings []string `json:"warnings,omitempty"`
}

// Variant is the folder of one variant that is being run.
type Variant struct {
	folder *Folder
	id     string
	index  int // in Run.Variants
	root   *os.Root
	log    *sink

	mu         sync.Mutex
	migrations int
	finished   bool
}

// Start makes the folder of the next variant and writes its params, with
// secrets masked. One name may be started several times. From now on, records
// with the key variant=ID go to the variant's log.
func (f *Folder) Start(name, shortName string, params map[string]string) (*Variant, error) {
	if shortName == "" {
		shortName = name
	}
	f.mu.Lock()
	index := len(f.run.Variants)
	id := fmt.Sprintf("%03d", index+1)
	if safe := safeName(shortName); safe != "" {
		id += "-" + safe
	}
	f.run.Variants = append(f.run.Variants, VariantState{
		ID: id, Name: name, ShortName: shortName, Started: time.Now().UTC(),
	})
	f.mu.Unlock()

	v := &Variant{folder: f, id: id, index: index}
	if err := v.open(params); err != nil {
		err = fmt.Errorf("results of variant %s: %w", shortName, err)
		f.change(func(r *Run) {
			r.Variants[index].Status, r.Variants[index].Message = Error, err.Error()
		})
		return nil, err
	}
	f.mu.Lock()
	f.variants[id] = v
	f.mu.Unlock()
	f.save()
	return v, nil
}

func (v *Variant) open(params map[string]string) (err error) {
	if err := v.folder.root.Mkdir(v.id, 0o755); err != nil {
		return err
	}
	if v.root, err = v.folder.root.OpenRoot(v.id); err != nil {
		return err
	}
	if v.log, err = openSink(v.root, LogFile, os.O_APPEND, v.folder.complain); err != nil {
		return errors.Join(err, v.root.Close())
	}
	if err := writeJSON(filepath.Join(v.Dir(), ParamsFile), maskParams(params)); err != nil {
		v.folder.complain(fmt.Errorf("results are incomplete: %w", err))
	}
	return nil
}

// ID returns the name of the variant's folder, unique in the run: what the
// key "variant" of records must say.
func (v *Variant) ID() string { return v.id }

// Dir returns the path of the variant's folder.
func (v *Variant) Dir() string { return filepath.Join(v.folder.dir, v.id) }

// VMFile opens a file about one VM on one host (qemu.log, console.log, …) for
// appending: an instance that comes back to a host continues its files. The
// caller closes it.
func (v *Variant) VMFile(vm, host, name string) (io.WriteCloser, error) {
	dir := path.Join(VMDir, safeName(vm)+"@"+safeName(host))
	return v.create(path.Join(dir, safeName(name)), os.O_APPEND)
}

// Artifact opens a file that the scenario keeps, replacing what an earlier
// call wrote under that name. name is a path below the artifacts folder; what
// would leave it is an error. The caller closes it; Close tells whether all
// was written.
func (v *Variant) Artifact(name string) (io.WriteCloser, error) {
	if err := checkArtifactName(name); err != nil {
		return nil, err
	}
	return v.create(path.Join(ArtifactsDir, name), os.O_TRUNC)
}

func (v *Variant) create(name string, flags int) (io.WriteCloser, error) {
	if err := v.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	s, err := openSink(v.root, name, flags, v.folder.complain)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return s, nil
}

// Migration writes what is known of one migration, any value that
// encoding/json takes, to the next migrations/N.json (from 1).
func (v *Variant) Migration(data any) error {
	if err := v.root.Mkdir(MigrationsDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("results: %w", err)
	}
	v.mu.Lock()
	v.migrations++
	n := v.migrations
	v.mu.Unlock()
	return writeJSON(filepath.Join(v.Dir(), MigrationsDir, strconv.Itoa(n)+".json"), data)
}

// Finish writes outcome.json and the variant's line in run.json, and closes
// its log. Later calls do nothing: the first outcome stays.
func (v *Variant) Finish(o Outcome) error {
	v.mu.Lock()
	again := v.finished
	v.finished = true
	v.mu.Unlock()
	if again {
		return nil
	}
	ended := time.Now()
	v.folder.change(func(r *Run) {
		s := &r.Variants[v.index]
		s.Status, s.Message, s.Seconds = o.Status, o.Message, ended.Sub(s.Started).Seconds()
		o.ID, o.Name, o.ShortName, o.Started, o.Seconds = s.ID, s.Name, s.ShortName, s.Started, s.Seconds
	})
	v.folder.mu.Lock()
	delete(v.folder.variants, v.id)
	v.folder.mu.Unlock()
	return errors.Join(writeJSON(filepath.Join(v.Dir(), OutcomeFile), o), v.close())
}

func (v *Variant) close() error { return errors.Join(v.log.Close(), v.root.Close()) }
