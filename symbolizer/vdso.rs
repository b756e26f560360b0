//! Names in the vdso, the small library that the kernel lends to every
//! process. It has no file; all processes of one architecture share one, so
//! it is copied out of this process through `/proc/self/mem`.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use crate::bytes::Bytes;
use crate::elf::Elf;
use crate::maps::{Kind, Maps};
use crate::{Result, Symbol, Symbols, table};

/// The largest vdso believed, in bytes; they have two to four pages.
const MAX_SIZE: u64 = 1 << 20;

/// The names of `offsets`, in bytes from the start of the mapping. All empty
/// where this process has no vdso.
#[must_use]
pub fn symbolize(offsets: &[u64]) -> Vec<Symbols> {
    static IMAGE: OnceLock<Option<(Bytes, Elf)>> = OnceLock::new();
    let Some((bytes, elf)) = IMAGE.get_or_init(|| read().ok().flatten()) else {
        return vec![Symbols::new(); offsets.len()];
    };
    let mut order: Vec<(u64, usize)> = Vec::with_capacity(offsets.len());
    for (at, &offset) in offsets.iter().enumerate() {
        order.push((elf.address(offset).unwrap_or(u64::MAX), at));
    }
    order.sort_unstable();
    let addresses: Vec<u64> = order.iter().map(|&(address, _)| address).collect();
    let mut found = vec![Symbols::new(); offsets.len()];
    let tables = [".symtab", ".dynsym"].into_iter().filter_map(|name| elf.section(name));
    if let Some(section) = tables.into_iter().next() {
        let names = table::lookup(bytes, elf, section, &addresses);
        for ((_, at), name) in order.into_iter().zip(names) {
            found[at].extend(name.map(|name| Symbol::named(&name)));
        }
    }
    found
}

fn read() -> Result<Option<(Bytes, Elf)>> {
    let Some(image) = image()? else { return Ok(None) };
    let bytes = Bytes::Memory(image.into());
    let elf = Elf::parse(&bytes)?;
    Ok(Some((bytes, elf)))
}

/// The whole of it, which is an ELF file. None where this process has no vdso.
///
/// # Errors
/// Where this process may not read its own memory.
pub fn image() -> Result<Option<Vec<u8>>> {
    let maps = Maps::read(std::process::id(), true)?;
    let Some(vdso) = maps.mappings.iter().find(|mapping| mapping.kind() == Kind::Vdso) else {
        return Ok(None);
    };
    let path = "/proc/self/mem";
    let memory = File::open(path).map_err(crate::Error::io(format!("open {path}")))?;
    let size = (vdso.end - vdso.start).min(MAX_SIZE);
    // Positions in this file are addresses; its length says nothing.
    let mut image = vec![0; usize::try_from(size).unwrap_or(0)];
    let count = Bytes::of(Arc::new(memory))?.fill(vdso.start, &mut image)?;
    image.truncate(count);
    Ok(Some(image))
}
