// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// databaseFile is the database's name, next to the results folders.
const databaseFile = "history.db"

// schemaVersion is incremented with each change of schema.sql: databases of older
// versions are then rebuilt.
const schemaVersion = 2

//go:embed schema.sql
var schema string

const inMemory = ":memory:"

// errDamaged is the result of a failed check of a database.
var errDamaged = errors.New("damaged")

// errNewer is the error of a database of a newer mhmig.
var errNewer = errors.New("it was made by a newer mhmig")

// openDatabase opens the database of base, or one in memory, and creates its tables.
// A damaged database, or one of an older schema, is replaced with a notice.
func openDatabase(ctx context.Context, base, file string, notice func(error)) (*sql.DB, error) {
	db, err := connect(ctx, file, notice)
	if !isBroken(err) {
		return db, err
	}
	if err := replace(ctx, base, file, notice); err != nil {
		return nil, err
	}
	return connect(ctx, file, notice)
}

// replace removes a damaged database. It is locked, so that a new one of another
// process is not removed.
func replace(ctx context.Context, base, file string, notice func(error)) (err error) {
	lock := flock.New(base, flock.SetFlag(os.O_RDONLY))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	damage := check(ctx, file, notice)
	if !isBroken(damage) {
		return damage
	}
	notice(fmt.Errorf("%s: %w; it is rebuilt from the results folders", file, damage))
	return remove(file)
}

// check checks a database's integrity.
func check(ctx context.Context, file string, notice func(error)) error {
	db, err := connect(ctx, file, notice)
	if err != nil {
		return err
	}
	var verdict string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return errors.Join(err, db.Close())
}

// remove removes a database and what SQLite left beside it.
func remove(file string) error {
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(file + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// connect opens a database and creates or updates its tables.
func connect(ctx context.Context, file string, notice func(error)) (_ *sql.DB, err error) {
	name := file
	if file != inMemory {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		// A rollback journal with a busy timeout, and not a write-ahead log,
		// as that does not work where the folder is shared between machines.
		settings := url.Values{"_pragma": {"busy_timeout(10000)"}, "_txlock": {"immediate"}}
		name = (&url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}).String()
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // in memory, each connection would be a separate database
	if err := migrate(ctx, db, file, notice); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// migrate creates a database's tables, if it does not have those of this schema. It
// does so in one transaction.
func migrate(ctx context.Context, db *sql.DB, file string, notice func(error)) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil || version == schemaVersion {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	// Another process may have done so in the meantime.
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return errNewer
	case version != 0: // 0 is a new database
		notice(fmt.Errorf("%s: of an older mhmig; it is rebuilt from the results folders", file))
	}
	if err := dropTables(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

func dropTables(ctx context.Context, tx *sql.Tx) error {
	names, err := collect(ctx, tx, func(rows *sql.Rows) (name string, err error) {
		return name, rows.Scan(&name)
	}, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("DROP TABLE %q", name)); err != nil {
			return err
		}
	}
	return nil
}

// isBroken reports whether err means that a file is not a database, or damaged.
func isBroken(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return errors.Is(err, errDamaged)
	}
	primary := e.Code() & 0xff
	return primary == sqlite3.SQLITE_NOTADB || primary == sqlite3.SQLITE_CORRUPT
}

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect returns the results of scan for each row of a query.
func collect[T any](ctx context.Context, q queryer, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err reports it
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
