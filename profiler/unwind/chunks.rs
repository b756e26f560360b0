//! Tables in the kernel: rows, rules and pages packed into chunks of 256 KiB, each an inner map of
//! `unwind_chunks` that is made when it is needed and freed with the last file in it. [`Layout`]
//! says what goes where.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, libbpf_sys};

use super::{
    Layout, Table,
    layout::{CHUNK_BYTES, Runs},
};
use crate::bpf;

/// All chunks.
pub struct Chunks {
    outer: MapHandle,
    layout: Layout,
    maps: BTreeMap<u32, MapHandle>,
}

/// Where a table is in the kernel.
pub struct Stored {
    /// What `unwind_files` says of it.
    pub file: bpf::file,
    chunks: Vec<u32>,
}

impl Chunks {
    /// Chunks within `outer`, of `budget` bytes of locked kernel memory in all.
    pub fn new(outer: MapHandle, budget: u64) -> Self {
        Self { outer, layout: Layout::new(budget), maps: BTreeMap::new() }
    }

    /// Bytes of locked kernel memory in use.
    pub fn bytes(&self) -> u64 {
        self.maps.len() as u64 * CHUNK_BYTES
    }

    /// False if there is no room for the table whatever is removed.
    pub fn could_hold(&self, table: &Table) -> bool {
        self.layout.could_hold(table)
    }

    /// Stores a table. None if there is no room left: remove another, and try again.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn store(&mut self, table: &Table) -> Result<Option<Stored>> {
        let Some(placed) = self.layout.place(table) else { return Ok(None) };
        let chunks = placed.writes.keys().copied().collect();
        for (number, runs) in &placed.writes {
            self.write(*number, runs)?;
        }
        Ok(Some(Stored { file: placed.file, chunks }))
    }

    /// Gives back what a table took. Nothing may refer to it any more.
    pub fn remove(&mut self, stored: &Stored) {
        for number in self.layout.remove(&stored.chunks) {
            // A slot that cannot be emptied keeps its map, which is then used again.
            if self.outer.delete(&number.to_ne_bytes()).is_ok() {
                self.maps.remove(&number);
            }
        }
    }

    fn create(&self, number: u32) -> Result<MapHandle> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::Array,
            Some("unwind_chunk"),
            4,
            CHUNK_BYTES as u32,
            1,
            &options,
        )
        .context("cannot make a map for unwind tables")?;
        let fd = map.as_fd().as_raw_fd() as u32;
        self.outer
            .update(&number.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .context("cannot add a map for unwind tables")?;
        Ok(map)
    }

    fn write(&mut self, number: u32, runs: &Runs) -> Result<()> {
        if !self.maps.contains_key(&number) {
            self.maps.insert(number, self.create(number)?);
        }
        let map = &self.maps[&number];
        let key = 0u32.to_ne_bytes();
        let mut value = map.lookup(&key, MapFlags::ANY)?.context("a chunk has no value")?;
        for (at, words) in runs {
            for (slot, word) in value[at * 4..].chunks_exact_mut(4).zip(words) {
                slot.copy_from_slice(&word.to_ne_bytes());
            }
        }
        map.update(&key, &value, MapFlags::ANY).context("cannot write an unwind table")
    }
}
