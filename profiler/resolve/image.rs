//! The executable files that samples hit, each opened once and kept open while it is in use.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, sync::Arc};

use symbolizer::{Image, Mapping};

/// Files kept open; beyond, those that were not hit for longest are closed.
const OPEN_MAX: usize = 512;

/// What makes two mappings be of the same file content: where it is, its inode, when it changed.
type Key = (String, u64, i64, i64);

/// Open files.
#[derive(Default)]
pub struct Images {
    images: HashMap<Key, Entry>,
    /// Counts up with each use.
    clock: u64,
}

struct Entry {
    image: Arc<Image>,
    used: u64,
}

impl Images {
    /// The file of a mapping; none if it can no longer be opened or is no ELF file.
    pub fn open(&mut self, pid: u32, mapping: &Mapping) -> Option<Arc<Image>> {
        self.clock += 1;
        let key = key(pid, mapping);
        if let Some(entry) = self.images.get_mut(&key) {
            entry.used = self.clock;
            return Some(Arc::clone(&entry.image));
        }
        // That a file could not be opened is not remembered: that may be for want of its process,
        // and the next process that runs it may be there still.
        let image = Arc::new(Image::open(pid, mapping).ok()?);
        self.images.insert(key, Entry { image: Arc::clone(&image), used: self.clock });
        Some(image)
    }

    /// Closes files beyond the limit that were not used for longest.
    pub fn close_idle(&mut self) {
        if self.images.len() <= OPEN_MAX {
            return;
        }
        let mut uses: Vec<u64> = self.images.values().map(|entry| entry.used).collect();
        uses.sort_unstable();
        let oldest = uses[uses.len() - OPEN_MAX / 2];
        self.images.retain(|_, entry| entry.used >= oldest);
    }
}

fn key(pid: u32, mapping: &Mapping) -> Key {
    // Of a process that has ended, the path may still be there in our own root.
    let metadata = fs::metadata(format!("/proc/{pid}/root{}", mapping.path))
        .or_else(|_| fs::metadata(&mapping.path))
        .ok()
        .filter(|metadata| metadata.ino() == mapping.inode);
    let changed = metadata.map_or((0, 0), |metadata| (metadata.ctime(), metadata.ctime_nsec()));
    (mapping.path.clone(), mapping.inode, changed.0, changed.1)
}
