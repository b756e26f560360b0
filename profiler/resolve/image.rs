//! The executable files that samples hit, each opened once and kept open while it is in use.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

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
        let entry = match self.images.entry(key(pid, mapping)) {
            Slot::Occupied(slot) => slot.into_mut(),
            // Only what was found is remembered: one process may have ended too early for its
            // files to be reached, and another of the same program not.
            Slot::Vacant(slot) => {
                slot.insert(Entry { image: Arc::new(open(pid, mapping)?), used: 0 })
            }
        };
        entry.used = self.clock;
        Some(Arc::clone(&entry.image))
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

/// Opens the file of a mapping. Of a process that has ended, there is only the path left to go by,
/// in our own root; the inode tells whether it is the same file.
fn open(pid: u32, mapping: &Mapping) -> Option<Image> {
    let image = Image::open(pid, mapping).ok();
    image.or_else(|| {
        let image = Image::open_path(Path::new(&mapping.path)).ok()?;
        (!mapping.deleted && image.key().inode == mapping.inode).then_some(image)
    })
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
