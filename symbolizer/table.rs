//! Names from a symbol table, without loading it. The table is streamed once
//! past the sorted addresses of a batch: nothing is sorted, kept or copied,
//! so that a batch costs about a millisecond for 100,000 symbols, and no
//! memory. (Building a sorted index first costs thirty times that, and the
//! next batch has other addresses.)

use object::LittleEndian;
use object::elf;
use object::pod;
use object::read::elf::Sym;

use crate::bytes::Bytes;
use crate::elf::{Elf, Section};

/// The most symbols read from one table; the rest is as if it were not there.
const MAX_SYMBOLS: u64 = 8 << 20;
/// How often a symbol may be compared with an address before the table is
/// taken for one that was built to be slow.
const MAX_STEPS: u64 = 32 << 20;
/// The longest name read, in bytes.
const MAX_NAME: u64 = 32 << 10;
/// Bytes of the table in memory at a time; a multiple of both symbol sizes.
const CHUNK: u64 = 48 << 10;
/// Aliases of one function among which the best name is chosen.
const MAX_ALIASES: usize = 8;

/// A symbol that covers an address.
#[derive(Debug, Clone)]
struct Candidate {
    start: u64,
    /// Offsets of the names of all symbols that start here, with the rank of
    /// their binding: the lower the better.
    names: Vec<(u8, u32)>,
}

/// Which addresses there are, by pages, to pass most symbols by quickly.
struct Filter {
    first: u64,
    shift: u32,
    bits: Vec<u64>,
}

impl Filter {
    fn new(addresses: &[u64]) -> Self {
        let first = addresses.first().copied().unwrap_or(0);
        let span = addresses.last().map_or(0, |last| last - first);
        let mut shift = 8;
        while span >> shift >= 1 << 17 {
            shift += 1;
        }
        let mut bits = vec![0u64; usize::try_from((span >> shift) / 64 + 1).unwrap_or(1)];
        for address in addresses {
            let bit = (address - first) >> shift;
            bits[usize::try_from(bit / 64).unwrap_or(0)] |= 1 << (bit % 64);
        }
        Self { first, shift, bits }
    }

    /// Whether an address might lie in `start..end`.
    fn may_hold(&self, start: u64, end: u64) -> bool {
        if end <= self.first {
            return false;
        }
        let from = start.saturating_sub(self.first) >> self.shift;
        let to = (end - 1 - self.first) >> self.shift;
        if to - from > 16 {
            return true;
        }
        (from..=to).any(|bit| {
            let word = usize::try_from(bit / 64).unwrap_or(usize::MAX);
            self.bits.get(word).is_some_and(|word| word & (1 << (bit % 64)) != 0)
        })
    }
}

/// The names of `addresses` (sorted, virtual addresses of the file) in the
/// symbol table `table`. A symbol covers `size` bytes; one without a size
/// covers all up to the next symbol of its section, in `.symtab`. In
/// `.dynsym`, which names few of the functions there are, it covers one byte.
pub(crate) fn lookup(
    bytes: &Bytes,
    elf: &Elf,
    table: &Section,
    addresses: &[u64],
) -> Vec<Option<String>> {
    let mut found = vec![None; addresses.len()];
    let without_size = scan_sized(bytes, elf, table, addresses, &mut found);
    let open = |at: usize| found[at].is_none() && without_size.may_cover(elf, addresses[at]);
    let rest: Vec<usize> = (0..addresses.len()).filter(|&at| open(at)).collect();
    if !rest.is_empty() {
        let left: Vec<u64> = rest.iter().map(|&at| addresses[at]).collect();
        let unsized_found = scan_unsized(bytes, elf, table, &left);
        for (at, candidate) in rest.into_iter().zip(unsized_found) {
            found[at] = candidate;
        }
    }
    let Some(strings) = elf.sections.get(table.link as usize) else {
        return vec![None; addresses.len()];
    };
    let mut last: Option<(u64, Option<String>)> = None;
    found
        .into_iter()
        .map(|candidate| {
            let candidate = candidate?;
            // Neighbours in the sorted batch are often in the same function.
            if let Some((start, name)) = &last
                && *start == candidate.start
            {
                return name.clone();
            }
            let name = best_name(bytes, strings, &candidate);
            last = Some((candidate.start, name.clone()));
            name
        })
        .collect()
}

/// What of a symbol matters here.
struct Symbol {
    start: u64,
    size: u64,
    section: u16,
    name: u32,
    rank: u8,
}

fn each(bytes: &Bytes, elf: &Elf, table: &Section, mut visit: impl FnMut(Symbol) -> bool) {
    let code: Vec<bool> = elf.sections.iter().map(Section::is_code).collect();
    let step = if elf.wide { 24 } else { 16 };
    let total = (table.stored() / step).min(MAX_SYMBOLS) * step;
    let mut buffer = vec![0; CHUNK as usize];
    let mut offset = 0;
    while offset < total {
        let want = usize::try_from(CHUNK.min(total - offset)).unwrap_or(0);
        let Some(at) = table.offset.checked_add(offset) else { return };
        let Ok(count) = bytes.fill(at, &mut buffer[..want]) else { return };
        for entry in buffer[..count].chunks_exact(usize::try_from(step).unwrap_or(24)) {
            let symbol = if elf.wide {
                symbol::<elf::Sym64<LittleEndian>>(entry, &code, elf.machine)
            } else {
                symbol::<elf::Sym32<LittleEndian>>(entry, &code, elf.machine)
            };
            if let Some(symbol) = symbol
                && !visit(symbol)
            {
                return;
            }
        }
        if count < want {
            return;
        }
        offset += CHUNK;
    }
}

#[inline]
fn symbol<S: Sym<Endian = LittleEndian>>(
    entry: &[u8],
    code: &[bool],
    machine: elf::Machine,
) -> Option<Symbol> {
    let (entry, _) = pod::from_bytes::<S>(entry).ok()?;
    let order = LittleEndian;
    let section = entry.st_shndx(order).0;
    // Sections past the range of the field (SHN_XINDEX) are in no file that
    // is run.
    if !code.get(usize::from(section)).copied().unwrap_or(false) {
        return None;
    }
    let size: u64 = entry.st_size(order).into();
    let function = match entry.st_type() {
        elf::STT_FUNC | elf::STT_GNU_IFUNC => true,
        // `$x` and `$d` mark code and data for disassemblers of ARM, and the
        // local hidden ones are notes of a compiler (`.annobin_x.start`).
        elf::STT_NOTYPE => {
            let marks = matches!(machine, elf::EM_AARCH64 | elf::EM_ARM | elf::EM_RISCV);
            let note =
                entry.st_bind() == elf::STB_LOCAL && entry.st_visibility() == elf::STV_HIDDEN;
            if size == 0 && (marks || note) {
                return None;
            }
            false
        }
        _ => return None,
    };
    let binding = match entry.st_bind() {
        elf::STB_GLOBAL => 0,
        elf::STB_WEAK => 1,
        _ => 2,
    };
    let mut start: u64 = entry.st_value(order).into();
    if machine == elf::EM_ARM {
        start &= !1; // marks Thumb code
    }
    let rank = binding + if function { 0 } else { 4 };
    Some(Symbol { start, size, section, name: entry.st_name(order), rank })
}

/// Where the first symbol without a size starts in each section.
struct WithoutSize(Vec<u64>);

impl WithoutSize {
    /// Whether one of them might name `address`. Few do, so that the table is
    /// seldom read a second time.
    fn may_cover(&self, elf: &Elf, address: u64) -> bool {
        let mut sections = self.0.iter().zip(&elf.sections);
        sections.any(|(&first, section)| {
            first <= address && address.wrapping_sub(section.address) < section.size
        })
    }
}

fn scan_sized(
    bytes: &Bytes,
    elf: &Elf,
    table: &Section,
    addresses: &[u64],
    found: &mut [Option<Candidate>],
) -> WithoutSize {
    let filter = Filter::new(addresses);
    let mut steps = 0;
    let mut without_size = WithoutSize(vec![u64::MAX; elf.sections.len()]);
    each(bytes, elf, table, |symbol| {
        if symbol.size == 0 {
            if let Some(first) = without_size.0.get_mut(usize::from(symbol.section)) {
                *first = symbol.start.min(*first);
            }
            return true;
        }
        let end = symbol.start.saturating_add(symbol.size);
        if !filter.may_hold(symbol.start, end) {
            return true;
        }
        let first = addresses.partition_point(|&address| address < symbol.start);
        for at in first..addresses.len() {
            if addresses[at] >= end {
                break;
            }
            steps += 1;
            offer(&mut found[at], &symbol);
        }
        steps < MAX_STEPS
    });
    without_size
}

/// Of the symbols that cover an address, the one that starts last is the
/// innermost; of those that start there too, all names are kept.
fn offer(place: &mut Option<Candidate>, symbol: &Symbol) {
    match place {
        Some(known) if known.start > symbol.start => {}
        Some(known) if known.start == symbol.start => {
            if known.names.len() < MAX_ALIASES {
                known.names.push((symbol.rank, symbol.name));
            }
        }
        _ => {
            let names = vec![(symbol.rank, symbol.name)];
            *place = Some(Candidate { start: symbol.start, names });
        }
    }
}

/// For addresses in no sized symbol: the nearest symbol at or before each,
/// where that one has no size and is of the same section.
fn scan_unsized(
    bytes: &Bytes,
    elf: &Elf,
    table: &Section,
    addresses: &[u64],
) -> Vec<Option<Candidate>> {
    let dynamic = table.kind == elf::SHT_DYNSYM;
    let mut nearest: Vec<Option<(Candidate, u64, u16)>> = vec![None; addresses.len()];
    each(bytes, elf, table, |symbol| {
        let at = addresses.partition_point(|&address| address < symbol.start);
        let Some(place) = nearest.get_mut(at) else { return true };
        match place {
            Some((known, size, _)) if known.start == symbol.start => {
                *size = (*size).max(symbol.size);
                if known.names.len() < MAX_ALIASES {
                    known.names.push((symbol.rank, symbol.name));
                }
            }
            Some((known, ..)) if known.start > symbol.start => {}
            _ => {
                let names = vec![(symbol.rank, symbol.name)];
                let candidate = Candidate { start: symbol.start, names };
                *place = Some((candidate, symbol.size, symbol.section));
            }
        }
        true
    });
    let mut last = None;
    addresses
        .iter()
        .zip(nearest)
        .map(|(&address, place)| {
            if place.is_some() {
                last = place;
            }
            let (candidate, size, section) = last.as_ref()?;
            let section = elf.sections.get(usize::from(*section))?;
            let inside = address.checked_sub(section.address)? < section.size;
            let near = !dynamic || address == candidate.start;
            (*size == 0 && inside && near).then(|| candidate.clone())
        })
        .collect()
}

/// The name to show of a function with several: the one with the fewest
/// underscores in front (`read`, not `__libc_read`), then of the strongest
/// binding, then the longest.
fn best_name(bytes: &Bytes, strings: &Section, candidate: &Candidate) -> Option<String> {
    candidate
        .names
        .iter()
        .filter_map(|&(rank, offset)| Some((rank, read_name(bytes, strings, offset)?)))
        .min_by_key(|(rank, name)| {
            let underscores = name.len() - name.trim_start_matches('_').len();
            let mangled = crate::demangle::is_mangled(name);
            (rank / 4, if mangled { 0 } else { underscores }, *rank, usize::MAX - name.len())
        })
        .map(|(_, name)| name)
}

pub(crate) fn read_name(bytes: &Bytes, strings: &Section, offset: u32) -> Option<String> {
    let left = strings.stored().checked_sub(u64::from(offset))?;
    let at = strings.offset.checked_add(u64::from(offset))?;
    let mut size = 128;
    loop {
        let window = bytes.window(at, left.min(size)).ok()?;
        let ended = window.contains(&0);
        if ended || size >= MAX_NAME || size >= left {
            let mut name = crate::elf::text(&window, MAX_NAME as usize);
            // `name@VERSION` and `name@@VERSION` of versioned symbols.
            if let Some(at) = name.find('@').filter(|&at| at > 0) {
                name.truncate(at);
            }
            return (!name.is_empty()).then_some(name);
        }
        size *= 8;
    }
}
