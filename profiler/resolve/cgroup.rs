//! Paths of cgroups by their ids, which are the inodes of their folders in the cgroup2 mount.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::target;

/// The most cgroups that are remembered.
const CGROUPS_MAX: usize = 16 << 10;
/// How deep below the mount is looked; the kernel's own default limit on nesting is far above what
/// is in use.
const DEPTH_MAX: usize = 16;

/// Cgroups seen so far.
#[derive(Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    paths: HashMap<u64, String>,
}

impl Cgroups {
    /// The path of cgroup `id` below the cgroup2 mount; empty if it is not known.
    pub fn path(&mut self, id: u64) -> &str {
        if !self.paths.contains_key(&id) {
            // Those that are still there are found again.
            if self.paths.len() >= CGROUPS_MAX {
                self.paths.clear();
            }
            self.scan();
            // Also what was not found is remembered: a cgroup that is gone stays gone.
            self.paths.entry(id).or_default();
        }
        self.paths.get(&id).map_or("", |path| path)
    }

    fn scan(&mut self) {
        let mount = match &self.mount {
            Some(mount) => mount.clone(),
            None => target::cgroup2_mount().unwrap_or_default(),
        };
        self.mount = Some(mount.clone());
        if !mount.as_os_str().is_empty() {
            self.add(&mount, &mount, 0);
        }
    }

    fn add(&mut self, mount: &Path, folder: &Path, depth: usize) {
        let Ok(metadata) = fs::metadata(folder) else { return };
        let below = folder.strip_prefix(mount).unwrap_or(folder);
        self.paths.insert(metadata.ino(), format!("/{}", below.display()));
        if depth == DEPTH_MAX || self.paths.len() >= CGROUPS_MAX - 1 {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(mount, &entry.path(), depth + 1);
            }
        }
    }
}
