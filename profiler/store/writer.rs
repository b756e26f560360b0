//! Writes a recording while it is recorded: a transaction a second, each complete in itself.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    mem,
    os::unix::fs::{FileTypeExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, Transaction, params};

use super::{
    APPLICATION_ID, FORMAT_VERSION, SCHEMA,
    dictionary::{self, Extent},
    partial_path, window,
};
use crate::model::{Info, Sample, SourceInfo, Stats, Tables};

/// A dictionary segment is sealed at this many bytes, before compression.
const SEGMENT_BYTES: usize = 512 << 10;
/// A window is sealed at this many samples or after this time, whichever comes first.
const WINDOW_SAMPLES: usize = 16 << 10;
const WINDOW_NS: u64 = 60_000_000_000;
/// zstd levels: for what is written anew in a second, and for what stays.
const OPEN_LEVEL: i32 = 1;
const SEALED_LEVEL: i32 = 9;

/// What is known of one source at this moment.
pub struct SourceState<'a> {
    /// How it samples.
    pub info: &'a SourceInfo,
    /// What was counted so far.
    pub stats: &'a Stats,
    /// Samples since the last commit; taken by it.
    pub samples: &'a mut Vec<Sample>,
}

/// A recording being written.
pub struct Writer {
    path: PathBuf,
    db: Connection,
    segment: Segment,
    windows: Vec<Window>,
    /// Locked, so that no other rprof takes the file for what a killed one left.
    _lock: File,
}

/// The dictionary segment that is not full yet.
struct Segment {
    id: i64,
    from: Extent,
    named: Vec<u32>,
}

/// The window of one source that is not full yet.
#[derive(Default)]
struct Window {
    id: Option<i64>,
    samples: Vec<Sample>,
}

impl Writer {
    /// Creates the recording that is to be at `path`. Until it is complete it is at
    /// [`partial_path`], readable all the while; a file that is at `path` stays until then.
    ///
    /// # Errors
    /// The place cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        // A link stays; what it points to is replaced.
        let target = match path.is_symlink() {
            true => fs::canonicalize(path).with_context(cannot)?,
            false => path.to_owned(),
        };
        check_kind(&target).with_context(cannot)?;
        let partial = partial_path(&target);
        remove_leftover(&partial).with_context(cannot)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(cannot)?;
        let begun = Self::begin(target, file);
        if begun.is_err() {
            // It would be taken for a recording that did not finish.
            let _ = fs::remove_file(&partial);
            let _ = fs::remove_file(journal_path(&partial));
        }
        begun.with_context(cannot)
    }

    /// Makes a recording of the new and empty `file` beside `path`.
    fn begin(path: PathBuf, file: File) -> Result<Self> {
        file.try_lock()?;
        give_to_caller(&file)?;
        let db = Connection::open(partial_path(&path))?;
        // A killed process leaves its writes to the kernel, so nothing has to be synced; only a
        // power cut can tear the file, and then the journal of the last second is missing too.
        db.execute_batch(&format!(
            "PRAGMA page_size = 1024;
             PRAGMA journal_mode = DELETE;
             PRAGMA synchronous = OFF;
             PRAGMA cache_size = -512;
             PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {FORMAT_VERSION};
             BEGIN; {SCHEMA} COMMIT;"
        ))?;
        let from = Extent::of(&Tables::default());
        let segment = Segment { id: 1, from, named: Vec::new() };
        Ok(Self { path, db, segment, windows: Vec::new(), _lock: file })
    }

    /// Where the recording is until it is complete.
    pub fn partial(&self) -> PathBuf {
        partial_path(&self.path)
    }

    /// Writes what came since the last commit: everything new in `tables`, the lines of the
    /// frames in `named`, and each source's samples.
    ///
    /// # Errors
    /// The disk is full or fails. What was committed before stays readable.
    pub fn commit(
        &mut self,
        info: &Info,
        sources: &mut [SourceState<'_>],
        tables: &Tables,
        named: &[u32],
    ) -> Result<()> {
        let last = info.complete;
        self.windows.resize_with(sources.len(), Window::default);
        let path = self.path.display();
        let transaction = self.db.transaction().with_context(|| format!("cannot write {path}"))?;
        put(&transaction, "info", info)?;
        self.segment.named.extend_from_slice(named);
        self.segment.write(&transaction, tables, last)?;
        for (source, window) in sources.iter_mut().zip(&mut self.windows) {
            put(&transaction, &format!("source/{}", source.info.name), source.info)?;
            put(&transaction, &format!("stats/{}", source.info.name), source.stats)?;
            window.samples.append(source.samples);
            window.write(&transaction, &source.info.name, last)?;
        }
        transaction.commit().with_context(|| format!("cannot write {path}"))
    }

    /// Gives the recording its name, in place of the file that may be there. To be called after a
    /// last commit of an [`Info`] that says complete.
    ///
    /// # Errors
    /// It cannot be renamed; it then stays at [`partial_path`].
    pub fn finish(self) -> Result<()> {
        let partial = self.partial();
        self.db.close().map_err(|(_, error)| error)?;
        fs::rename(&partial, &self.path).with_context(|| {
            format!("cannot rename {} to {}", partial.display(), self.path.display())
        })
    }

    /// Removes what was written.
    pub fn discard(self) {
        let partial = self.partial();
        drop(self.db);
        // What cannot be removed could not have been used either.
        let _ = fs::remove_file(partial);
    }
}

impl Segment {
    fn write(&mut self, transaction: &Transaction<'_>, tables: &Tables, last: bool) -> Result<()> {
        let raw = dictionary::encode(tables, self.from, &self.named);
        let sealed = last || raw.len() >= SEGMENT_BYTES;
        let blob = raw.finish(if sealed { SEALED_LEVEL } else { OPEN_LEVEL })?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO dictionary (id, data) VALUES (?1, ?2)")?
            .execute(params![self.id, blob])?;
        if sealed {
            *self = Self { id: self.id + 1, from: Extent::of(tables), named: Vec::new() };
        }
        Ok(())
    }
}

impl Window {
    fn write(&mut self, transaction: &Transaction<'_>, source: &str, last: bool) -> Result<()> {
        let times = || self.samples.iter().map(|sample| sample.time);
        let (Some(start), Some(end)) = (times().min(), times().max()) else { return Ok(()) };
        let sealed =
            last || self.samples.len() >= WINDOW_SAMPLES || end.saturating_sub(start) >= WINDOW_NS;
        let level = if sealed { SEALED_LEVEL } else { OPEN_LEVEL };
        let blob = window::encode(&mut self.samples).finish(level)?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO window (id, source, start, end, samples, data)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.id,
                source,
                start as i64,
                end as i64 + 1,
                self.samples.len() as i64,
                blob
            ])?;
        self.id.get_or_insert(transaction.last_insert_rowid());
        if sealed {
            mem::take(self);
        }
        Ok(())
    }
}

fn put(transaction: &Transaction<'_>, key: &str, value: &impl serde::Serialize) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, serde_json::to_string(value)?])?;
    Ok(())
}

fn journal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// Only a file can be replaced by a recording: a rename would put one in place of a device too.
fn check_kind(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    bail!("it is {what}, not a file; name a file with -o")
}

/// Removes what a killed rprof left, unless it is no leftover: another rprof may be at work.
fn remove_leftover(partial: &Path) -> Result<()> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(partial);
    if let Ok(file) = &file
        && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    {
        bail!("another rprof is writing {}; name another file with -o", partial.display());
    }
    for leftover in [partial.to_owned(), journal_path(partial)] {
        if fs::symlink_metadata(&leftover).is_ok() {
            fs::remove_file(&leftover)?;
        }
    }
    Ok(())
}

/// Under sudo, a file belongs to who called sudo.
fn give_to_caller(file: &File) -> Result<()> {
    let id = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if let (true, Some(uid), Some(gid)) =
        (nix::unistd::geteuid().is_root(), id("SUDO_UID"), id("SUDO_GID"))
    {
        fchown(file, Some(uid), Some(gid))?;
    }
    Ok(())
}
