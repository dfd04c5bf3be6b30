-- All of it is in the results folders too: this is a cache. Times are UTC as
-- text, statuses are as users see them. Raise schemaVersion with each change.

CREATE TABLE runs (
    id       TEXT PRIMARY KEY, -- the folder's name, which begins with the time
    stamp    TEXT NOT NULL,    -- of the files that were read: another one, read again
    status   TEXT NOT NULL,
    started  TEXT NOT NULL,
    seconds  REAL NOT NULL,
    version  TEXT NOT NULL,
    scenario TEXT NOT NULL,
    config   TEXT NOT NULL,
    hosts    TEXT NOT NULL     -- with commas between
) WITHOUT ROWID;

CREATE TABLE variants (
    run       TEXT NOT NULL REFERENCES runs,
    number    INTEGER NOT NULL, -- in the order in which they began
    id        TEXT NOT NULL,    -- the folder in the run's
    name      TEXT NOT NULL,
    repeat    INTEGER NOT NULL,
    status    TEXT NOT NULL,
    judged    TEXT NOT NULL,    -- the status without quarantine
    started   TEXT NOT NULL,
    seconds   REAL NOT NULL,
    message   TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

-- One row for each figure of each VM's move.
CREATE TABLE migrations (
    run       TEXT NOT NULL,
    variant   INTEGER NOT NULL, -- variants.number
    migration INTEGER NOT NULL, -- counts from 1 in a variant
    vm        TEXT NOT NULL,
    status    TEXT NOT NULL,
    measure   TEXT NOT NULL,    -- total_time_ms and the like; '' in one row of each move, without a value
    value     REAL,
    PRIMARY KEY (run, variant, migration, vm, measure),
    FOREIGN KEY (run, variant) REFERENCES variants
) WITHOUT ROWID;
