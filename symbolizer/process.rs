//! Doors into another process: its file system as it sees it, and the number
//! that it has in its own pid namespace. Its root may be a container that
//! belongs to somebody hostile, so links in it are followed within it only,
//! and nothing is opened that could block or has side effects.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::{Error, Result};

/// Opens the regular file `path` as `pid` sees it; `None` for the file system
/// of this process.
pub(crate) fn open(pid: Option<u32>, path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let name = || match pid {
        Some(pid) => format!("open {} in the root of process {pid}", path.display()),
        None => format!("open {}", path.display()),
    };
    let opened = match pid {
        None => openat(CWD, path, flags, Mode::empty()),
        Some(pid) => {
            let root = format!("/proc/{pid}/root");
            let root = openat(CWD, &root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| Error::io(name())(error.into()))?;
            openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        }
    };
    let file = File::from(opened.map_err(|error| Error::io(name())(error.into()))?);
    regular(file, name)
}

/// Refuses what is no regular file: a pipe could block, a device could act.
fn regular(file: File, name: impl Fn() -> String) -> Result<File> {
    let kind = file.metadata().map_err(Error::io(name()))?.file_type();
    if kind.is_file() {
        Ok(file)
    } else {
        Err(Error::Absent(format!("cannot {}: not a regular file", name())))
    }
}

/// Opens `path` of this process, which must be a regular file before it is
/// touched: for links of `/proc`, which lead to devices as well.
pub(crate) fn open_checked(path: &str) -> Result<File> {
    let name = || format!("open {path}");
    let kind = fs::metadata(path).map_err(Error::io(name()))?.file_type();
    if !kind.is_file() {
        return Err(Error::Absent(format!("cannot open {path}: not a regular file")));
    }
    open(None, Path::new(path))
}

/// The number of `pid` in its innermost pid namespace, by which JIT compilers
/// in containers name their files.
pub(crate) fn inner_pid(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(pid))
}
