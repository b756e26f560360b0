//! Where debug information is that was split off a program: in a file found
//! by the build id, or by the name and checksum in `.gnu_debuglink`, in the
//! file system of the process as well as in ours. Rules: GDB manual,
//! "Debugging Information in Separate Files". A file counts only if it is
//! proven to belong to the program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::Bytes;
use crate::elf::Elf;
use crate::{Result, process};

/// Where distributions install debug files.
pub const DEBUG_DIRECTORY: &str = "/usr/lib/debug";
/// The largest file whose checksum is computed, in bytes.
const MAX_CHECKED: u64 = 1 << 30;

/// A separate debug file that belongs to the program it was found for.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) elf: Elf,
    pub(crate) path: String,
    /// Whether it was among those that are installed for all programs, and not beside its own.
    pub(crate) installed: bool,
}

/// Looks for the debug file of the program `elf` at `path`, in
/// `directories` and beside the program; in the root of process `pid` first.
pub(crate) fn find(
    bytes: &Bytes,
    elf: &Elf,
    path: &str,
    pid: Option<u32>,
    directories: &[PathBuf],
) -> Option<Found> {
    let roots = if pid.is_some() { vec![pid, None] } else { vec![None] };
    if let Some(id) = elf.build_id.as_deref().filter(|id| id.len() > 1) {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..]);
        for directory in directories {
            let name = directory.join(&name);
            let found = roots.iter().find_map(|&root| by_build_id(root, &name, id));
            if found.is_some() {
                return found;
            }
        }
    }
    let (name, crc) = elf.debug_link(bytes)?;
    let own = Path::new(path).parent()?;
    let beside = [own.join(&name), own.join(".debug").join(&name)];
    let below = own.strip_prefix("/").unwrap_or(own);
    let installed = directories.iter().map(|directory| directory.join(below).join(&name));
    let places = beside.into_iter().map(|place| (place, false));
    let places = places.chain(installed.map(|place| (place, true)));
    let program = elf.build_id.as_deref();
    places.into_iter().find_map(|(place, installed)| {
        let found = roots.iter().find_map(|&root| by_checksum(root, &place, crc, program))?;
        Some(Found { installed, ..found })
    })
}

fn by_build_id(root: Option<u32>, path: &Path, id: &[u8]) -> Option<Found> {
    let found = parse(root, path).ok()?;
    (found.elf.build_id.as_deref() == Some(id)).then_some(found)
}

/// Where both files have a build id, that is proof, and cheaper than to read
/// all of the debug file.
fn by_checksum(root: Option<u32>, path: &Path, crc: u32, id: Option<&[u8]>) -> Option<Found> {
    let found = parse(root, path).ok()?;
    let same = match (id, found.elf.build_id.as_deref()) {
        (Some(wanted), Some(id)) => wanted == id,
        _ => checksum(&found.bytes).ok()? == crc,
    };
    same.then_some(found)
}

fn parse(root: Option<u32>, path: &Path) -> Result<Found> {
    let file: File = process::open(root, path)?;
    let bytes = Bytes::of(Arc::new(file))?;
    let elf = Elf::parse(&bytes)?;
    Ok(Found { bytes, elf, path: path.display().to_string(), installed: true })
}

/// The CRC-32 of the whole file (that of zlib).
fn checksum(bytes: &Bytes) -> Result<u32> {
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    while offset < MAX_CHECKED {
        let count = bytes.fill(offset, &mut buffer)?;
        if count == 0 {
            break;
        }
        crc.update(&buffer[..count]);
        offset += count as u64;
    }
    Ok(crc.sum())
}
