//! Tables in the kernel: rows, rules and pages packed into chunks of 256 KiB, each an inner map of
//! `unwind_chunks` that is made when it is needed and freed with the last file in it.
//!
//! Space within a chunk is handed out upwards and never taken back by itself: files come in the
//! order in which programs start, so those that go together mostly came together.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, libbpf_sys};

use super::{Page, Table};
use crate::bpf;

/// Words of 4 bytes in a chunk (CHUNK_WORDS in `bpf/tables.bpf.h`).
const CHUNK_WORDS: usize = 64 << 10;
/// Slots of `unwind_chunks`.
const CHUNKS_MAX: u32 = 1024;
/// Bytes of a chunk.
pub const CHUNK_BYTES: u64 = CHUNK_WORDS as u64 * 4;

/// All chunks.
pub struct Chunks {
    outer: MapHandle,
    chunks: BTreeMap<u32, Chunk>,
    /// The most there may be at a time.
    limit: usize,
}

struct Chunk {
    map: MapHandle,
    used: usize,
    files: u32,
}

/// Where a table is in the kernel.
pub struct Stored {
    /// What `unwind_files` says of it.
    pub file: bpf::file,
    chunks: Vec<u32>,
}

/// A run of words in a chunk.
#[derive(Clone, Copy)]
struct Place {
    chunk: u32,
    at: usize,
}

impl Chunks {
    /// Chunks within `outer`, of `budget` bytes of locked kernel memory in all.
    pub fn new(outer: MapHandle, budget: u64) -> Self {
        let limit = (budget / CHUNK_BYTES).clamp(1, CHUNKS_MAX.into()) as usize;
        Self { outer, chunks: BTreeMap::new(), limit }
    }

    /// Bytes of locked kernel memory in use.
    pub fn bytes(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK_BYTES
    }

    /// Stores a table. None if there is no room left: remove another, and try again.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn store(&mut self, table: &Table) -> Result<Option<Stored>> {
        let mut places = Vec::with_capacity(table.pages().len());
        let mut writes: BTreeMap<u32, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
        let mut full = false;
        for page in table.pages() {
            let rows = rows(table, page);
            let Some(place) = self.reserve(rows.len())? else {
                full = true;
                break;
            };
            places.push(place);
            if !rows.is_empty() {
                writes.entry(place.chunk).or_default().push((place.at, rows.to_vec()));
            }
        }
        let index = index(table, &places);
        let place = if full { None } else { self.reserve(index.len())? };
        let Some(place) = place else {
            self.drop_unused();
            return Ok(None);
        };
        writes.entry(place.chunk).or_default().push((place.at, index));
        let chunks: Vec<u32> = writes.keys().copied().collect();
        for (chunk, runs) in writes {
            self.write(chunk, &runs)?;
        }
        let file = bpf::file {
            first_page: table.first_page(),
            pages: table.pages().len() as u32,
            chunk: place.chunk,
            rules_at: place.at as u32,
            pages_at: (place.at + 2 * table.rules().len()) as u32,
        };
        Ok(Some(Stored { file, chunks }))
    }

    /// Gives back what a table took. Nothing may refer to it any more.
    pub fn remove(&mut self, stored: &Stored) {
        for chunk in &stored.chunks {
            if let Some(chunk) = self.chunks.get_mut(chunk) {
                chunk.files -= 1;
            }
        }
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        let outer = &self.outer;
        self.chunks.retain(|number, chunk| {
            // A slot that cannot be emptied still refers to a map that nothing refers to.
            chunk.files > 0 || outer.delete(&number.to_ne_bytes()).is_err()
        });
    }

    /// Room for `words` in one chunk, the newest or a new one.
    fn reserve(&mut self, words: usize) -> Result<Option<Place>> {
        if words > CHUNK_WORDS {
            return Ok(None);
        }
        let last = self.chunks.iter_mut().max_by_key(|(_, chunk)| CHUNK_WORDS - chunk.used);
        if let Some((&number, chunk)) = last
            && chunk.used + words <= CHUNK_WORDS
        {
            let at = chunk.used;
            // An index has entries of two words.
            chunk.used += words.next_multiple_of(2);
            return Ok(Some(Place { chunk: number, at }));
        }
        if self.chunks.len() >= self.limit {
            return Ok(None);
        }
        let free = (0..CHUNKS_MAX).find(|number| !self.chunks.contains_key(number));
        let Some(number) = free else { return Ok(None) };
        let chunk = Chunk { map: self.create(number)?, used: 0, files: 0 };
        self.chunks.insert(number, chunk);
        self.reserve(words)
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
        use std::os::fd::{AsFd, AsRawFd};
        let fd = map.as_fd().as_raw_fd() as u32;
        self.outer
            .update(&number.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY)
            .context("cannot add a map for unwind tables")?;
        Ok(map)
    }

    fn write(&mut self, number: u32, runs: &[(usize, Vec<u32>)]) -> Result<()> {
        let Some(chunk) = self.chunks.get_mut(&number) else { return Ok(()) };
        let key = 0u32.to_ne_bytes();
        let mut value = chunk.map.lookup(&key, MapFlags::ANY)?.context("a chunk has no value")?;
        for (at, words) in runs {
            for (slot, word) in value[at * 4..].chunks_exact_mut(4).zip(words) {
                slot.copy_from_slice(&word.to_ne_bytes());
            }
        }
        chunk.files += 1;
        chunk.map.update(&key, &value, MapFlags::ANY).context("cannot write an unwind table")
    }
}

fn rows<'t>(table: &'t Table, page: &Page) -> &'t [u32] {
    &table.rows()[page.first as usize..(page.first + page.count) as usize]
}

/// The rules and then the pages, two words each, as `struct file` says.
fn index(table: &Table, places: &[Place]) -> Vec<u32> {
    let rules = table.rules().iter().flat_map(|rule| {
        let bits = rule.pack();
        [bits as u32, (bits >> 32) as u32]
    });
    let pages = table.pages().iter().zip(places).flat_map(|(page, place)| match page.count {
        0 => [0, 0],
        count => [place.chunk | (place.at as u32) << 16, (count - 1) | 1 << 16],
    });
    rules.chain(pages).collect()
}
