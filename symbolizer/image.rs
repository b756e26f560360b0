//! One executable file. It is opened as soon as it is met and kept open, so
//! that it can still be read when the process has ended and the file was
//! deleted, or replaced by the next version of itself; `symbolize` then finds
//! functions in its debug information, its symbol tables, and in files that
//! were split off it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{major, minor};

use crate::bytes::Bytes;
use crate::cache::{self, Slot};
use crate::debug::{self, Found};
use crate::elf::Elf;
use crate::frames::Frames;
use crate::maps::{Kind, Mapping};
use crate::process;
use crate::signature::Signature;
use crate::{Error, Result, Symbol, Symbols, mini, plt, table};

/// What tells the content of one file from that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// When its content last changed, in nanoseconds since 1970.
    pub modified: i128,
}

impl FileKey {
    fn new(metadata: &Metadata) -> Self {
        let seconds = i128::from(metadata.mtime()) * 1_000_000_000;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: seconds + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// How much to find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Names of functions, from symbol tables alone: the cheapest.
    Names,
    /// Inlined functions, files and lines as well, where the file itself has
    /// debug information, or a debug file beside it. Those that are installed
    /// for all programs give names only.
    Own,
    /// All that debug information says, wherever it is. Distributions
    /// compress the debug files that they install: that of libc takes 25 ms of CPU time
    /// and 10 MB until the caches are dropped.
    #[default]
    Full,
}

/// What an image has to offer, for people who wonder why a name is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an independent fact")]
pub struct Facts {
    /// A full symbol table.
    pub symbols: bool,
    /// A table of the functions that other files may call.
    pub dynamic_symbols: bool,
    /// A compressed table of the others (`.gnu_debugdata`).
    pub mini_debug_info: bool,
    /// Debug information, in itself or in `debug_file`.
    pub debug_info: bool,
    /// The separate debug file in use.
    pub debug_file: Option<String>,
    /// The name of the separate debug file that it asks for.
    pub debug_link: Option<String>,
}

/// One executable file, open.
#[derive(Debug)]
pub struct Image {
    key: FileKey,
    path: String,
    pid: Option<u32>,
    directories: Vec<PathBuf>,
    detail: Detail,
    file: Arc<File>,
    bytes: Bytes,
    elf: Elf,
    parts: OnceLock<Parts>,
    slot: Arc<Slot>,
    broken: AtomicBool,
}

/// What is looked for once, at the first question.
#[derive(Debug, Default)]
struct Parts {
    debug: Option<Found>,
    mini: Option<(Bytes, Elf)>,
}

impl Image {
    /// Opens the file behind `mapping` of process `pid`: that very file, be
    /// it deleted, replaced, or of a container.
    ///
    /// # Errors
    /// Where the mapping has no file, the file cannot be reached any more (to
    /// read `map_files` takes `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`; the
    /// path is tried next, and in our own root if the process has ended), or
    /// it is no ELF file.
    pub fn open(pid: u32, mapping: &Mapping) -> Result<Self> {
        if mapping.kind() != Kind::File {
            return Err(Error::Absent(format!("{:?} has no file", mapping.path)));
        }
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let file = process::open_checked(&link).or_else(|refused| {
            if mapping.deleted {
                return Err(refused);
            }
            Self::open_by_path(pid, mapping)
        })?;
        Self::new(file, mapping.path.clone(), Some(pid))
    }

    /// Opens the path of a mapping, if what is there is the file mapped.
    fn open_by_path(pid: u32, mapping: &Mapping) -> Result<File> {
        let path = Path::new(&mapping.path);
        let theirs = process::open(Some(pid), path);
        let ended = theirs.is_err();
        // A process that has ended has no root left. In ours the path may be
        // that of another file, of another container.
        let file = theirs.or_else(|gone| process::open(None, path).map_err(|_| gone))?;
        let metadata = file.metadata().map_err(Error::io("stat"))?;
        // Devices are compared only where they have to be: btrfs and overlayfs
        // show one in maps and another in stat.
        let device = (major(metadata.dev()), minor(metadata.dev()));
        let same = metadata.ino() == mapping.inode && (!ended || device == mapping.device);
        if same {
            Ok(file)
        } else {
            Err(Error::Absent(format!("{} is another file by now", mapping.path)))
        }
    }

    /// Opens the file at `path` of our own file system.
    ///
    /// # Errors
    /// Where it cannot be opened, or is no ELF file.
    pub fn open_path(path: &Path) -> Result<Self> {
        Self::new(process::open(None, path)?, path.display().to_string(), None)
    }

    fn new(file: File, path: String, pid: Option<u32>) -> Result<Self> {
        let key = FileKey::new(&file.metadata().map_err(Error::io(format!("stat {path}")))?);
        let file = Arc::new(file);
        let bytes = Bytes::of(Arc::clone(&file))?;
        let elf = Elf::parse(&bytes)?;
        Ok(Self {
            key,
            path,
            pid,
            directories: vec![PathBuf::from(debug::DEBUG_DIRECTORY)],
            detail: Detail::default(),
            file,
            bytes,
            elf,
            parts: OnceLock::new(),
            slot: Arc::default(),
            broken: AtomicBool::new(false),
        })
    }

    /// Looks for separate debug files in `directories` instead of
    /// `/usr/lib/debug`.
    #[must_use]
    pub fn with_debug_directories(mut self, directories: Vec<PathBuf>) -> Self {
        self.directories = directories;
        self
    }

    /// Finds out `detail` and no more; all of it unless told otherwise.
    #[must_use]
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// What tells this file from others.
    #[must_use]
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// The path, as the process sees it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The id that the linker gave it, if it did.
    #[must_use]
    pub fn build_id(&self) -> Option<&[u8]> {
        self.elf.build_id.as_deref()
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The virtual address, before the kernel adds where it loaded the file,
    /// of the byte at `file_offset`.
    #[must_use]
    pub fn address(&self, file_offset: u64) -> Option<u64> {
        self.elf.address(file_offset)
    }

    /// Whether reading this file made a library panic: a bug, there or here,
    /// and its symbols may be incomplete.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// What this file has to offer.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let parts = self.parts();
        let debug = parts.debug.as_ref();
        Facts {
            symbols: self.elf.section(".symtab").is_some(),
            dynamic_symbols: self.elf.section(".dynsym").is_some(),
            mini_debug_info: parts.mini.is_some(),
            debug_info: self.has_own_debug_info()
                || debug.is_some_and(|found| found.elf.section(".debug_info").is_some()),
            debug_file: debug.map(|found| found.path.clone()),
            debug_link: self.elf.debug_link(&self.bytes).map(|(name, _)| name),
        }
    }

    /// The symbols at `addresses`, in their order: virtual addresses of this
    /// file, as [`Image::address`] gives them, from which the caller has taken
    /// one where they are return addresses. Ask for many at once: a question
    /// has a price of its own.
    ///
    /// Empty where no name is known.
    #[must_use]
    pub fn symbolize(&self, addresses: &[u64]) -> Vec<Symbols> {
        let mut sorted = addresses.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let found = self.guard(|| self.find(&sorted)).unwrap_or_default();
        let at = |address| sorted.binary_search(address).ok().and_then(|at| found.get(at));
        addresses.iter().map(|address| at(address).cloned().unwrap_or_default()).collect()
    }

    /// What the function takes and returns that begins at `address`, if there
    /// is debug information of it.
    #[must_use]
    pub fn signature(&self, address: u64) -> Option<Signature> {
        let frames = self.guard(|| self.frames()).flatten()?;
        self.guard(|| frames.signature(address)).flatten()
    }

    fn find(&self, addresses: &[u64]) -> Vec<Symbols> {
        let frames = self.guard(|| self.frames()).flatten();
        let frames = frames.and_then(|frames| self.guard(|| frames.find(addresses)));
        let Some(frames) = frames else {
            let names = self.names(addresses);
            let symbol = |name: Option<String>| name.map(|name| Symbol::named(&name));
            return names.into_iter().map(|name| symbol(name).into_iter().collect()).collect();
        };
        let unnamed = addresses.iter().zip(&frames).filter(|(_, frame)| !frame.is_named());
        let unnamed: Vec<u64> = unnamed.map(|(&address, _)| address).collect();
        let mut names = self.names(&unnamed).into_iter();
        let mut symbols = |frame: crate::frames::Frame| {
            let outer = if frame.is_named() { None } else { names.next().flatten() };
            frame.symbols(outer.as_deref())
        };
        frames.into_iter().map(&mut symbols).collect()
    }

    /// Names from symbol tables: the fullest one first.
    fn names(&self, addresses: &[u64]) -> Vec<Option<String>> {
        let mut found = vec![None; addresses.len()];
        let parts = self.parts();
        let mut files = vec![(&self.bytes, &self.elf, ".symtab")];
        files.extend(parts.debug.as_ref().map(|found| (&found.bytes, &found.elf, ".symtab")));
        files.extend(parts.mini.as_ref().map(|(bytes, elf)| (bytes, elf, ".symtab")));
        files.push((&self.bytes, &self.elf, ".dynsym"));
        for (bytes, elf, name) in files {
            let Some(section) = elf.section(name) else { continue };
            let left: Vec<usize> = (0..found.len()).filter(|&at| found[at].is_none()).collect();
            let asked: Vec<u64> = left.iter().map(|&at| addresses[at]).collect();
            if asked.is_empty() {
                break;
            }
            let names = self.guard(|| table::lookup(bytes, elf, section, &asked));
            for (at, name) in left.into_iter().zip(names.unwrap_or_default()) {
                found[at] = name;
            }
        }
        for (&address, name) in addresses.iter().zip(&mut found) {
            if name.is_none() {
                *name = self.guard(|| plt::name(&self.bytes, &self.elf, address)).flatten();
            }
        }
        found
    }

    /// The parsed debug information, from the cache or now.
    fn frames(&self) -> Option<Arc<Frames>> {
        if self.detail == Detail::Names {
            return None;
        }
        if let Some(frames) = cache::frames(&self.slot) {
            cache::touch(&self.slot);
            return Some(frames);
        }
        let (bytes, elf) = if self.has_own_debug_info() {
            (&self.bytes, &self.elf)
        } else {
            let debug = self.parts().debug.as_ref();
            let debug = debug.filter(|found| self.detail == Detail::Full || !found.installed)?;
            (&debug.bytes, &debug.elf)
        };
        let frames = Arc::new(Frames::open(bytes, elf).ok().flatten()?);
        if let Ok(mut slot) = self.slot.lock() {
            *slot = Some(Arc::clone(&frames));
        }
        cache::touch(&self.slot);
        Some(frames)
    }

    fn has_own_debug_info(&self) -> bool {
        self.elf.section(".debug_info").is_some()
    }

    fn parts(&self) -> &Parts {
        self.parts.get_or_init(|| self.guard(|| self.look()).unwrap_or_default())
    }

    fn look(&self) -> Parts {
        let full = self.elf.section(".symtab").is_some();
        let debug = if self.has_own_debug_info() {
            None
        } else {
            debug::find(&self.bytes, &self.elf, &self.path, self.pid, &self.directories)
        };
        let mini = if full { None } else { mini::read(&self.bytes, &self.elf) };
        Parts { debug, mini }
    }

    /// The net under libraries that read what hostile people wrote.
    fn guard<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work)).ok();
        if done.is_none() {
            self.broken.store(true, Ordering::Relaxed);
        }
        done
    }
}
