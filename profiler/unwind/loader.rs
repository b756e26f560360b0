//! Brings the tables of processes into the kernel: builds each file's once, in parallel, and hands
//! a process over only when all its files are there, so that no stack is followed half blind.

use std::{
    collections::HashMap,
    sync::{
        Arc,
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
    chunks::{Chunks, Stored},
    runs::{Run, Runs},
};
use crate::bpf;

/// Sizes of the maps in `bpf/tables.bpf.h`.
const FILES_MAX: u32 = 16 << 10;
const MAPPINGS_MAX: u32 = 128 << 10;
/// `file` of a mapping without a table.
const NO_FILE: u32 = u32::MAX;
/// The most mappings of one process: 2^MAPPING_ROUNDS.
const PROCESS_MAPPINGS_MAX: usize = 4096;
/// Bytes of tables that are kept at hand to follow stacks in user space.
const AT_HAND_MAX: usize = 8 << 20;

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
    /// In the kernel, under this number; its segments give the bias of a mapping.
    Loaded(u32),
    /// It has no table.
    Without,
}

struct Loaded {
    key: Key,
    stored: Stored,
    used: Instant,
    rows: u64,
    table: Option<Arc<Table>>,
    segments: Vec<Segment>,
}

/// A table, what it is of, and where its file's parts are loaded.
type Parts = (Key, Table, Vec<Segment>);

struct Built {
    name: Name,
    path: String,
    outcome: Result<Parts, String>,
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
    chunks: Chunks,
    runs: Runs,
    cache: Cache,
    states: HashMap<Name, State>,
    /// By number in `unwind_files`.
    loaded: HashMap<u32, Loaded>,
    /// Files of the same contents share a number.
    numbers: HashMap<Key, u32>,
    /// Processes in the kernel.
    processes: HashMap<u32, Run>,
    at_hand: usize,
    outbox: Sender<Built>,
    built: Receiver<Built>,
    counts: Counts,
}

impl Loader {
    /// A loader into `maps`, with `budget` bytes of locked kernel memory for tables.
    pub fn new(maps: Maps, budget: u64) -> Result<Self> {
        let (outbox, built) = channel();
        Ok(Self {
            chunks: Chunks::new(MapHandle::try_from(&maps.chunks)?, budget),
            maps,
            runs: Runs::new(MAPPINGS_MAX),
            cache: Cache::open(),
            states: HashMap::new(),
            loaded: HashMap::new(),
            numbers: HashMap::new(),
            processes: HashMap::new(),
            at_hand: 0,
            outbox,
            built,
            counts: Counts::default(),
        })
    }

    /// What there is in the kernel, and what was turned away.
    pub fn counts(&self) -> Counts {
        Counts {
            files: self.loaded.len() as u64,
            rows: self.loaded.values().map(|loaded| loaded.rows).sum(),
            bytes: self.chunks.bytes(),
            ..self.counts
        }
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
                    self.states.insert(name, State::Building);
                    self.build(name, region.code.clone());
                    ready = false;
                }
            }
        }
        ready
    }

    /// Takes in the tables that were built meanwhile; with a `timeout`, waits for the first.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn collect(&mut self, timeout: Option<Duration>) -> Result<()> {
        let first = timeout.and_then(|timeout| self.built.recv_timeout(timeout).ok());
        let mut next = first.or_else(|| self.built.try_recv().ok());
        while let Some(built) = next {
            let state = match built.outcome {
                Ok((key, table, segments)) => self.load(key, table, segments)?,
                Err(reason) => {
                    tracing::info!("no unwind table for {}: {reason}", built.path);
                    State::Without
                }
            };
            self.states.insert(built.name, state);
            next = self.built.try_recv().ok();
        }
        Ok(())
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
        for (index, region) in regions.iter().take(count as usize).enumerate() {
            keys.extend((run.first + index as u32).to_ne_bytes());
            values.extend_from_slice(bpf::bytes(&self.entry(region)));
        }
        if count > 0 {
            self.maps
                .mappings
                .update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY)
                .context("cannot write the mappings of a process")?;
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
    pub fn table(&self, region: &Region) -> Option<(Arc<Table>, u64)> {
        let number = self.number(&region.code)?;
        let loaded = self.loaded.get(&number)?;
        let bias = bias(&loaded.segments, region.mapping.start, region.mapping.offset)?;
        let table = loaded.table.clone();
        let table = table.or_else(|| self.cache.get(&loaded.key).map(Arc::new))?;
        Some((table, bias))
    }

    /// Keeps the folder of tables within its limit.
    pub fn trim(&self) {
        self.cache.trim();
    }

    fn number(&self, code: &Code) -> Option<u32> {
        match self.states.get(&name_of(code)?)? {
            State::Loaded(number) => Some(*number),
            State::Building | State::Without => None,
        }
    }

    fn entry(&mut self, region: &Region) -> bpf::mapping {
        let mapping = &region.mapping;
        let pages = (mapping.end - mapping.start) >> 12;
        let mut entry = bpf::mapping {
            start: mapping.start,
            bias: 0,
            pages: pages.min(u32::MAX.into()) as u32,
            file: NO_FILE,
        };
        let number = self.number(&region.code);
        if let Some(number) = number
            && let Some(loaded) = self.loaded.get_mut(&number)
            && let Some(bias) = self::bias(&loaded.segments, mapping.start, mapping.offset)
        {
            loaded.used = Instant::now();
            (entry.bias, entry.file) = (bias, number);
        }
        entry
    }

    fn build(&self, name: Name, code: Code) {
        let (outbox, cache) = (self.outbox.clone(), self.cache.clone());
        rayon::spawn(move || {
            let path = match &code {
                Code::File(file) => file.path().to_owned(),
                Code::Vdso | Code::None => "[vdso]".into(),
            };
            let outcome = match code {
                Code::File(file) => build(file.file(), &cache),
                Code::Vdso => vdso().and_then(|bytes| build(&bytes[..], &cache)),
                Code::None => Err("no file".into()),
            };
            // If nobody waits for it any more, rprof is about to end.
            let _ = outbox.send(Built { name, path, outcome });
        });
    }

    fn load(&mut self, key: Key, table: Table, segments: Vec<Segment>) -> Result<State> {
        if let Some(&number) = self.numbers.get(&key) {
            return Ok(State::Loaded(number));
        }
        // Or all others would have to go, and in vain.
        if !self.chunks.could_hold(&table) {
            tracing::info!("no room for the unwind table of {key}: {} bytes", table.bytes());
            return Ok(State::Without);
        }
        let stored = loop {
            if let Some(stored) = self.chunks.store(&table)? {
                break stored;
            }
            if !self.evict() {
                return Ok(State::Without);
            }
        };
        let number = (0..FILES_MAX).find(|number| !self.loaded.contains_key(number));
        let Some(number) = number else {
            self.chunks.remove(&stored);
            return Ok(State::Without);
        };
        self.maps
            .files
            .update(&number.to_ne_bytes(), bpf::bytes(&stored.file), MapFlags::ANY)
            .context("cannot write an unwind table's index")?;
        self.numbers.insert(key.clone(), number);
        let rows = table.rows().len() as u64;
        self.at_hand += table.bytes();
        let loaded = Loaded {
            key,
            stored,
            used: Instant::now(),
            rows,
            table: Some(Arc::new(table)),
            segments,
        };
        self.loaded.insert(number, loaded);
        self.put_away();
        Ok(State::Loaded(number))
    }

    /// Drops our own copies of tables, oldest first, beyond the limit. The kernel keeps its own.
    fn put_away(&mut self) {
        while self.at_hand > AT_HAND_MAX {
            let held = self.loaded.values_mut().filter(|loaded| loaded.table.is_some());
            let Some(oldest) = held.min_by_key(|loaded| loaded.used) else { return };
            self.at_hand -= oldest.table.take().map_or(0, |table| table.bytes());
        }
    }

    /// Takes the file that was used least recently out of the kernel. Its mappings stay, and find
    /// no row.
    fn evict(&mut self) -> bool {
        let oldest = self.loaded.iter().min_by_key(|(_, loaded)| loaded.used);
        let Some(number) = oldest.map(|(&number, _)| number) else { return false };
        let Some(loaded) = self.loaded.remove(&number) else { return false };
        let gone = bpf::file::default();
        if self.maps.files.update(&number.to_ne_bytes(), bpf::bytes(&gone), MapFlags::ANY).is_err()
        {
            return false;
        }
        self.at_hand -= loaded.table.map_or(0, |table| table.bytes());
        self.chunks.remove(&loaded.stored);
        self.numbers.remove(&loaded.key);
        self.states.retain(|_, state| !matches!(state, State::Loaded(n) if *n == number));
        self.counts.evicted += 1;
        true
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

/// The bytes of this process's vdso, which is every process's.
///
/// # Errors
/// It has none, or its memory cannot be read; in words.
pub fn vdso() -> Result<Vec<u8>, String> {
    use std::os::unix::fs::FileExt;
    let maps = symbolizer::Maps::read(std::process::id(), true).map_err(|e| e.to_string())?;
    let vdso = maps.mappings.iter().find(|mapping| mapping.kind() == symbolizer::Kind::Vdso);
    let vdso = vdso.ok_or("this process has no vdso")?;
    let memory = std::fs::File::open("/proc/self/mem").map_err(|error| error.to_string())?;
    let mut bytes = vec![0; (vdso.end - vdso.start) as usize];
    memory.read_exact_at(&mut bytes, vdso.start).map_err(|error| error.to_string())?;
    Ok(bytes)
}
