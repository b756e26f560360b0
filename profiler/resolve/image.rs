//! The executable files that samples hit, each opened once and kept open while it is in use.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use symbolizer::{Detail, Image, Mapping};

/// Files kept open; beyond, those that were not hit for longest are closed.
const OPEN_MAX: usize = 512;
/// Files of which it is remembered when they changed; beyond, all are looked at anew.
const LOOKS_MAX: usize = 4096;
/// For how long a file is not looked at again. Each process maps some ten files, most of them the
/// same as all others, and to look at one through the process's root costs 5 us.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// What makes two mappings be of the same file content: where it is, its inode, when it changed.
type Key = (String, u64, i64, i64);
/// A file as a mapping names it: path, device and inode.
type Place = (String, (u32, u32), u64);

/// Open files.
#[derive(Default)]
pub struct Images {
    images: HashMap<Key, Entry>,
    /// When files changed, and when that was looked at.
    looks: HashMap<Place, ((i64, i64), Instant)>,
    /// How much is found out of files that are opened from now on.
    detail: Detail,
    /// Counts up with each use.
    clock: u64,
}

struct Entry {
    image: Arc<Image>,
    used: u64,
}

impl Images {
    /// No files yet; `detail` is how much is to be found out of each.
    pub fn new(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// The file of a mapping; none if it can no longer be opened or is no ELF file.
    pub fn open(&mut self, pid: u32, mapping: &Mapping) -> Option<Arc<Image>> {
        self.clock += 1;
        let changed = self.changed(pid, mapping);
        let key = (mapping.path.clone(), mapping.inode, changed.0, changed.1);
        let entry = match self.images.entry(key) {
            Slot::Occupied(slot) => slot.into_mut(),
            // Only what was found is remembered: one process may have ended too early for its
            // files to be reached, and another of the same program not.
            Slot::Vacant(slot) => {
                let image = open(pid, mapping)?.with_detail(self.detail);
                slot.insert(Entry { image: Arc::new(image), used: 0 })
            }
        };
        entry.used = self.clock;
        Some(Arc::clone(&entry.image))
    }

    /// Closes all files that are in nobody's use.
    pub fn close_unused(&mut self) {
        self.images.retain(|_, entry| Arc::strong_count(&entry.image) > 1);
    }

    fn changed(&mut self, pid: u32, mapping: &Mapping) -> (i64, i64) {
        let now = Instant::now();
        let place = (mapping.path.clone(), mapping.device, mapping.inode);
        if let Some((changed, looked)) = self.looks.get(&place)
            && now.duration_since(*looked) < LOOK_TIME
        {
            return *changed;
        }
        if self.looks.len() >= LOOKS_MAX {
            self.looks.clear();
        }
        let changed = look(pid, mapping);
        // What could not be reached may be by the next process.
        if changed != (0, 0) {
            self.looks.insert(place, (changed, now));
        }
        changed
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

/// When the file of a mapping last changed, s and ns since 1970; zeros if it cannot be reached.
fn look(pid: u32, mapping: &Mapping) -> (i64, i64) {
    // Of a process that has ended, the path may still be there in our own root.
    let metadata = fs::metadata(format!("/proc/{pid}/root{}", mapping.path))
        .or_else(|_| fs::metadata(&mapping.path))
        .ok()
        .filter(|metadata| metadata.ino() == mapping.inode);
    metadata.map_or((0, 0), |metadata| (metadata.ctime(), metadata.ctime_nsec()))
}
