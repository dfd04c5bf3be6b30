// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// kept are the reports that a Keeper writes.
var kept = []struct {
	name   string
	format Format
}{{JUnitFile, JUnit}, {JSONFile, JSON}, {HTMLFile, HTML}}

// A Keeper keeps junit.xml, results.json and report.html of a results folder
// up to date while the run goes on. Each is replaced as a whole, so a reader
// sees the old or the new one.
//
// All methods may be called by any goroutine. One goroutine of the Keeper's
// own writes; Close waits for it.
type Keeper struct {
	write   func() error
	onError func(error)
	changed chan struct{} // holds one: that there is something to write
	closing chan struct{}
	close   sync.Once
	done    chan struct{}
}

// restFactor is how many times as long as writing took a Keeper then rests: reports
// cost the run a twentieth of one processor at most.
const restFactor = 20

// Keep begins to keep the reports of the results folder dir. The first error
// in writing them is told to complain, by the Keeper's goroutine; it leaves
// the reports as they were, and the next write may mend it.
func Keep(dir string, onError func(error)) *Keeper {
	return keep(func() error {
		var errs []error
		for _, report := range kept {
			errs = append(errs, writeFile(filepath.Join(dir, report.name), report.format, dir))
		}
		return errors.Join(errs...)
	}, onError)
}

func keep(write func() error, onError func(error)) *Keeper {
	k := &Keeper{write: write, onError: onError, changed: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	go k.loop()
	return k
}

// Changed says that a variant has begun or ended. It does not wait.
func (k *Keeper) Changed() {
	select {
	case k.changed <- struct{}{}:
	default: // one is there already
	}
}

// Close writes the reports a last time and ends the Keeper. It is for after
// the folder's Finish. Later calls only wait.
func (k *Keeper) Close() {
	k.close.Do(func() { close(k.closing) })
	<-k.done
}

func (k *Keeper) loop() {
	defer close(k.done)
	reported := false
	write := func() time.Duration {
		begun := time.Now()
		if err := k.write(); err != nil && !reported {
			reported = true
			k.onError(fmt.Errorf("reports are not up to date: %w", err))
		}
		return time.Since(begun)
	}
	for {
		select {
		case <-k.changed:
		case <-k.closing:
			write()
			return
		}
		pause := time.NewTimer(restFactor * write())
		select {
		case <-pause.C:
		case <-k.closing:
			pause.Stop()
		}
	}
}

// writeFile makes a report and puts it in the place of what path was.
func writeFile(path string, format Format, dir string) (err error) {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }() // nothing is left to do after a replacement
	w := bufio.NewWriterSize(file, 64<<10)
	if err := format(w, dir); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}
