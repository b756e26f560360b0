//! What a process has mapped, from `/proc/PID/maps` (format: proc(5)). The
//! process chooses the names of its files and how many mappings it makes, so
//! both are bounded, and lines that make no sense are counted and passed by.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::{Error, Result};

/// The most mappings kept of one process; the kernel's own default limit.
pub const MAX_MAPPINGS: usize = 65_536;
/// The most text read of one process, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// What stands behind a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file, of a file system or of `memfd_create`.
    File,
    /// The code that the kernel lends to every process.
    Vdso,
    /// The fixed page of old system calls.
    Vsyscall,
    /// Memory without a file: what JIT compilers write code to.
    Anonymous,
    /// What the kernel names otherwise: `[heap]`, `[stack]`, `[uprobes]`.
    Special(&'a str),
}

/// One line of `/proc/PID/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The first address.
    pub start: u64,
    /// The address after the last.
    pub end: u64,
    /// Where in the file `start` is, in bytes.
    pub offset: u64,
    /// Major and minor number of the device, as maps shows it: on some file
    /// systems (btrfs, overlayfs) not what `stat` shows.
    pub device: (u32, u32),
    /// Number of the file on the device, 0 for none.
    pub inode: u64,
    /// Whether code may run there.
    pub executable: bool,
    /// The name, as seen by the process. Empty where there is none.
    pub path: String,
    /// Whether the file has been removed or replaced since.
    pub deleted: bool,
}

impl Mapping {
    /// What stands behind it.
    #[must_use]
    pub fn kind(&self) -> Kind<'_> {
        match self.path.as_str() {
            "[vdso]" => Kind::Vdso,
            "[vsyscall]" => Kind::Vsyscall,
            // prctl(PR_SET_VMA_ANON_NAME), and shared anonymous memory.
            path if path.is_empty() || path.starts_with("[anon") => Kind::Anonymous,
            "//anon" | "/dev/zero" => Kind::Anonymous,
            path if path.starts_with("/SYSV") && self.deleted => Kind::Anonymous,
            path if path.starts_with("/dev/shm/") || path.starts_with("/memfd:") => Kind::File,
            path if path.starts_with("/dev/") => Kind::Special(path),
            path if path.starts_with('/') && self.inode != 0 => Kind::File,
            path => Kind::Special(path),
        }
    }

    /// Whether this is memory that a JIT compiler may have written, so that
    /// the perf map of the process is to be asked first: memory without a
    /// file, and files that exist in memory only (`/memfd:doublemapper` of
    /// .NET).
    #[must_use]
    pub fn may_be_jit(&self) -> bool {
        self.kind() == Kind::Anonymous
            || self.path.starts_with("/memfd:")
            || (self.deleted && self.path.starts_with("/dev/shm/"))
            || self.path == "[heap]"
    }

    /// The position in the file of what is at `address`.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let inside = (self.start..self.end).contains(&address);
        inside.then(|| (address - self.start).wrapping_add(self.offset))
    }
}

/// The mappings of one process, in order of address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// What could be read.
    pub mappings: Vec<Mapping>,
    /// Lines that were not understood.
    pub malformed: u64,
    /// Mappings beyond [`MAX_MAPPINGS`], which were turned away.
    pub refused: u64,
}

impl Maps {
    /// Reads the mappings of `pid`: of executable memory only, which is all
    /// that stacks need and much cheaper, or of all memory.
    ///
    /// # Errors
    /// Where the process is gone or may not be looked into. A process that
    /// has no memory of its own (a kernel thread, a zombie) has no mappings.
    pub fn read(pid: u32, executable_only: bool) -> Result<Self> {
        let path = format!("/proc/{pid}/maps");
        let file = File::open(&path).map_err(Error::io(format!("open {path}")))?;
        Self::from_reader(file, executable_only).map_err(Error::io(format!("read {path}")))
    }

    /// Parses the text of a `maps` file.
    #[must_use]
    pub fn parse(text: &[u8], executable_only: bool) -> Self {
        Self::from_reader(text, executable_only).unwrap_or_default()
    }

    /// The mapping that holds `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start <= address);
        let mapping = self.mappings.get(after.checked_sub(1)?)?;
        (address < mapping.end).then_some(mapping)
    }

    fn from_reader(text: impl Read, executable_only: bool) -> std::io::Result<Self> {
        let mut text = BufReader::with_capacity(64 << 10, text).take(MAX_TEXT);
        let mut maps = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let content = line.strip_suffix(b"\n").unwrap_or(&line);
            match parse_line(content, executable_only) {
                _ if content.is_empty() => {}
                Some(Some(_)) if maps.mappings.len() == MAX_MAPPINGS => maps.refused += 1,
                Some(Some(mapping)) => maps.mappings.push(mapping),
                Some(None) => {}
                None => maps.malformed += 1,
            }
        }
        if !maps.mappings.is_sorted_by_key(|mapping| mapping.start) {
            maps.mappings.sort_by_key(|mapping| mapping.start);
        }
        Ok(maps)
    }
}

/// `None`: malformed. `Some(None)`: not asked for.
#[allow(clippy::option_option, reason = "the two kinds of nothing differ")]
fn parse_line(line: &[u8], executable_only: bool) -> Option<Option<Mapping>> {
    let mut rest = line;
    let mut word = || {
        let start = rest.iter().position(|&byte| byte != b' ')?;
        let end = rest[start..].iter().position(|&byte| byte == b' ');
        let end = end.map_or(rest.len(), |length| start + length);
        let word = std::str::from_utf8(&rest[start..end]).ok();
        rest = &rest[end..];
        word
    };
    let (start, end) = word()?.split_once('-')?;
    let permissions = word()?.as_bytes();
    let executable = *permissions.get(2)? == b'x';
    if executable_only && !executable {
        return Some(None);
    }
    let offset = word()?;
    let (major, minor) = word()?.split_once(':')?;
    let inode = word()?.parse().ok()?;
    let (start, end) = (hex(start)?, hex(end)?);
    if start >= end {
        return None;
    }
    let name = rest.iter().position(|&byte| byte != b' ').map_or(&[][..], |at| &rest[at..]);
    let (path, deleted) = decode(name);
    Some(Some(Mapping {
        start,
        end,
        offset: hex(offset)?,
        device: (u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?),
        inode,
        executable,
        path,
        deleted,
    }))
}

/// A hexadecimal number without sign or prefix.
pub(crate) fn hex(digits: &str) -> Option<u64> {
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, 16).ok() }
}

/// The kernel writes a new line in a name as `\012`, and " (deleted)" after
/// the name of a file that has none any more.
fn decode(name: &[u8]) -> (String, bool) {
    let kept = name.strip_suffix(b" (deleted)");
    let text = String::from_utf8_lossy(kept.unwrap_or(name));
    let text = if text.contains("\\012") { text.replace("\\012", "\n") } else { text.into_owned() };
    (text, kept.is_some())
}
