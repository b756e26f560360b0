//! Writes a recording while it is recorded: a transaction each commit, complete in itself.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::{FileTypeExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags, Transaction, params};

use super::{
    APPLICATION_ID, FORMAT_VERSION, SCHEMA,
    dictionary::{self, Extent},
    journal_path,
    lanes::{Lane, LaneState},
    partial_path,
    stream::{Pace, Stream},
};
use crate::model::{Free, Info, Sample, SourceInfo, Stats, Tables};

/// What is known of one source at this moment.
pub struct SourceState<'a> {
    /// How it samples.
    pub info: &'a SourceInfo,
    /// What was counted so far.
    pub stats: &'a Stats,
    /// Samples since the last commit; taken by it.
    pub samples: &'a mut Vec<Sample>,
    /// Frees since the last commit, of a held source; taken by it.
    pub frees: &'a mut Vec<Free>,
}

/// A recording being written.
pub struct Writer {
    /// What it is called once it is complete.
    path: PathBuf,
    /// Where it is until then.
    place: PathBuf,
    pace: Pace,
    db: Connection,
    segment: Segment,
    streams: Vec<Stream>,
    lanes: Vec<Lane>,
    /// Locked, so that no other rprof takes the file for what a killed one left.
    _lock: File,
}

/// The dictionary segment that is not full yet.
struct Segment {
    id: i64,
    from: Extent,
    named: Vec<u32>,
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
        // A killed process leaves its writes to the kernel, so nothing has to be synced; only a
        // power cut can tear the file, and then the journal of the last second is missing too.
        let pragmas = "PRAGMA page_size = 1024;
             PRAGMA journal_mode = DELETE;
             PRAGMA synchronous = OFF;";
        give_to_caller(&file)
            .and_then(|()| Self::begin(target, partial, file, pragmas, Pace::RECORD))
            .with_context(cannot)
    }

    /// Makes a recording of the new and empty `file` at `path`, of an agent that goes on for days.
    pub(super) fn in_place(path: PathBuf, file: File) -> Result<Self> {
        // No WAL: its readers have to write to its index in shared memory, and the viewer may not
        // write. A rollback journal needs nothing of a reader but a lock for reading; truncated
        // and not removed, since that saves syncing the folder. Days of history are not to be
        // lost to a power cut, so each commit is synced: every 10 s that costs next to nothing.
        let pragmas = "PRAGMA page_size = 4096;
             PRAGMA journal_mode = TRUNCATE;
             PRAGMA synchronous = FULL;";
        Self::begin(path.clone(), path, file, pragmas, Pace::AGENT)
    }

    fn begin(path: PathBuf, place: PathBuf, file: File, pragmas: &str, pace: Pace) -> Result<Self> {
        let connect = || {
            file.try_lock()?;
            let db = Connection::open(&place)?;
            db.busy_timeout(std::time::Duration::from_secs(5))?;
            db.execute_batch(&format!(
                "{pragmas}
                 PRAGMA cache_size = -512;
                 PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {FORMAT_VERSION};
                 BEGIN; {SCHEMA} COMMIT;"
            ))?;
            anyhow::Ok(db)
        };
        let db = match connect() {
            Ok(db) => db,
            Err(error) => {
                // It would be taken for a recording that did not finish.
                let _ = fs::remove_file(&place);
                let _ = fs::remove_file(journal_path(&place));
                return Err(error);
            }
        };
        let from = Extent::of(&Tables::default());
        let segment = Segment { id: 1, from, named: Vec::new() };
        Ok(Self {
            path,
            place,
            pace,
            db,
            segment,
            streams: Vec::new(),
            lanes: Vec::new(),
            _lock: file,
        })
    }

    /// Where the recording is until it is complete.
    pub fn partial(&self) -> PathBuf {
        self.place.clone()
    }

    /// Bytes that the file has so far.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.place).map_or(0, |metadata| metadata.len())
    }

    /// Takes over what came of lanes since the last commit, to be written by the next.
    pub fn add_lanes(&mut self, info: &Info, lanes: &mut [LaneState<'_>]) {
        self.lanes.resize_with(lanes.len(), Lane::default);
        let now = info.start.saturating_add(info.duration);
        for (state, lane) in lanes.iter_mut().zip(&mut self.lanes) {
            lane.add(state, now, &self.pace);
        }
    }

    /// Writes what came since the last commit: everything new in `tables`, the lines of the
    /// frames in `named`, and each source's samples and frees.
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
        let path = self.path.clone();
        let cannot = || format!("cannot write {}", path.display());
        self.streams.resize_with(sources.len(), Stream::default);
        self.segment.named.extend_from_slice(named);
        for (source, stream) in sources.iter_mut().zip(&mut self.streams) {
            stream.add(source.samples, source.frees, info.start, &self.pace);
        }
        let written = self.write(info, sources, tables);
        match &written {
            Ok(true) => self.segment = self.segment.next(tables),
            Ok(false) => {}
            // What could not be written goes with the next commit.
            Err(_) => {
                self.streams.iter_mut().for_each(Stream::rolled_back);
                self.lanes.iter_mut().for_each(Lane::rolled_back);
            }
        }
        written.with_context(cannot)?;
        self.lanes.iter_mut().for_each(|lane| lane.committed(info, &self.pace));
        self.streams.iter_mut().for_each(|stream| stream.committed(info.start, tables));
        if info.complete {
            self.write_last(info, sources, tables).with_context(cannot)
        } else {
            Ok(())
        }
    }

    /// One transaction; true if the dictionary segment is sealed by it.
    fn write(&mut self, info: &Info, sources: &[SourceState<'_>], tables: &Tables) -> Result<bool> {
        let transaction = self.db.transaction()?;
        put(&transaction, "info", info)?;
        let sealed = self.segment.write(&transaction, tables, info.complete, &self.pace)?;
        for (source, stream) in sources.iter().zip(&mut self.streams) {
            put(&transaction, &format!("source/{}", source.info.name), source.info)?;
            put(&transaction, &format!("stats/{}", source.info.name), source.stats)?;
            stream.write(&transaction, &source.info.name, info, &self.pace)?;
        }
        for lane in &mut self.lanes {
            lane.write(&transaction, info, &self.pace)?;
            let (about, counts) = lane.about();
            put(&transaction, &format!("lane/{}", about.name), about)?;
            put(&transaction, &format!("counts/{}", about.name), counts)?;
        }
        transaction.commit()?;
        Ok(sealed)
    }

    /// The roll-ups that are left at the end.
    fn write_last(
        &mut self,
        info: &Info,
        sources: &[SourceState<'_>],
        tables: &Tables,
    ) -> Result<()> {
        let transaction = self.db.transaction()?;
        for lane in &mut self.lanes {
            lane.write(&transaction, info, &self.pace)?;
        }
        transaction.commit()?;
        for (source, stream) in sources.iter().zip(&mut self.streams) {
            loop {
                let transaction = self.db.transaction()?;
                if !stream.write_last(&transaction, &source.info.name, &self.pace)? {
                    break;
                }
                transaction.commit()?;
                stream.committed(info.start, tables);
            }
        }
        Ok(())
    }

    /// Gives the recording its name, in place of the file that may be there. To be called after a
    /// last commit of an [`Info`] that says complete.
    ///
    /// # Errors
    /// It cannot be renamed; it then stays at [`partial_path`].
    pub fn finish(self) -> Result<()> {
        self.db.close().map_err(|(_, error)| error)?;
        if self.place == self.path {
            let _ = fs::remove_file(journal_path(&self.path)); // emptied, but not removed
            return Ok(());
        }
        fs::rename(&self.place, &self.path).with_context(|| {
            format!("cannot rename {} to {}", self.place.display(), self.path.display())
        })
    }

    /// Removes what was written.
    pub fn discard(self) {
        drop(self.db);
        // What cannot be removed could not have been used either.
        let _ = fs::remove_file(&self.place);
        let _ = fs::remove_file(journal_path(&self.place));
    }
}

impl Segment {
    /// Writes the segment; true if it is full.
    fn write(
        &self,
        transaction: &Transaction<'_>,
        tables: &Tables,
        last: bool,
        pace: &Pace,
    ) -> Result<bool> {
        let raw = dictionary::encode(tables, self.from, &self.named, pace.mangled);
        let sealed = last || raw.len() >= pace.segment_bytes;
        let blob = raw.finish(pace.level(sealed))?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO dictionary (id, data) VALUES (?1, ?2)")?
            .execute(params![self.id, blob])?;
        Ok(sealed)
    }

    /// The one after it, of what `tables` will have beyond what they have now.
    fn next(&self, tables: &Tables) -> Self {
        Self { id: self.id + 1, from: Extent::of(tables), named: Vec::new() }
    }
}

fn put(transaction: &Transaction<'_>, key: &str, value: &impl serde::Serialize) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, serde_json::to_string(value)?])?;
    Ok(())
}

/// Rolls back the journal that a killed writer left beside a recording.
///
/// # Errors
/// It cannot be written, or is damaged.
pub(super) fn roll_back(path: &Path) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    // The first read does it.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(())
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
