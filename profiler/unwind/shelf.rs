//! The tables that are in the kernel: which file has which number, where its rows are, and which
//! one has to make room when the budget is spent.
//!
//! Worker threads write here: adding a chunk to a map of maps waits for all BPF programs that run
//! (synchronize_rcu in the kernel's map-in-map update), tens of milliseconds on a busy machine,
//! which the thread that reads samples does not have.

use std::{collections::HashMap, time::Instant};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::{
    Key, Table,
    chunks::{Chunks, Stored},
};
use crate::bpf;

/// Entries of `unwind_files` (FILES_MAX in `bpf/tables.bpf.h`).
const FILES_MAX: u32 = 16 << 10;

/// Tables in the kernel.
pub struct Shelf {
    files: MapHandle,
    chunks: Chunks,
    /// By number in `unwind_files`.
    stored: HashMap<u32, Entry>,
    /// Files of the same contents share a number.
    numbers: HashMap<Key, u32>,
    evicted: Vec<u32>,
}

struct Entry {
    key: Key,
    stored: Stored,
    rows: u64,
    used: Instant,
}

impl Shelf {
    /// An empty one over `unwind_files` and `unwind_chunks`, of `budget` bytes.
    pub fn new(files: MapHandle, chunks: MapHandle, budget: u64) -> Self {
        Self {
            files,
            chunks: Chunks::new(chunks, budget),
            stored: HashMap::new(),
            numbers: HashMap::new(),
            evicted: Vec::new(),
        }
    }

    /// Stores a table, unless one of the same contents is there already. Gives its number; none if
    /// there is no room even when all others are gone.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn store(&mut self, key: &Key, table: &Table) -> Result<Option<u32>> {
        if let Some(&number) = self.numbers.get(key) {
            return Ok(Some(number));
        }
        // Or all others would have to go, and in vain.
        if !self.chunks.could_hold(table) {
            return Ok(None);
        }
        let Some(number) = (0..FILES_MAX).find(|number| !self.stored.contains_key(number)) else {
            return Ok(None);
        };
        let stored = loop {
            if let Some(stored) = self.chunks.store(table)? {
                break stored;
            }
            if !self.evict()? {
                return Ok(None);
            }
        };
        self.write(number, &stored.file)?;
        self.numbers.insert(key.clone(), number);
        let rows = table.rows().len() as u64;
        let entry = Entry { key: key.clone(), stored, rows, used: Instant::now() };
        self.stored.insert(number, entry);
        Ok(Some(number))
    }

    /// Takes note that processes which run now use these files.
    pub fn touch(&mut self, numbers: impl Iterator<Item = u32>) {
        let now = Instant::now();
        for number in numbers {
            if let Some(entry) = self.stored.get_mut(&number) {
                entry.used = now;
            }
        }
    }

    /// The files that had to make room since the last call.
    pub fn take_evicted(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.evicted)
    }

    /// Files, rows and bytes of locked kernel memory.
    pub fn size(&self) -> (u64, u64, u64) {
        let rows = self.stored.values().map(|entry| entry.rows).sum();
        (self.stored.len() as u64, rows, self.chunks.bytes())
    }

    /// Takes out the file that was used least recently. Mappings of it stay, and find no row.
    fn evict(&mut self) -> Result<bool> {
        let oldest = self.stored.iter().min_by_key(|(_, entry)| entry.used);
        let Some(number) = oldest.map(|(&number, _)| number) else { return Ok(false) };
        self.write(number, &bpf::file::default())?;
        if let Some(entry) = self.stored.remove(&number) {
            self.chunks.remove(&entry.stored);
            self.numbers.remove(&entry.key);
            self.evicted.push(number);
        }
        Ok(true)
    }

    fn write(&self, number: u32, file: &bpf::file) -> Result<()> {
        self.files
            .update(&number.to_ne_bytes(), bpf::bytes(file), MapFlags::ANY)
            .context("cannot write the index of an unwind table")
    }
}
