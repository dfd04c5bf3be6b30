// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/result"
)

// timeFormat has the sort order of the times.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// folder is the data of a results folder.
type folder struct {
	id, stamp string
	run       result.Run
	outcomes  []result.Outcome
	moves     [][]result.Migration // of each outcome
}

// batchSize is how many folders are written in one transaction: few enough for short
// locks, enough to be quick.
const batchSize = 100

// sync updates the database from the folders. Folders with unchanged run.json and
// journal are not read.
func (h *History) sync(ctx context.Context, notice func(error)) error {
	dirs, err := result.Runs(h.base)
	if err != nil {
		return err
	}
	known, err := stamps(ctx, h.db)
	if err != nil {
		return err
	}
	var changed []string
	for _, dir := range dirs {
		id := filepath.Base(dir)
		if known[id] != stamp(dir) {
			changed = append(changed, dir)
		}
		delete(known, id)
	}
	if err := h.write(ctx, nil, slices.Collect(maps.Keys(known))); err != nil {
		return err
	}
	for part := range slices.Chunk(changed, batchSize) {
		var folders []folder
		var gone []string
		for _, dir := range part {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			f, err := read(dir, notice)
			if err == nil {
				folders = append(folders, f)
				continue
			}
			gone = append(gone, f.id)
			if !errors.Is(err, fs.ErrNotExist) { // otherwise it is being deleted
				notice(fmt.Errorf("results folder skipped: %w", err))
			}
		}
		if err := h.write(ctx, folders, gone); err != nil {
			return err
		}
	}
	return nil
}

func stamps(ctx context.Context, db *sql.DB) (map[string]string, error) {
	known := map[string]string{}
	_, err := collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
		var id, stamp string
		err := rows.Scan(&id, &stamp)
		known[id] = stamp
		return struct{}{}, err
	}, "SELECT id, stamp FROM runs")
	return known, err
}

// stamp changes with the status of a run or of a variant, and when mhmig has a new
// measure.
func stamp(dir string) string {
	text := []string{fmt.Sprint(len(result.Measures))}
	for _, name := range []string{result.RunFile, result.JournalFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			text = append(text, fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size()))
		} else {
			text = append(text, "-")
		}
	}
	return strings.Join(text, " ")
}

// read reads a results folder. Damaged variants cause a notice, and have the data of
// the run's journal.
func read(dir string, notice func(error)) (folder, error) {
	f := folder{id: filepath.Base(dir), stamp: stamp(dir)} // before reading, so that later changes are read again
	var err error
	if f.run, err = result.LoadRun(dir); err != nil {
		return f, err
	}
	for o, err := range result.Outcomes(dir) {
		if err != nil {
			notice(err)
		}
		if o.ID == "" { // of a journal that cannot be read
			continue
		}
		moves, err := result.Migrations(filepath.Join(dir, o.ID))
		if err != nil {
			notice(err)
		}
		for _, m := range moves {
			for i := range m.VMs {
				m.VMs[i].Samples = nil // large and not stored
				if guest := m.VMs[i].Guest; guest != nil {
					guest.Gaps = nil
				}
			}
		}
		f.outcomes, f.moves = append(f.outcomes, o), append(f.moves, moves)
	}
	return f, nil
}

// write replaces the data of folders, and deletes that of gone ones.
func (h *History) write(ctx context.Context, folders []folder, gone []string) error {
	if len(folders)+len(gone) == 0 {
		return nil
	}
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	w := writer{ctx: ctx, tx: tx}
	for _, id := range gone {
		w.forget(id)
	}
	for _, f := range folders {
		w.forget(f.id)
		w.add(f)
	}
	if w.err != nil {
		return w.err
	}
	return tx.Commit()
}

// writer writes in one transaction, until the first error.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	err error
}

func (w *writer) exec(statement string, args ...any) {
	if w.err == nil {
		_, w.err = w.tx.ExecContext(w.ctx, statement, args...)
	}
}

func (w *writer) forget(id string) {
	for _, table := range []string{"migrations WHERE run", "variants WHERE run", "runs WHERE id"} {
		w.exec("DELETE FROM "+table+" = ?", id)
	}
}

func (w *writer) add(f folder) {
	w.exec("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", f.id, f.stamp, f.run.Status.String(), timeText(f.run.Started),
		f.run.Seconds, f.run.Version, f.run.Scenario, f.run.Config, strings.Join(f.run.Hosts, ","))
	for i, o := range f.outcomes {
		w.exec("INSERT INTO variants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			f.id, i+1, o.ID, o.Name, o.Repeat, o.Status.String(), o.Judged().String(), timeText(o.Started), o.Seconds, o.Message)
		for n, m := range f.moves[i] {
			for _, moved := range m.VMs {
				w.addMove(f.id, i+1, n+1, moved)
			}
		}
	}
}

func (w *writer) addMove(run string, variant, migration int, moved result.MovedVM) {
	const insert = "INSERT OR REPLACE INTO migrations VALUES (?, ?, ?, ?, ?, ?, ?)"
	w.exec(insert, run, variant, migration, moved.VM, moved.Status, "", nil)
	for _, m := range result.Measures {
		if value, ok := m.Of(moved); ok {
			w.exec(insert, run, variant, migration, moved.VM, moved.Status, m.Name, value)
		}
	}
}

func timeText(t time.Time) string { return t.UTC().Format(timeFormat) }
