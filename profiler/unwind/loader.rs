//! Brings the tables of processes into the kernel: builds each file's once, in parallel, and hands
//! a process over only when all its files are there, so that no stack is followed half blind.

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use symbolizer::{FileKey, Mapping};

use super::{
    Image, Key, Segment, Table, bias,
    cache::Cache,
    runs::{Run, Runs},
    shelf::Shelf,
};
use crate::bpf;

/// Entries of `unwind_mappings` (MAPPINGS_MAX in `bpf/tables.bpf.h`).
const MAPPINGS_MAX: u32 = 128 << 10;
/// `file` of a mapping without a table.
const NO_FILE: u32 = u32::MAX;
/// The most mappings of one process: 2^MAPPING_ROUNDS.
const PROCESS_MAPPINGS_MAX: usize = 4096;
/// Bytes of tables that are kept at hand to follow stacks in user space, unless told otherwise.
const AT_HAND_MAX: usize = 16 << 20;
/// Files that are remembered; beyond, those without a table are forgotten and looked at again.
const STATES_MAX: usize = 32 << 10;

/// The maps that hold tables, shared by all sources.
pub struct Maps {
    /// `unwind_chunks`
    pub chunks: MapHandle,
    /// `unwind_files`
    pub files: MapHandle,
    /// `unwind_mappings`
    pub mappings: MapHandle,
    /// `unwind_processes`
    pub processes: MapHandle,
}

/// What code a mapping holds.
#[derive(Clone)]
pub enum Code {
    /// A file.
    File(Arc<symbolizer::Image>),
    /// The vdso.
    Vdso,
    /// Code without a table: made at run time, or of a file that cannot be read.
    None,
}

/// A mapping of a process and what it holds.
#[derive(Clone)]
pub struct Region {
    /// Where it is.
    pub mapping: Mapping,
    /// What it holds.
    pub code: Code,
}

/// What tells files apart before their contents are read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Name {
    File(FileKey),
    Vdso,
}

/// How far a file is.
enum State {
    Building,
    Loaded(Arc<Loaded>),
    /// It has no table.
    Without,
}

/// A file whose table is in the kernel.
struct Loaded {
    /// In `unwind_files`.
    number: u32,
    key: Key,
    /// They give the bias of a mapping.
    segments: Vec<Segment>,
}

/// A table, what it is of, and where its file's parts are loaded.
type Parts = (Key, Table, Vec<Segment>);

struct Built {
    name: Name,
    path: String,
    outcome: Result<(Loaded, Table), String>,
    evicted: Vec<u32>,
}

/// Counts for the report and `doctor`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Files whose tables are in the kernel.
    pub files: u64,
    /// Rows of those.
    pub rows: u64,
    /// Locked kernel memory that they take, bytes.
    pub bytes: u64,
    /// Files whose tables had to make room for others.
    pub evicted: u64,
    /// Processes turned away for want of room.
    pub refused: u64,
}

/// Loads tables.
pub struct Loader {
    maps: Maps,
    shelf: Arc<Mutex<Shelf>>,
    runs: Runs,
    cache: Cache,
    states: HashMap<Name, State>,
    /// Processes in the kernel.
    processes: HashMap<u32, Run>,
    /// Tables by number, and when they were last used.
    at_hand: HashMap<u32, (Arc<Table>, Instant)>,
    at_hand_max: usize,
    outbox: Sender<Built>,
    built: Receiver<Built>,
    /// A byte arrives with each table that is built.
    wakeup: UnixStream,
    waker: UnixStream,
    counts: Counts,
}

impl Loader {
    /// A loader into `maps`, with `budget` bytes of locked kernel memory for tables.
    ///
    /// # Errors
    /// No more descriptors are to be had.
    pub fn new(maps: Maps, budget: u64) -> Result<Self> {
        let (outbox, built) = channel();
        let (wakeup, waker) = UnixStream::pair().context("cannot make a socket pair")?;
        wakeup.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (files, chunks) =
            (MapHandle::try_from(&maps.files)?, MapHandle::try_from(&maps.chunks)?);
        Ok(Self {
            maps,
            shelf: Arc::new(Mutex::new(Shelf::new(files, chunks, budget))),
            runs: Runs::new(MAPPINGS_MAX),
            cache: Cache::open(),
            states: HashMap::new(),
            processes: HashMap::new(),
            at_hand: HashMap::new(),
            at_hand_max: AT_HAND_MAX,
            outbox,
            built,
            wakeup,
            waker,
            counts: Counts::default(),
        })
    }

    /// Sets how many bytes of tables are kept to follow stacks in user space.
    pub fn keep_at_hand(&mut self, bytes: usize) {
        self.at_hand_max = bytes;
    }

    /// Drops those that are at hand. The kernel keeps its own, and the cache on disk has them.
    pub fn drop_at_hand(&mut self) {
        self.at_hand = HashMap::new();
    }

    /// Becomes readable when a table was built.
    pub fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    /// What there is in the kernel, and what was turned away.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Asks for the tables of all code in `regions`. True once they are there.
    pub fn prepare(&mut self, regions: &[Region]) -> bool {
        let mut ready = true;
        for region in regions {
            let Some(name) = name_of(&region.code) else { continue };
            match self.states.get(&name) {
                Some(State::Building) => ready = false,
                Some(State::Loaded(_) | State::Without) => {}
                None => {
                    if self.states.len() >= STATES_MAX {
                        self.states.retain(|_, state| !matches!(state, State::Without));
                    }
                    self.states.insert(name, State::Building);
                    self.build(name, region.code.clone());
                    ready = false;
                }
            }
        }
        ready
    }

    /// Takes in the tables that were built meanwhile; with a `timeout`, waits for the first.
    pub fn collect(&mut self, timeout: Option<Duration>) {
        while self.wakeup.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        let first = timeout.and_then(|timeout| self.built.recv_timeout(timeout).ok());
        let mut next = first.or_else(|| self.built.try_recv().ok());
        while let Some(built) = next {
            self.take_in(built);
            next = self.built.try_recv().ok();
        }
        if let Ok(shelf) = self.shelf.try_lock() {
            (self.counts.files, self.counts.rows, self.counts.bytes) = shelf.size();
        }
    }

    fn take_in(&mut self, built: Built) {
        for number in built.evicted {
            self.counts.evicted += 1;
            self.at_hand.remove(&number);
            let gone = |state: &State| matches!(state, State::Loaded(l) if l.number == number);
            self.states.retain(|_, state| !gone(state));
        }
        let state = match built.outcome {
            Ok((loaded, table)) => {
                self.at_hand.insert(loaded.number, (Arc::new(table), Instant::now()));
                self.put_away();
                State::Loaded(Arc::new(loaded))
            }
            Err(reason) => {
                tracing::info!("no unwind table for {}: {reason}", built.path);
                State::Without
            }
        };
        self.states.insert(built.name, state);
    }

    /// Puts a process into the kernel, with the mappings that it has now.
    ///
    /// # Errors
    /// The kernel refuses an entry.
    pub fn publish(&mut self, pid: u32, regions: &[Region]) -> Result<()> {
        let count = regions.len().min(PROCESS_MAPPINGS_MAX) as u32;
        let Some(run) = self.runs.take(count) else {
            self.counts.refused += 1;
            return Ok(());
        };
        let mut keys = Vec::with_capacity(count as usize * 4);
        let mut values = Vec::new();
        let mut files = Vec::new();
        for (index, region) in regions.iter().take(count as usize).enumerate() {
            let entry = self.entry(region);
            keys.extend((run.first + index as u32).to_ne_bytes());
            values.extend_from_slice(bpf::bytes(&entry));
            files.push(entry.file);
        }
        if count > 0 {
            self.maps
                .mappings
                .update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY)
                .context("cannot write the mappings of a process")?;
        }
        // While a worker writes, the order of use may stay a little behind.
        if let Ok(mut shelf) = self.shelf.try_lock() {
            shelf.touch(files.into_iter());
        }
        let process = bpf::process { first: run.first, count: run.count };
        let key = pid.to_ne_bytes();
        match self.maps.processes.update(&key, bpf::bytes(&process), MapFlags::ANY) {
            Ok(()) => {
                if let Some(old) = self.processes.insert(pid, run) {
                    self.runs.give(old);
                }
            }
            Err(_) => {
                self.counts.refused += 1;
                self.runs.give(run);
            }
        }
        Ok(())
    }

    /// Takes a process out of the kernel.
    pub fn forget(&mut self, pid: u32) {
        if let Some(run) = self.processes.remove(&pid) {
            let _ = self.maps.processes.delete(&pid.to_ne_bytes()); // it has gone already
            self.runs.give(run);
        }
    }

    /// True if the kernel has the process.
    pub fn has(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// The table of a region's code and what to subtract from addresses there, to follow a stack
    /// in user space.
    pub fn table(&mut self, region: &Region) -> Option<(Arc<Table>, u64)> {
        let loaded = Arc::clone(self.loaded(&region.code)?);
        let bias = bias(&loaded.segments, region.mapping.start, region.mapping.offset)?;
        let now = Instant::now();
        if let Some((table, used)) = self.at_hand.get_mut(&loaded.number) {
            *used = now;
            return Some((Arc::clone(table), bias));
        }
        let table = Arc::new(self.cache.get(&loaded.key)?);
        self.at_hand.insert(loaded.number, (Arc::clone(&table), now));
        self.put_away();
        Some((table, bias))
    }

    /// Keeps the folder of tables within its limit.
    pub fn trim(&self) {
        self.cache.trim();
    }

    fn loaded(&self, code: &Code) -> Option<&Arc<Loaded>> {
        match self.states.get(&name_of(code)?)? {
            State::Loaded(loaded) => Some(loaded),
            State::Building | State::Without => None,
        }
    }

    fn entry(&self, region: &Region) -> bpf::mapping {
        let mapping = &region.mapping;
        let pages = (mapping.end - mapping.start) >> 12;
        let mut entry = bpf::mapping {
            start: mapping.start,
            bias: 0,
            pages: pages.min(u32::MAX.into()) as u32,
            file: NO_FILE,
        };
        if let Some(loaded) = self.loaded(&region.code)
            && let Some(bias) = bias(&loaded.segments, mapping.start, mapping.offset)
        {
            (entry.bias, entry.file) = (bias, loaded.number);
        }
        entry
    }

    fn build(&self, name: Name, code: Code) {
        let (outbox, cache, shelf) =
            (self.outbox.clone(), self.cache.clone(), Arc::clone(&self.shelf));
        let waker = self.waker.try_clone();
        rayon::spawn(move || {
            let (path, parts) = match code {
                Code::File(file) => (file.path().to_owned(), build(file.file(), &cache)),
                Code::Vdso => {
                    let image = symbolizer::vdso::image().ok().flatten();
                    let image = image.ok_or("this process has no vdso".to_owned());
                    ("[vdso]".into(), image.and_then(|image| build(&image[..], &cache)))
                }
                Code::None => (String::new(), Err("no file".into())),
            };
            let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = parts.and_then(|parts| load(parts, &mut shelf));
            // If nobody waits for it any more, rprof is about to end.
            let _ = outbox.send(Built { name, path, outcome, evicted: shelf.take_evicted() });
            // A full socket has woken the reader already.
            let _ = waker.and_then(|mut waker| waker.write(&[0]));
        });
    }

    /// Drops our own copies of tables, oldest first, beyond the limit. The kernel keeps its own.
    fn put_away(&mut self) {
        let mut bytes: usize = self.at_hand.values().map(|(table, _)| table.bytes()).sum();
        while bytes > self.at_hand_max && self.at_hand.len() > 1 {
            let oldest = self.at_hand.iter().min_by_key(|(_, (_, used))| *used);
            let Some((&number, (table, _))) = oldest else { return };
            bytes -= table.bytes();
            self.at_hand.remove(&number);
        }
    }
}

fn load((key, table, segments): Parts, shelf: &mut Shelf) -> Result<(Loaded, Table), String> {
    match shelf.store(&key, &table) {
        Ok(Some(number)) => Ok((Loaded { number, key, segments }, table)),
        Ok(None) => Err("no room left for its table".into()),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn name_of(code: &Code) -> Option<Name> {
    match code {
        Code::File(image) => Some(Name::File(image.key())),
        Code::Vdso => Some(Name::Vdso),
        Code::None => None,
    }
}

fn build<F: super::ReadAt + ?Sized>(file: &F, cache: &Cache) -> Result<Parts, String> {
    let image = Image::read(file).map_err(|error| error.to_string())?;
    let key = image.key().map_err(|error| error.to_string())?;
    let table = match cache.get(&key) {
        Some(table) => table,
        None => {
            let table = Table::build(&image).map_err(|error| error.to_string())?;
            cache.put(&key, &table);
            table
        }
    };
    Ok((key, table, image.segments().to_vec()))
}
