//! Tables kept on disk between runs, by the key of the file's contents: building one again costs
//! as much as unwinding thousands of stacks.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::PathBuf,
    time::SystemTime,
};

use super::{Key, Table};

/// The most bytes that are kept; those not used for longest go first.
const BYTES_MAX: u64 = 256 << 20;

/// A folder of tables. All of it is best effort: what cannot be kept is built again.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The folder of this user: `/var/cache/rprof` for root, `rprof` in the cache folder of the XDG
    /// base directories for others. It is ours alone, since what is in it is believed.
    pub fn open() -> Self {
        let root = nix::unistd::geteuid().is_root();
        let base = if root {
            Some(PathBuf::from("/var/cache"))
        } else {
            let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
            env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)
        };
        let folder = base.map(|base| base.join("rprof").join("unwind"));
        let folder = folder.filter(|folder| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            let ours = |path: &PathBuf| {
                fs::symlink_metadata(path).is_ok_and(|metadata| {
                    metadata.is_dir()
                        && metadata.uid() == nix::unistd::geteuid().as_raw()
                        && metadata.mode() & 0o022 == 0
                })
            };
            made.is_ok() && ours(folder)
        });
        Self { folder }
    }

    /// The table of that key, if it is here and whole.
    pub fn get(&self, key: &Key) -> Option<Table> {
        let path = self.path(key)?;
        let bytes = zstd::decode_all(fs::File::open(&path).ok()?).ok()?;
        let table = Table::decode(&bytes).ok()?;
        if let Ok(file) = fs::File::options().append(true).open(&path) {
            // By this the oldest are known.
            let _ = file.set_modified(SystemTime::now());
        }
        Some(table)
    }

    /// Keeps a table.
    pub fn put(&self, key: &Key, table: &Table) {
        let _ = self.try_put(key, table);
    }

    /// Removes the oldest tables beyond the limit.
    pub fn trim(&self) {
        let Some(folder) = &self.folder else { return };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((used, metadata.len(), entry.path()));
        }
        files.sort_by_key(|file| std::cmp::Reverse(file.0));
        let mut sum = 0;
        for (_, size, path) in files {
            sum += size;
            if sum > BYTES_MAX {
                let _ = fs::remove_file(path); // the next run tries again
            }
        }
    }

    fn path(&self, key: &Key) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(key.to_string()))
    }

    fn try_put(&self, key: &Key, table: &Table) -> std::io::Result<()> {
        let (Some(folder), Some(path)) = (&self.folder, self.path(key)) else { return Ok(()) };
        // Whole or not at all, whatever else runs.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&zstd::bulk::compress(&table.encode(), 1)?)?;
        file.persist(path)?;
        Ok(())
    }
}
