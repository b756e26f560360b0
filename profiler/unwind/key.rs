//! The name of a file's contents: two files with the same key have the same unwind table.

use std::fmt;

use object::elf;

use super::error::Error;
use super::hash::Hash;
use super::image::{Image, ReadAt};

/// The longest build id that is kept whole; SHA-1 has 20 bytes, SHA-512 64.
const MAX_BUILD_ID: usize = 64;
/// What is hashed of each end of a file without a build id, in bytes.
const END: u64 = 4096;

/// Identifies the contents of an executable file, whatever its path, inode or time.
///
/// `build_id` alone would not do: prelink and patchelf move addresses and leave the build id
/// alone, and anyone can give a file the build id of libc. So the layout that the table depends
/// on is hashed too: file size, program headers, place of the unwind sections. That costs no
/// further read. A file without a build id has its first and last 4 KiB and its unwind section
/// hashed as well, at several bytes a nanosecond.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The GNU build id, or nothing.
    pub build_id: Vec<u8>,
    /// A hash of the layout, and of the contents where there is no build id.
    pub hash: u64,
}

impl fmt::Display for Key {
    /// Hexadecimal, fit for a file name: `BUILD_ID-HASH`, or `-HASH`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.build_id {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "-{:016x}", self.hash)
    }
}

impl<F: ReadAt + ?Sized> Image<'_, F> {
    /// The key of the file's contents.
    ///
    /// # Errors
    /// The file has no build id and cannot be read.
    pub fn key(&self) -> Result<Key, Error> {
        let mut hash = Hash::new();
        hash.number(self.size());
        hash.bytes(self.program_bytes());
        let section = self.section(".eh_frame");
        let section = section.or_else(|| self.section(".debug_frame"));
        let section = section.or_else(|| self.program(elf::PT_GNU_EH_FRAME));
        if let Some(section) = section {
            hash.number(section.address);
            hash.number(section.offset);
            hash.number(section.size);
        }
        let mut build_id = self.build_id().unwrap_or_default();
        build_id.truncate(MAX_BUILD_ID);
        if build_id.is_empty() {
            let end = END.min(self.size());
            hash.bytes(&self.bytes(0, end)?);
            hash.bytes(&self.bytes(self.size() - end, end)?);
            if let Some(section) = section {
                hash.bytes(&self.bytes(section.offset, section.size)?);
            }
        }
        Ok(Key { build_id, hash: hash.finish() })
    }
}
