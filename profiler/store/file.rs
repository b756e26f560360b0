//! The file of a recording, opened for reading by who may not be allowed to write.
//!
//! A writer that was killed within a transaction leaves a journal behind, and the file is only
//! whole once that was rolled back. Who may write does so; who may not reads a private copy of
//! both, in which it can be.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::TempDir;

use super::{APPLICATION_ID, FORMAT_VERSION, journal_path, partial_path};

/// The largest recording, journal included, that is copied, bytes.
const COPY_MAX: u64 = 1 << 30;
/// How often a copy is begun anew, if what is copied changes meanwhile.
const COPY_TRIES: usize = 5;

/// An open file.
pub struct File {
    path: PathBuf,
    db: Connection,
    /// Device and inode of what is open: another file may take its place.
    id: (u64, u64),
    copy: Option<TempDir>,
}

impl File {
    /// Opens the recording at `path`.
    ///
    /// # Errors
    /// It is none: says what it is. Or it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let id = identity(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (db, copy) =
            connect(path).map_err(|error| check_format(path).err().unwrap_or(error))?;
        let version = match read_version(&db) {
            Some(version) => version,
            None => {
                // Not before: closing a file lets go of the locks that SQLite has on it in other
                // connections of this process (fcntl(2)).
                drop(db);
                check_format(path)?;
                bail!("{} is so damaged that nothing can be read of it", path.display());
            }
        };
        if version > FORMAT_VERSION {
            bail!(
                "{} is a recording of format {version}, which a newer rprof wrote; this one reads \
                 up to {FORMAT_VERSION}",
                path.display()
            );
        }
        if version < FORMAT_VERSION {
            bail!(
                "{} is a recording of format {version}, from before rprof's first release, which \
                 nothing reads any more; record anew",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned(), db, id, copy })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to ask for its content.
    pub fn connection(&self) -> &Connection {
        &self.db
    }

    /// Follows what may have happened to the file since: opens it anew if it was copied, since its
    /// writer may be back.
    ///
    /// # Errors
    /// It cannot be read, or another file has taken its place.
    pub fn refresh(&mut self) -> Result<()> {
        let path = &self.path;
        let id = identity(path).with_context(|| format!("cannot read {}", path.display()))?;
        if id != self.id {
            bail!("another file has taken the place of {}", path.display());
        }
        if self.copy.is_some() {
            (self.db, self.copy) = connect(path)?;
        }
        Ok(())
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The version of the format; none if it is no recording, or its first page is damaged.
fn read_version(db: &Connection) -> Option<u32> {
    let pragma = |name: &str| db.query_row(name, [], |row| row.get::<_, u32>(0)).ok();
    let id = pragma("PRAGMA application_id")?;
    if id == APPLICATION_ID { pragma("PRAGMA user_version") } else { None }
}

/// Opens the file for reading, or a copy of it.
fn connect(path: &Path) -> Result<(Connection, Option<TempDir>)> {
    let cannot = || format!("cannot read {}", path.display());
    let has_journal = || fs::metadata(journal_path(path)).is_ok_and(|journal| journal.len() > 0);
    let writable = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let flags = if has_journal() { writable } else { read_only };
    let db = open(path, flags).or_else(|_| open(path, read_only));
    let error = match db.and_then(|db| probe(&db).map(|()| db)) {
        Ok(db) => return Ok((db, None)),
        Err(error) => error,
    };
    if is_hot(&error) && has_journal() {
        let copy = copy(path).with_context(|| {
            format!("{} was left half written, and cannot be copied", path.display())
        })?;
        let name = path.file_name().unwrap_or_default();
        let db = open(&copy.path().join(name), writable).with_context(cannot)?;
        return Ok((db, Some(copy)));
    }
    // What is damaged shows when it is read, and perhaps not all of it is.
    Ok((open(path, read_only).with_context(cannot)?, None))
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_secs(5))?;
    // Without the first SQLite refuses a file that is shorter than its header says; with it, the
    // pages that are there can be read. The connection writes nothing.
    db.execute_batch(
        "PRAGMA writable_schema = ON; PRAGMA query_only = ON; PRAGMA cache_size = -512;",
    )?;
    Ok(db)
}

/// Reads the first page, before which a journal is rolled back if it has to be.
fn probe(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// True if the journal has to be rolled back by somebody who may write.
fn is_hot(error: &rusqlite::Error) -> bool {
    let codes = [ErrorCode::ReadOnly, ErrorCode::CannotOpen, ErrorCode::PermissionDenied];
    error.sqlite_error_code().is_some_and(|code| codes.contains(&code))
}

/// Copies a recording and its journal into a folder that nobody else can read.
fn copy(path: &Path) -> Result<TempDir> {
    let state = || -> io::Result<_> {
        let of = |path: &Path| fs::metadata(path).map(|file| (file.len(), file.modified().ok()));
        Ok((of(path)?, of(&journal_path(path))?))
    };
    for _ in 0..COPY_TRIES {
        let before = state()?;
        let bytes = before.0.0.saturating_add(before.1.0);
        if bytes > COPY_MAX {
            bail!("it is too large: {bytes} bytes; read it once as its owner");
        }
        let folder = tempfile::Builder::new().prefix("rprof-").tempdir()?;
        let name = path.file_name().context("it has no name")?;
        let to = folder.path().join(name);
        fs::copy(path, &to)?;
        fs::copy(journal_path(path), journal_path(&to))?;
        for copied in [to.clone(), journal_path(&to)] {
            let mut permissions = fs::metadata(&copied)?.permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
            fs::set_permissions(&copied, permissions)?;
        }
        if state()? == before {
            return Ok(folder);
        }
    }
    bail!("it changes all the time")
}

/// Where the recording that was asked for is, and a remark if that is not where it was asked for.
///
/// # Errors
/// There is none.
pub fn find(path: &Path) -> Result<(PathBuf, Option<String>)> {
    if path.exists() {
        return Ok((path.to_owned(), None));
    }
    let partial = partial_path(path);
    if !partial.exists() {
        bail!("there is no recording {}; make one: rprof record", path.display());
    }
    let remark = format!("reading {}: it did not finish", partial.display());
    Ok((partial, Some(remark)))
}

/// Tells what a file is that is not a recording.
fn check_format(path: &Path) -> Result<()> {
    let name = path.display();
    let mut header = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("cannot read {name}"))?;
    file.take(100).read_to_end(&mut header).with_context(|| format!("cannot read {name}"))?;
    let kind = match &header[..] {
        [] => "it is empty",
        header if header.starts_with(b"PERFILE2") => "it is perf's; record anew with rprof record",
        [0x1f, 0x8b, ..] => "it is gzip, perhaps a pprof profile",
        header if header.starts_with(b"\x7fELF") => "it is a program",
        header if header.starts_with(b"<?xml") || header.starts_with(b"<svg") => "it is XML",
        header if !header.starts_with(b"SQLite format 3\0") => "its format is not known",
        header if header.len() < 100 => "only its first bytes are there",
        // Offset of the application id in "The Database Header" of SQLite's fileformat2.
        header if header[68..72] != APPLICATION_ID.to_be_bytes() => {
            "it is a SQLite database of another program"
        }
        _ => return Ok(()),
    };
    bail!("{name} is not a recording of rprof: {kind}")
}
