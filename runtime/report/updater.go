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

// updated are the reports that an Updater writes.
var updated = []struct {
	name   string
	format Format
}{{JUnitFile, JUnit}, {JSONFile, JSON}, {HTMLFile, HTML}}

// An Updater keeps junit.xml, results.json and report.html of a results folder up to
// date during the run. Each is replaced atomically.
//
// All methods may be called by any goroutine. The Updater's goroutine writes; Close
// waits for it.
type Updater struct {
	write   func() error
	onError func(error)
	changed chan struct{} // capacity 1: a write is needed
	closing chan struct{}
	close   sync.Once
	done    chan struct{}
}

// restFactor is the pause after a write, as a multiple of its duration: reports take
// at most 5% of one CPU.
const restFactor = 20

// NewUpdater starts keeping the reports of the results folder dir up to date. onError gets
// the first write error, on the Updater's goroutine; the reports then stay as they
// were, and the next write may succeed.
func NewUpdater(dir string, onError func(error)) *Updater {
	return newUpdater(func() error {
		var errs []error
		for _, report := range updated {
			errs = append(errs, writeFile(filepath.Join(dir, report.name), report.format, dir))
		}
		return errors.Join(errs...)
	}, onError)
}

func newUpdater(write func() error, onError func(error)) *Updater {
	k := &Updater{write: write, onError: onError, changed: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	go k.loop()
	return k
}

// Changed requests an update after a variant has begun or ended. It does not block.
func (k *Updater) Changed() {
	select {
	case k.changed <- struct{}{}:
	default: // requested already
	}
}

// Close writes the reports a last time and ends the Updater. Call it after the
// folder's Finish. Later calls only wait.
func (k *Updater) Close() {
	k.close.Do(func() { close(k.closing) })
	<-k.done
}

func (k *Updater) loop() {
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

// writeFile writes a report to path atomically.
func writeFile(path string, format Format, dir string) (err error) {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { _ = file.Cleanup() }() // does nothing after a replacement
	w := bufio.NewWriterSize(file, 64<<10)
	if err := format(w, dir); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}
