//! Where in the chunks each table goes, and the words that go there: arithmetic only, so that a test
//! lays tables out as the kernel has them, without one.
//!
//! Space within a chunk is handed out upwards and never taken back by itself: files come in the
//! order in which programs start, so those that go together mostly came together.

use std::collections::BTreeMap;

use super::{Page, Table};
use crate::bpf;

/// Words of 4 bytes in a chunk (CHUNK_WORDS in `bpf/tables.bpf.h`).
const CHUNK_WORDS: usize = 64 << 10;
/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: u64 = CHUNK_WORDS as u64 * 4;
/// Slots of `unwind_chunks`.
const CHUNKS_MAX: u32 = 1024;

/// How full each chunk is.
pub struct Layout {
    chunks: BTreeMap<u32, Chunk>,
    /// The most there may be at a time.
    limit: usize,
}

#[derive(Clone, Copy, Default)]
struct Chunk {
    used: usize,
    files: u32,
}

/// Words from the given one of a chunk on.
pub type Runs = Vec<(usize, Vec<u32>)>;

/// Where a table is to go.
pub struct Placed {
    /// What `unwind_files` is to say of it.
    pub file: bpf::file,
    /// What to write into each chunk.
    pub writes: BTreeMap<u32, Runs>,
}

/// A run of words in a chunk.
#[derive(Clone, Copy)]
struct Place {
    chunk: u32,
    at: usize,
}

impl Layout {
    /// Empty, for chunks of `budget` bytes in all.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        let limit = (budget / CHUNK_BYTES).clamp(1, CHUNKS_MAX.into()) as usize;
        Self { chunks: BTreeMap::new(), limit }
    }

    /// True if there is room for `table` once all others are gone.
    #[must_use]
    pub fn could_hold(&self, table: &Table) -> bool {
        Self { chunks: BTreeMap::new(), limit: self.limit }.place(table).is_some()
    }

    /// Makes room for a table. None if there is none left, and then nothing changes.
    pub fn place(&mut self, table: &Table) -> Option<Placed> {
        let mut draft = Self { chunks: self.chunks.clone(), limit: self.limit };
        let placed = draft.draw(table)?;
        for number in placed.writes.keys() {
            draft.chunks.entry(*number).or_default().files += 1;
        }
        *self = draft;
        Some(placed)
    }

    /// Gives back what a table took in `chunks`; gives those of them that are empty now.
    pub fn remove(&mut self, chunks: &[u32]) -> Vec<u32> {
        let mut empty = Vec::new();
        for number in chunks {
            let Some(chunk) = self.chunks.get_mut(number) else { continue };
            chunk.files -= 1;
            if chunk.files == 0 {
                self.chunks.remove(number);
                empty.push(*number);
            }
        }
        empty
    }

    fn draw(&mut self, table: &Table) -> Option<Placed> {
        let mut writes: BTreeMap<u32, Runs> = BTreeMap::new();
        let mut write = |place: Place, words: Vec<u32>| {
            if !words.is_empty() {
                writes.entry(place.chunk).or_default().push((place.at, words));
            }
        };
        let mut places = Vec::with_capacity(table.pages().len());
        for page in table.pages() {
            let rows = rows(table, page);
            let place = self.reserve(rows.len())?;
            places.push(place);
            write(place, rows.to_vec());
        }
        let index = index(table, &places);
        let place = self.reserve(index.len())?;
        write(place, index);
        let file = bpf::file {
            first_page: table.first_page(),
            pages: table.pages().len() as u32,
            chunk: place.chunk,
            rules_at: place.at as u32,
            pages_at: (place.at + 2 * table.rules().len()) as u32,
        };
        Some(Placed { file, writes })
    }

    /// Room for `words` in one chunk, the emptiest or a new one.
    fn reserve(&mut self, words: usize) -> Option<Place> {
        if words > CHUNK_WORDS {
            return None;
        }
        let emptiest = self.chunks.iter_mut().min_by_key(|(_, chunk)| chunk.used);
        if let Some((&number, chunk)) = emptiest
            && chunk.used + words <= CHUNK_WORDS
        {
            let at = chunk.used;
            // An index has entries of two words.
            chunk.used += words.next_multiple_of(2);
            return Some(Place { chunk: number, at });
        }
        if self.chunks.len() >= self.limit {
            return None;
        }
        let number = (0..CHUNKS_MAX).find(|number| !self.chunks.contains_key(number))?;
        self.chunks.insert(number, Chunk::default());
        self.reserve(words)
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

#[cfg(test)]
mod tests {
    use super::super::{Facts, Rule};
    use super::*;

    /// A table of `pages` pages, with one row in each.
    fn table(pages: u32) -> Table {
        Table {
            first_page: 0,
            pages: (0..pages).map(|first| Page { first, count: 1 }).collect(),
            rows: vec![0; pages as usize],
            rules: vec![Rule::NONE],
            facts: Facts::default(),
        }
    }

    #[test]
    fn what_finds_no_room_takes_none() {
        let mut layout = Layout::new(2 * CHUNK_BYTES);
        let small = table(1000);
        let mut stored = Vec::new();
        while let Some(placed) = layout.place(&small) {
            stored.push(placed.writes.into_keys().collect::<Vec<_>>());
        }
        assert!(stored.len() >= 2 * CHUNK_WORDS / 4100, "{}", stored.len());
        // Asking in vain, as for each file that comes when memory is full, uses nothing up.
        let room = |layout: &Layout| layout.chunks.values().map(|c| c.used).sum::<usize>();
        let before = room(&layout);
        assert!((0..1000).all(|_| layout.place(&small).is_none() && layout.could_hold(&small)));
        assert_eq!(room(&layout), before);
        let empty: Vec<u32> = stored.iter().flat_map(|chunks| layout.remove(chunks)).collect();
        assert_eq!(empty.len(), 2);
        assert!(layout.place(&small).is_some());
    }

    #[test]
    fn what_never_fits_is_known_before() {
        let layout = Layout::new(1 << 30);
        assert!(layout.could_hold(&table(32_767)));
        assert!(!layout.could_hold(&table(32_768)));
        assert!(!Layout::new(0).could_hold(&table(30_000)));
    }
}
