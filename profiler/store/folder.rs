//! A store: the agent's folder of recordings, one a day.
//!
//! A recording is named by the UTC time of its start, so that names sort by age. One agent at a
//! time writes to a folder, which a lock on the file `lock` in it makes sure of; readers take no
//! lock and write nothing. Retention removes whole recordings, oldest first.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use nix::{
    libc,
    unistd::{Gid, getegid, geteuid},
};

use super::{
    journal_path,
    writer::{self, Writer},
};

/// What the name of a recording in a folder ends in.
const ENDING: &str = "rprof";
/// What the agent that writes to a folder has locked.
const LOCK: &str = "lock";
/// Recordings of one second that a folder may hold: an agent that is started over and over.
const SAME_SECOND: u32 = 1000;

/// How much a folder may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Recordings whose last write is longer ago are removed.
    pub keep: Duration,
    /// Bytes of all recordings together.
    pub max_bytes: u64,
}

/// What [`Folder::expire`] removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expired {
    /// Recordings.
    pub recordings: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The folder of recordings that an agent writes to.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    limits: Limits,
    reader: Option<Gid>,
    /// The recording that was begun last, which is never removed.
    current: Mutex<Option<PathBuf>>,
    /// Locked as long as this is open.
    _lock: File,
}

impl Folder {
    /// Opens the folder at `path`, which is created if it is not there (mode 0750, group
    /// `reader`), and locks it. One that a service manager made for us gets that group too. What a killed agent left half written is rolled back.
    ///
    /// # Errors
    /// The folder cannot be created or written, or another agent writes to it.
    pub fn open(path: &Path, limits: Limits, reader: Option<Gid>) -> Result<Self> {
        let cannot = || format!("cannot use the folder {}", path.display());
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o750).create(path).with_context(cannot)?;
        }
        if let Some(group) = reader
            && is_fresh(path).with_context(cannot)?
        {
            chown(path, None, Some(group.as_raw())).with_context(cannot)?;
        }
        let lock = take_lock(path)?;
        for (recording, _) in recordings(path).with_context(cannot)? {
            // A damaged one is for its readers to tell of.
            if let Err(error) = roll_back(&recording) {
                tracing::warn!("{}: {error:#}", recording.display());
            }
        }
        let current = Mutex::new(None);
        Ok(Self { path: path.to_owned(), limits, reader, current, _lock: lock })
    }

    /// Begins a new recording, named by its start (ns since the Unix epoch); mode 0640, group
    /// `reader`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&self, start_unix_ns: u64) -> Result<Writer> {
        let name = name_of(start_unix_ns)?;
        for again in 0..SAME_SECOND {
            let number = if again == 0 { String::new() } else { format!("_{again}") };
            let path = self.path.join(format!("{name}{number}.{ENDING}"));
            let cannot = || format!("cannot write {}", path.display());
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(0o640);
            let file = match options.open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.with_context(cannot)?,
            };
            if let Some(group) = self.reader {
                fchown(&file, None, Some(group.as_raw())).with_context(cannot)?;
            }
            let writer = Writer::in_place(path.clone(), file).with_context(cannot)?;
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
            return Ok(writer);
        }
        bail!("{} has too many recordings of {name}", self.path.display())
    }

    /// Removes the recordings that are too old, and then the oldest ones until the rest is within
    /// the limit; never the one that was begun last.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not be removed.
    pub fn expire(&mut self) -> Result<Expired> {
        let current = self.current.get_mut().unwrap_or_else(PoisonError::into_inner).clone();
        let mut expired = Expired::default();
        let all = recordings(&self.path)
            .with_context(|| format!("cannot read the folder {}", self.path.display()))?;
        let mut bytes: u64 = all.iter().map(|(_, metadata)| bytes_of(metadata)).sum();
        let now = SystemTime::now();
        for (path, metadata) in all {
            // A time that is yet to come is of a clock that went back.
            let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
            let old = age.is_some_and(|age| age > self.limits.keep);
            if (!old && bytes <= self.limits.max_bytes) || Some(&path) == current.as_ref() {
                continue;
            }
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            let _ = fs::remove_file(journal_path(&path)); // there mostly is none
            bytes -= bytes_of(&metadata);
            expired.recordings += 1;
            expired.bytes += bytes_of(&metadata);
        }
        Ok(expired)
    }

    /// Bytes of disk that all its recordings take.
    pub fn bytes(&self) -> u64 {
        let all = recordings(&self.path).unwrap_or_default();
        all.iter().map(|(_, metadata)| bytes_of(metadata)).sum()
    }

    /// Bytes of disk at which a recording should end and another begin, so that removing the
    /// oldest one can keep the folder within its limit.
    pub fn recording_bytes_max(&self) -> u64 {
        self.limits.max_bytes / 4
    }
}

/// The recordings of a folder, oldest name first, and what the file system says of them.
///
/// # Errors
/// The folder cannot be read.
pub fn recordings(folder: &Path) -> std::io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() != Some(OsStr::new(ENDING)) {
            continue;
        }
        // It may be removed at this moment; and a link is none of ours.
        if let Ok(metadata) = fs::symlink_metadata(&path)
            && metadata.is_file()
        {
            found.push((path, metadata));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// True if a folder is ours, for no group of its own and for nobody else, and holds nothing but what
/// an agent writes: so nobody has said yet who is to read it.
fn is_fresh(folder: &Path) -> std::io::Result<bool> {
    let metadata = fs::metadata(folder)?;
    let ours = (metadata.uid(), metadata.gid()) == (geteuid().as_raw(), getegid().as_raw());
    if !ours || metadata.mode() & 0o007 != 0 {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let endings = [format!(".{ENDING}"), format!(".{ENDING}-journal")];
        if name != LOCK && !endings.iter().any(|ending| name.ends_with(ending)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// st_blocks is in units of 512 bytes (stat(2)).
fn bytes_of(metadata: &fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

/// `2026-11-21T03-12-00Z`: RFC 3339 without the colons, which some file systems do not take.
fn name_of(start_unix_ns: u64) -> Result<String> {
    let start = jiff::Timestamp::from_nanosecond(start_unix_ns.into()).context("no such time")?;
    Ok(start.strftime("%Y-%m-%dT%H-%M-%SZ").to_string())
}

fn take_lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let cannot = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .with_context(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // What cannot be read leaves the number out.
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
            let pid: u32 = pid.trim().parse().unwrap_or_default();
            let who = if pid == 0 { String::new() } else { format!(" (process {pid})") };
            bail!(
                "another rprof agent{who} writes to {}; end it, or name another folder with --store",
                folder.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
    }
    file.set_len(0).with_context(cannot)?;
    writeln!(file, "{}", std::process::id()).with_context(cannot)?;
    Ok(file)
}

/// Rolls back what a killed writer left half written, which only who may write can do.
fn roll_back(recording: &Path) -> Result<()> {
    let journal = fs::metadata(journal_path(recording));
    if journal.is_ok_and(|journal| journal.len() > 0) {
        writer::roll_back(recording)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{Info, Tables};

    const LIMITS: Limits = Limits { keep: Duration::from_secs(86400), max_bytes: 1 << 30 };
    const START: u64 = 1_795_246_854_000_000_000;

    fn names(folder: &Path) -> Vec<String> {
        let all = recordings(folder).unwrap();
        all.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap().into()).collect()
    }

    fn write(folder: &Folder, start: u64) -> PathBuf {
        let mut writer = folder.begin(start).unwrap();
        let path = writer.partial();
        let info = Info { start, complete: true, ..Info::default() };
        writer.commit(&info, &mut [], &Tables::default(), &[]).unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn recordings_are_named_by_their_start() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("a/b"), LIMITS, None).unwrap();
        for start in [START, START + 1, START - 86_400_000_000_000] {
            write(&folder, start);
        }
        let expected = [
            "2026-11-20T07-40-54Z.rprof",
            "2026-11-21T07-40-54Z.rprof",
            "2026-11-21T07-40-54Z_1.rprof",
        ];
        assert_eq!(names(&place.path().join("a/b")), expected);
        assert!(folder.bytes() > 0);
    }

    #[test]
    fn a_folder_that_was_made_for_us_is_for_its_reader_too() {
        if !geteuid().is_root() {
            return; // who may give nothing to a group
        }
        let reader = Gid::from_raw(65534);
        let group_of = |mode: u32, file: Option<&str>| {
            let place = tempfile::tempdir().unwrap();
            fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
            if let Some(file) = file {
                fs::write(place.path().join(file), "").unwrap();
            }
            drop(Folder::open(place.path(), LIMITS, Some(reader)).unwrap());
            fs::metadata(place.path()).unwrap().gid()
        };
        assert_eq!(group_of(0o750, None), 65534);
        assert_eq!(group_of(0o750, Some("2026-11-21T07-40-54Z.rprof")), 65534);
        for (mode, file) in [(0o755, None), (0o750, Some("secret")), (0o750, Some(".rprofrc"))] {
            assert_eq!(group_of(mode, file), 0, "{mode:o} {file:?}");
        }
    }

    #[test]
    fn one_agent_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path(), LIMITS, None).unwrap();
        let error = Folder::open(place.path(), LIMITS, None).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(folder);
        Folder::open(place.path(), LIMITS, None).unwrap();
    }

    #[test]
    fn the_old_and_the_most_go_first() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(place.path(), LIMITS, None).unwrap();
        let paths: Vec<PathBuf> =
            (0..5).map(|day| write(&folder, START + day * 86_400_000_000_000)).collect();
        let old = SystemTime::now() - Duration::from_secs(2 * 86400);
        File::options().write(true).open(&paths[1]).unwrap().set_modified(old).unwrap();
        let one = folder.bytes() / 5;
        assert_eq!(folder.expire().unwrap(), Expired { recordings: 1, bytes: one });
        assert!(!paths[1].exists());
        folder.limits.max_bytes = 2 * one;
        assert_eq!(folder.expire().unwrap().recordings, 2);
        assert_eq!(names(place.path()).len(), 2);
        assert!(paths[3].exists() && paths[4].exists());
        // The one that was begun last stays, whatever the limit.
        folder.limits.max_bytes = 0;
        assert_eq!(folder.expire().unwrap().recordings, 1);
        assert!(paths[4].exists());
        assert_eq!(folder.expire().unwrap(), Expired::default());
    }
}
