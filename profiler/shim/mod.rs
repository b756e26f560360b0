//! The preload shim: how the memory of a command that rprof starts itself is sampled.
//!
//! `shim/` is a shared object that stands between a program and its allocator, counts bytes in user
//! space, and enters the kernel only for an allocation that is sampled, or its free. It is embedded
//! here, and handed over by `LD_PRELOAD`. [`check`] says first whether a program can have it; where
//! not, the allocator has to be probed from outside.
//!
//! It is handed over as a file that stays, not by descriptor: `/proc/self/fd/N` is lost to a child
//! whose parent closes descriptors, as Python's does, and `/proc/PID/fd/N` of ours is closed to the
//! children of an rprof with file capabilities and to those that change their user, and is gone when
//! we are. Each would have the loader complain on the program's standard error. What this cannot
//! reach are children in another file system (chroot, containers), where the loader does complain,
//! and those that are started with an empty environment, which run without it.

mod check;
mod file;

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

use anyhow::{Context, Result, bail};
use symbolizer::{FileKey, Kind, Mapping};

pub use check::{WhyNot, check};

use crate::{
    unwind::Image,
    usdt::{Probe, Probes},
};

/// The shared object, as `build.rs` compiled it.
static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim.so"));

/// What the dynamic loader reads: objects to load before all others.
const PRELOAD: &str = "LD_PRELOAD";
/// What the shim reads: mean bytes between samples.
const RATE: &str = "RPROF_HEAP_RATE";
/// The most that it takes (`RATE_MAX` in `shim/sampler.h`), in bytes.
pub const RATE_MAX: u64 = 1 << 40;

/// Provider of the probes that it has, by the contract of opentelemetry-ebpf-profiler
/// (design-docs/00003-memory-profiling), which other allocators offer too.
pub const PROVIDER: &str = "otel_memory";
/// `alloc(void *p, uint64_t size, uint64_t weight)`: an allocation was sampled; the weight, in
/// bytes, is what it stands for.
pub const ALLOC: &str = "alloc";
/// `free(void *p)`: one that was sampled is about to be freed.
pub const FREE: &str = "free";

/// The shim in a file, ready to be loaded by commands.
#[derive(Debug)]
pub struct Shim {
    file: file::File,
    rate: u64,
    /// The place of [`ALLOC`]: pointer, size and weight are in rdi, rsi and rdx.
    pub alloc: Probe,
    /// The place of [`FREE`]: the pointer is in rdi.
    pub free: Probe,
}

impl Shim {
    /// Puts it where every user of this machine can load it from: the cache of this user, or a
    /// temporary folder. `rate` is the mean number of bytes from one sample to the next; 0 takes
    /// every allocation.
    ///
    /// # Errors
    /// No folder can be written to and run programs from; or `rate` is over [`RATE_MAX`].
    pub fn new(rate: u64) -> Result<Self> {
        Self::with(rate, file::File::anywhere)
    }

    /// Puts it in that folder.
    ///
    /// # Errors
    /// As [`Shim::new`].
    pub fn in_folder(folder: &Path, rate: u64) -> Result<Self> {
        Self::with(rate, || file::File::in_folder(folder))
    }

    fn with(rate: u64, file: impl FnOnce() -> Result<file::File>) -> Result<Self> {
        if rate > RATE_MAX {
            bail!("a rate of {rate} bytes is too large; the largest is {RATE_MAX}");
        }
        let probes = Image::read(BYTES).and_then(|image| Probes::read(&image));
        let probes = probes.context("cannot read our own preload shim")?;
        let place = |name| {
            let probe = probes.named(PROVIDER, name).next().cloned();
            probe.with_context(|| format!("our own preload shim has no probe {PROVIDER}:{name}"))
        };
        Ok(Self { alloc: place(ALLOC)?, free: place(FREE)?, file: file()?, rate })
    }

    /// The file. Probes attached to it hear all programs that load it, those of other rprofs too.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What the environment of a command has to say, so that it loads this, and all programs that it
    /// starts. What our own environment has preloaded comes behind it: an allocator among that is the
    /// one to be watched.
    pub fn environment(&self) -> [(OsString, OsString); 2] {
        self.before(env::var_os(PRELOAD).as_deref())
    }

    fn before(&self, preloaded: Option<&OsStr>) -> [(OsString, OsString); 2] {
        let mut objects = self.path().as_os_str().to_owned();
        if let Some(others) = preloaded.filter(|others| !others.is_empty()) {
            objects.push(":");
            objects.push(others);
        }
        [(PRELOAD.into(), objects), (RATE.into(), self.rate.to_string().into())]
    }

    /// True if a mapping looks as if it were of this file: cheap, and not certain.
    pub fn may_be(&self, mapping: &Mapping) -> bool {
        mapping.inode == self.file.inode() && mapping.kind() == Kind::File
    }

    /// True if that is this file. When it was changed does not matter: others use it too.
    pub fn is(&self, key: FileKey) -> bool {
        (key.device, key.inode) == (self.file.device(), self.file.inode())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_before_what_else_is_preloaded() {
        let folder = tempfile::tempdir().unwrap();
        let shim = Shim::in_folder(folder.path(), 7).unwrap();
        let path = shim.path().to_str().unwrap();
        let preload = |others: &str| shim.before(Some(others.as_ref()))[0].1.clone();
        assert_eq!(preload("libjemalloc.so.2 a.so"), *format!("{path}:libjemalloc.so.2 a.so"));
        assert_eq!(preload(""), *path);
        assert_eq!(shim.before(None).map(|(_, value)| value), [path, "7"]);
    }

    #[test]
    fn it_knows_its_own_probes() {
        let folder = tempfile::tempdir().unwrap();
        let shim = Shim::in_folder(folder.path(), 7).unwrap();
        assert_eq!(shim.alloc.arguments, "8@%rdi 8@%rsi 8@%rdx");
        assert_eq!(shim.free.arguments, "8@%rdi");
        for Probe { offset, semaphore, .. } in [&shim.alloc, &shim.free] {
            // A nop of one byte.
            assert_eq!(BYTES[*offset as usize], 0x90);
            assert_eq!(*semaphore, None);
        }
        assert!(Shim::in_folder(folder.path(), RATE_MAX + 1).is_err());
    }
}
