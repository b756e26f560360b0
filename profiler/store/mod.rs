//! Recordings on disk: one SQLite file each, written while it is recorded.
//!
//! What is small and of interest to a person at the `sqlite3` prompt stands in plain rows: the
//! recording's facts and counters, and the extent of each window. What is large stands in blobs
//! (zstd over columns of variable-length integers): the dictionary of strings, frames and stacks,
//! in segments, and the samples, a window each. The last segment and the last window are written
//! anew each second until they are full, so nothing has to be rewritten at the end and a recorder
//! that is killed leaves a file that opens.

mod codec;
mod dictionary;
mod file;
mod folder;
mod lanes;
mod marks;
mod merge;
mod past;
mod reader;
mod reading;
mod recording;
mod rollup;
mod several;
mod slices;
mod stream;
mod window;
mod writer;

use std::path::{Path, PathBuf};

pub use folder::{Expired, Folder, Limits};
pub use lanes::LaneState;
pub use merge::{Cell, InUse, Series, Span};
pub use past::Grain;
pub use reader::Store;
pub use rollup::{Entry, Point};
pub use writer::{SourceState, Writer};

/// "rprf": the application id in the SQLite header, by which a recording is known.
const APPLICATION_ID: u32 = 0x7270_7266;

/// Version of the format, in SQLite's user_version. Raised when an older rprof could not read it.
pub const FORMAT_VERSION: u32 = 2;

const SCHEMA: &str = "
    -- key: 'info', 'source/NAME', 'stats/NAME', 'lane/NAME' or 'counts/NAME'; value: JSON
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    -- strings, binaries, functions, frames, stacks, processes and threads, in order
    CREATE TABLE dictionary (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    -- samples, and what was freed where a source tells of it; start and end in ns since the
    -- recording's start
    CREATE TABLE window (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        samples INTEGER NOT NULL,
        frees INTEGER NOT NULL,
        sealed INTEGER NOT NULL,
        data BLOB NOT NULL,
        freed BLOB
    );
    -- what windows (numbers, apart by commas) add up to: values by process and time, and sums by
    -- thread and stack; and the same of what was freed
    CREATE TABLE rollup (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        samples INTEGER NOT NULL,
        windows TEXT NOT NULL,
        series BLOB NOT NULL,
        sums BLOB NOT NULL,
        freed_series BLOB,
        freed_sums BLOB
    );
    -- times of sources of kind latency: histograms by step and key; the longest in ns. A file that
    -- was made before there were such has no table of these
    CREATE TABLE histogram (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        count INTEGER NOT NULL,
        max INTEGER NOT NULL,
        sealed INTEGER NOT NULL,
        data BLOB NOT NULL
    );
    -- what they add up to: by minute, and by key
    CREATE TABLE histogram_rollup (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        windows TEXT NOT NULL,
        minutes BLOB NOT NULL,
        keys BLOB NOT NULL
    );
    -- what happened; steps: how many in each ten seconds since the Unix epoch that have some
    CREATE TABLE mark (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        marks INTEGER NOT NULL,
        steps TEXT NOT NULL,
        sealed INTEGER NOT NULL,
        data BLOB NOT NULL
    );
    -- what has happened and is not over yet
    CREATE TABLE lasting (source TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
";

/// Where a recording is written until it is complete.
pub fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Where SQLite keeps what a transaction has replaced until it is complete.
fn journal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}
