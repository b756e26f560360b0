//! How far receivers have come, on disk: a small file for each, in the folder `push` of the store.
//!
//! It is all that the queue has beside the store. It is replaced as a whole after each window, so
//! that a restart goes on where the last run ended; what was sent and not noted is sent again, under
//! the same ids.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Address;

/// Bytes of a file that are read.
const FILE_BYTES: u64 = 64 << 10;
/// Receivers that are told of.
const FILES_MAX: usize = 64;

/// What one receiver was sent.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Progress {
    /// Its address, without the query.
    pub receiver: String,
    /// All before this was sent or given up, ns since the Unix epoch; 0 where nothing was yet.
    pub until: u64,
    /// Windows that were sent.
    pub windows: u64,
    /// Profiles that were taken.
    pub profiles: u64,
    /// Bytes that were sent for them.
    pub bytes: u64,
    /// Profiles that the receiver will not have.
    pub refused: u64,
    /// Attempts that failed and were made again.
    pub failed: u64,
    /// Windows that were given up, since they waited too long.
    pub dropped: u64,
    /// Processes whose labels were left out since there were too many series.
    pub crowded: u64,
}

/// Where the progress of the receivers of a store is kept.
pub fn folder(store: &Path) -> PathBuf {
    store.join("push")
}

impl Progress {
    /// What is known of a receiver; nothing where there is no file, or none that can be read.
    pub fn read(folder: &Path, address: &Address) -> Self {
        let path = path(folder, address);
        match read(&path) {
            Ok(Some(progress)) => progress,
            Ok(None) => Self { receiver: address.to_string(), ..Self::default() },
            Err(error) => {
                tracing::warn!("{}: {error:#}; beginning anew", path.display());
                Self { receiver: address.to_string(), ..Self::default() }
            }
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path, address: &Address) -> Result<()> {
        let path = path(folder, address);
        let cannot = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
        file.write_all(&serde_json::to_vec(self)?).with_context(cannot)?;
        // The viewer may be another user, of the same group.
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o640);
        file.as_file().set_permissions(mode).with_context(cannot)?;
        file.persist(&path).with_context(cannot)?;
        Ok(())
    }
}

/// What all receivers of a store were sent, by address.
pub fn read_all(store: &Path) -> Vec<Progress> {
    let files = fs::read_dir(folder(store)).into_iter().flatten().flatten();
    let files =
        files.map(|file| file.path()).filter(|path| path.extension() == Some("json".as_ref()));
    let mut all: Vec<Progress> =
        files.take(FILES_MAX).filter_map(|path| read(&path).ok().flatten()).collect();
    all.sort_by(|a, b| a.receiver.cmp(&b.receiver));
    all
}

fn read(path: &Path) -> Result<Option<Progress>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(file) => file.take(FILE_BYTES).read_to_end(&mut bytes)?,
    };
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// The name is of the whole address: two tenants of one server are two receivers.
fn path(folder: &Path, address: &Address) -> PathBuf {
    use std::hash::BuildHasher;
    let hash = foldhash::quality::FixedState::with_seed(0).hash_one(address.whole());
    folder.join(format!("{hash:016x}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_is_damaged_begins_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(place.path());
        fs::create_dir(&folder).unwrap();
        let address: Address = "pyroscope+http://h:4040/?tenant=a".parse().unwrap();
        let other: Address = "pyroscope+http://h:4040/?tenant=b".parse().unwrap();
        let mut progress = Progress::read(&folder, &address);
        assert_eq!(progress.receiver, "pyroscope+http://h:4040");
        (progress.until, progress.dropped) = (7, 3);
        progress.write(&folder, &address).unwrap();
        assert_eq!(Progress::read(&folder, &address), progress);
        assert_eq!(Progress::read(&folder, &other).until, 0);
        assert_eq!(read_all(place.path()), [progress]);
        fs::write(path(&folder, &address), "{\"until\": ").unwrap();
        assert_eq!(Progress::read(&folder, &address).until, 0);
        assert_eq!(read_all(place.path()), []);
    }
}
