//! Which functions of an ELF file allocate, and where they are to be probed so that each
//! allocation is seen once.
//!
//! Allocators call themselves: `calloc` of musl calls `malloc`, `operator new` of libstdc++ does,
//! `realloc` of glibc does for a null pointer. So a function that goes to another one that is probed
//! is not probed itself, but for `realloc`, which also frees.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
};

use anyhow::{Context, Result, bail};
use object::{
    LittleEndian as LE, Object, ObjectSegment, ObjectSymbol, ReadCache, ReadRef, elf,
    read::elf::{ElfFile64, ProgramHeader},
};

use super::{
    functions::Function,
    place::{self, BODY_MAX, Place},
};

/// Symbols of one file that are looked at.
const SYMBOLS_MAX: usize = 8 << 20;
/// Functions of one file that are probed.
const PROBES_MAX: usize = 128;
/// Entries of a relocation table that are looked at.
const RELOCATIONS_MAX: usize = 1 << 20;

/// A probe to be set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// What it is at.
    pub function: Function,
    /// The name that it was found by.
    pub name: String,
    /// Where in the file, bytes.
    pub offset: u64,
    /// Whether the kernel emulates what is there.
    pub emulated: bool,
    /// Whether a realloc of nothing goes to a malloc that is probed itself.
    pub calls_malloc: bool,
}

impl Probe {
    /// What its program is told: the function, and a bit for `calls_malloc`
    /// (COOKIE_CALLS_MALLOC in `bpf/heap.bpf.c`).
    pub fn cookie(&self) -> u64 {
        self.function as u64 | u64::from(self.calls_malloc) << 8
    }
}

/// A function by its address.
struct Found {
    function: Function,
    name: String,
    size: u64,
}

type Elf<'d> = ElfFile64<'d, LE, &'d ReadCache<File>>;

/// The probes for the allocator that is in a file; none if there is none. `prefixes` are those of
/// allocators that rprof does not know.
///
/// # Errors
/// It is no ELF file of x86_64, or damaged.
pub fn find(file: File, prefixes: &[String]) -> Result<Vec<Probe>> {
    let cache = ReadCache::new(file);
    let elf = Elf::parse(&cache).context("not an ELF file, or damaged")?;
    if elf.elf_header().e_machine.get(LE) != elf::EM_X86_64 {
        bail!("code for another machine");
    }
    let functions = functions(&elf, prefixes);
    let slots = slots(&elf, &functions);
    let mut probes = Vec::new();
    for (&address, found) in functions.iter().take(PROBES_MAX) {
        let Some((at, code)) = code(&elf, address, found.size) else { continue };
        let inner = goes_to(&elf, &code, address, &functions, &slots);
        let realloc = found.function == Function::Realloc;
        if inner.is_some_and(|inner| repeats(found.function, inner)) && !realloc {
            continue;
        }
        let Place { offset, emulated } = place::choose(&code, address);
        probes.push(Probe {
            function: found.function,
            name: found.name.clone(),
            offset: at + offset,
            emulated,
            calls_malloc: realloc && inner == Some(Function::Malloc),
        });
    }
    Ok(probes)
}

/// True if who probes `inner` sees all that a probe of `outer` would see.
fn repeats(outer: Function, inner: Function) -> bool {
    outer.frees() == inner.frees() && !inner.is_mapping()
}

/// The functions of an allocator, by address. Operators of C++ and wrappers of system calls only
/// where there is a malloc too: elsewhere they lead to another file's.
fn functions(elf: &Elf<'_>, prefixes: &[String]) -> BTreeMap<u64, Found> {
    let mut found = BTreeMap::new();
    for symbol in elf.symbols().chain(elf.dynamic_symbols()).take(SYMBOLS_MAX) {
        let is_function = symbol.kind() == object::SymbolKind::Text;
        if !is_function || !symbol.is_definition() || symbol.address() == 0 {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        let name = name.split('@').next().unwrap_or_default();
        if let Some(function) = Function::of(name, prefixes) {
            found.entry(symbol.address()).or_insert_with(|| Found {
                function,
                name: name.to_owned(),
                size: symbol.size(),
            });
        }
    }
    let is_library = elf.dynamic_symbol_table().is_some() && has_soname(elf);
    let allocates = |found: &Found| found.function == Function::Malloc && !is_operator(found);
    if !found.values().any(allocates) {
        found.retain(|_, found| found.function.is_mapping());
    }
    // In a program that is linked statically, they are the allocator's own as well.
    found.retain(|_, found| is_library || !found.function.is_mapping());
    found
}

fn is_operator(found: &Found) -> bool {
    found.name.starts_with("_Z")
}

/// True for libraries: glibc's can be started like a program, so nothing else tells.
fn has_soname(elf: &Elf<'_>) -> bool {
    let segments = elf.elf_program_headers();
    let dynamic = segments.iter().find_map(|segment| segment.dynamic(LE, elf.data()).ok()?);
    let entries = dynamic.unwrap_or_default().iter().take(RELOCATIONS_MAX);
    entries.into_iter().any(|entry| entry.d_tag.get(LE) == elf::DT_SONAME)
}

/// The words of the global offset table that hold the address of a function of `functions`, as
/// relocations say: a library calls its own functions through them.
fn slots(elf: &Elf<'_>, functions: &BTreeMap<u64, Found>) -> HashMap<u64, Function> {
    let mut slots = HashMap::new();
    let Some(relocations) = elf.dynamic_relocations() else { return slots };
    let Some(symbols) = elf.dynamic_symbol_table() else { return slots };
    for (slot, relocation) in relocations.take(RELOCATIONS_MAX) {
        let object::RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = object::ObjectSymbolTable::symbol_by_index(&symbols, index);
        let address = symbol.map_or(0, |symbol| symbol.address());
        if let Some(found) = functions.get(&address) {
            slots.insert(slot, found.function);
        }
    }
    slots
}

/// The code of a function, and where it is in the file.
fn code(elf: &Elf<'_>, address: u64, size: u64) -> Option<(u64, Vec<u8>)> {
    let segment = elf.segments().find(|segment| {
        let there = segment.address()..segment.address().saturating_add(segment.file_range().1);
        there.contains(&address)
    })?;
    let (start, length) = segment.file_range();
    let into = address - segment.address();
    // One whose symbol gives no size is taken for a short one.
    let size = if size == 0 { 64 } else { size };
    let size = size.min(length - into).min(BODY_MAX as u64);
    let code = elf.data().read_bytes_at(start + into, size).ok()?;
    Some((start + into, code.to_vec()))
}

/// The function of `functions` that this code jumps to or calls, if there is one.
fn goes_to(
    elf: &Elf<'_>,
    body: &[u8],
    address: u64,
    functions: &BTreeMap<u64, Found>,
    slots: &HashMap<u64, Function>,
) -> Option<Function> {
    let inside = address..address + body.len() as u64;
    let outward = place::targets(body, address).filter(|target| !inside.contains(target));
    outward.into_iter().find_map(|target| {
        if let Some(found) = functions.get(&target) {
            return Some(found.function);
        }
        if slots.is_empty() {
            return None;
        }
        let (_, stub) = code(elf, target, 16)?;
        slots.get(&place::jumps_through(&stub, target)?).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library that this very test runs with.
    fn libc() -> File {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("/libc.so")).unwrap();
        File::open(line.split_whitespace().last().unwrap()).unwrap()
    }

    #[test]
    fn all_of_libc_is_found_once() {
        let probes = find(libc(), &[]).unwrap();
        let named = |name: &str| probes.iter().find(|probe| probe.name == name);
        for name in ["malloc", "calloc", "realloc", "free", "munmap"] {
            let aliases = probes.iter().filter(|probe| probe.name.ends_with(name));
            assert!(aliases.count() > 0, "{name} of {probes:#?}");
        }
        // It ends in a jump to realloc.
        assert_eq!(named("reallocarray"), None, "{probes:#?}");
        let mut offsets: Vec<u64> = probes.iter().map(|probe| probe.offset).collect();
        offsets.dedup();
        assert_eq!(offsets.len(), probes.len(), "{probes:#?}");
    }

    #[test]
    fn what_is_no_elf_file_is_an_error() {
        assert!(find(File::open("/proc/self/status").unwrap(), &[]).is_err());
    }
}
