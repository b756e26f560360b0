//! Where the bytes of an image are: in an open file, or in memory for what
//! was decompressed or copied out of a process. Everything is read by
//! position with `pread`, never mapped: a file that somebody truncates in
//! the meantime gives a short read, not a SIGBUS, and what is read does not
//! stay in the resident set.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::{Error, Result};

/// The most that one read may ask for, in bytes, unless it says otherwise.
pub(crate) const MAX_READ: u64 = 64 << 20;

/// A random-access sequence of bytes.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    /// A file, and how long it was when it was opened.
    File(Arc<File>, u64),
    Memory(Arc<[u8]>),
}

impl Bytes {
    /// The bytes of an open file.
    pub(crate) fn of(file: Arc<File>) -> Result<Self> {
        let size = file.metadata().map_err(Error::io("stat"))?.len();
        Ok(Self::File(file, size))
    }

    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end.
    pub(crate) fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::File(file, _) => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
                        Ok(0) => break,
                        Ok(count) => done += count,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(Error::io("read")(error)),
                    }
                }
                Ok(done)
            }
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let count = buffer.len().min(bytes.len() - start);
                buffer[..count].copy_from_slice(&bytes[start..start + count]);
                Ok(count)
            }
        }
    }

    /// Reads what there is of `size` bytes at `offset`.
    pub(crate) fn window(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        if size > MAX_READ {
            return Err(Error::TooLarge(format!("a part of {size} bytes, of at most {MAX_READ}")));
        }
        // A hostile size costs no more memory than the file has bytes.
        let there = self.len().saturating_sub(offset).min(size);
        let mut buffer = vec![0; usize::try_from(there).unwrap_or(0)];
        let count = self.fill(offset, &mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Reads exactly `size` bytes at `offset`.
    pub(crate) fn exact(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        let bytes = self.window(offset, size)?;
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(Error::malformed(format!("{size} bytes at {offset:#x} reach past the end")))
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }
}
