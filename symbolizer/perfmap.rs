//! Names of code made at run time, from `/tmp/perf-PID.map`: a line for each
//! function, `START SIZE NAME`, hexadecimal (format: linux
//! `tools/perf/Documentation/jit-interface.txt`). Node, .NET, OpenJDK agents
//! and others write it, adding lines while they run, so that a later line
//! wins over an earlier one. Anybody may write it: it is bounded, and what
//! makes no sense is counted.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::maps::hex;
use crate::process;
use crate::{Error, Result};

/// The most bytes read of a perf map; lines beyond are as if not there.
pub const MAX_SIZE: u64 = 256 << 20;
/// The longest name kept, in bytes; the rest of a longer one is cut.
const MAX_NAME: usize = 1024;
/// The longest line read at once; the rest of a longer one is passed by.
const MAX_LINE: u64 = 8192;

/// An open perf map, readable after its process and its name are gone.
///
/// Nothing of it is kept in memory: each batch of addresses streams through
/// the file once, at several hundred MB/s.
#[derive(Debug)]
pub struct PerfMap {
    file: File,
    malformed: AtomicU64,
}

impl PerfMap {
    /// Opens the perf map of `pid`, in its own `/tmp` and under the number
    /// that it has in its own pid namespace.
    ///
    /// # Errors
    /// Where there is none, which is the usual case, or it is no plain file.
    pub fn open(pid: u32) -> Result<Self> {
        let name = format!("/tmp/perf-{}.map", process::inner_pid(pid)?);
        Ok(Self::new(process::open(Some(pid), Path::new(&name))?))
    }

    /// The perf map in `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, malformed: AtomicU64::new(0) }
    }

    /// Lines that the last batch met and did not understand.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// The names of `addresses`, in their order.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn symbolize(&self, addresses: &[u64]) -> Result<Vec<Option<String>>> {
        let failed = |error| Error::io("read a perf map")(error);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let text = BufReader::with_capacity(64 << 10, file.take(MAX_SIZE));
        let (names, malformed) = scan(text, addresses).map_err(failed)?;
        self.malformed.store(malformed, Ordering::Relaxed);
        Ok(names)
    }
}

/// The names of `addresses` in the perf map `text`, and the number of lines
/// that were not understood.
///
/// # Errors
/// Those of `text`.
pub fn scan(
    mut text: impl BufRead,
    addresses: &[u64],
) -> std::io::Result<(Vec<Option<String>>, u64)> {
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_unstable_by_key(|&at| addresses[at]);
    let sorted: Vec<u64> = order.iter().map(|&at| addresses[at]).collect();
    let mut found: Vec<Option<String>> = vec![None; addresses.len()];
    let mut malformed = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut text).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let cut = line.len() as u64 == MAX_LINE && !line.ends_with(b"\n");
        match parse_line(&line) {
            Some((start, size, name)) => {
                let first = sorted.partition_point(|&address| address < start);
                let inside = |at: &usize| sorted[*at] - start < size;
                for at in (first..sorted.len()).take_while(inside) {
                    let name = &name[..name.len().min(MAX_NAME)];
                    found[order[at]] = Some(String::from_utf8_lossy(name).into_owned());
                }
            }
            None => malformed += u64::from(!line.trim_ascii().is_empty()),
        }
        if cut {
            text.skip_until(b'\n')?;
        }
    }
    Ok((found, malformed))
}

/// Start, size in bytes, and name.
fn parse_line(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    let line = line.trim_ascii();
    let (start, rest) = word(line)?;
    let (size, rest) = word(rest.trim_ascii_start())?;
    let name = rest.trim_ascii_start();
    (size > 0 && !name.is_empty()).then_some((start, size, name))
}

fn word(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|&byte| byte == b' ')?;
    let digits = std::str::from_utf8(&text[..end]).ok()?;
    let number = hex(digits.strip_prefix("0x").unwrap_or(digits))?;
    Some((number, &text[end..]))
}
