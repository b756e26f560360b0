//! Allocators that sample by themselves, and announce what they sample by the probes of the
//! `otel_memory` contract, with weights of their own: libraries that are built so, and our preload
//! shim in a process that another rprof has started.

use std::{
    collections::HashMap,
    os::{fd::AsRawFd, unix::fs::FileExt},
};

use anyhow::{Result, bail};
use libbpf_rs::{
    Link, ProgramMut, UprobeOpts,
    btf::{Btf, types::Func},
};
use symbolizer::{FileKey, Image};

use super::Who;
use crate::{
    shim::{ALLOC, FREE, PROVIDER},
    unwind,
    usdt::{Probe, Probes},
};

/// Files whose probes are remembered; beyond, all are looked at again.
const FILES_MAX: usize = 16 << 10;
/// Places of one file that are listened to, of each probe.
const PLACES_MAX: usize = 64;
/// Where both probes have their arguments in what a compiler makes of a function that does nothing
/// but announce; that is where `bpf/heap.bpf.c` looks for them.
const ALLOC_ARGUMENTS: &str = "8@%rdi 8@%rsi 8@%rdx";
const FREE_ARGUMENTS: &str = "8@%rdi";
/// The nop that Linux makes a call of.
const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];

/// True if the kernel makes calls of some nops, which the children of a fork die of: they get the
/// call, but not the page that it goes to (Linux 6.18).
pub(crate) fn calls_nops() -> bool {
    let btf = Btf::from_vmlinux();
    btf.is_ok_and(|btf| btf.type_by_name::<Func<'_>>("arch_uprobe_optimize").is_some())
}

/// The programs of `bpf/heap.bpf.c` for them.
pub struct Listeners<'p> {
    /// At an allocation.
    pub alloc: &'p ProgramMut<'p>,
    /// At a free.
    pub free: &'p ProgramMut<'p>,
}

/// Probes that are set. The governor lets them be: only what is sampled comes by.
pub struct Announced {
    files: HashMap<FileKey, Vec<Probe>>,
    links: HashMap<(Who, FileKey), Vec<Link>>,
    /// See [`calls_nops`].
    calls_nops: bool,
    /// Files whose probes could not be listened to.
    pub refused: u64,
}

impl Announced {
    /// None is set yet.
    pub fn new() -> Self {
        Self { files: HashMap::new(), links: HashMap::new(), calls_nops: calls_nops(), refused: 0 }
    }

    /// Listens to a file that `who` has mapped, if it announces anything.
    pub fn add(&mut self, listeners: &Listeners<'_>, image: &Image, who: Who) {
        let key = image.key();
        let probes = self.probes(image);
        if probes.is_empty() || self.links.contains_key(&(who, key)) {
            return;
        }
        let links = self.listen(listeners, image, &probes, who).unwrap_or_else(|error| {
            self.refused += 1;
            tracing::warn!("cannot listen to {PROVIDER} of {}: {error:#}", image.path());
            Vec::new()
        });
        if !links.is_empty() {
            tracing::info!("probing {PROVIDER} in {}", image.path());
        }
        self.links.insert((who, key), links);
    }

    /// Takes off those of a process.
    pub fn remove(&mut self, pid: u32) {
        self.links.retain(|key, _| key.0 != Some(pid));
    }

    /// Takes off all.
    pub fn clear(&mut self) {
        self.links.clear();
    }

    fn probes(&mut self, image: &Image) -> Vec<Probe> {
        if let Some(known) = self.files.get(&image.key()) {
            return known.clone();
        }
        let probes = unwind::Image::read(image.file()).and_then(|file| Probes::read(&file));
        let mut probes = probes.unwrap_or_default().all;
        probes.retain(|probe| probe.provider == PROVIDER);
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        self.files.insert(image.key(), probes.clone());
        probes
    }

    fn listen(
        &self,
        listeners: &Listeners<'_>,
        image: &Image,
        probes: &[Probe],
        who: Who,
    ) -> Result<Vec<Link>> {
        let path = format!("/proc/self/fd/{}", image.file().as_raw_fd());
        let pid = who.map_or(-1, |pid| pid as i32);
        let mut links = Vec::new();
        for (name, program, arguments) in
            [(ALLOC, listeners.alloc, ALLOC_ARGUMENTS), (FREE, listeners.free, FREE_ARGUMENTS)]
        {
            for probe in probes.iter().filter(|probe| probe.name == name).take(PLACES_MAX) {
                if probe.arguments != arguments {
                    bail!("{name} has its arguments in {}, not in {arguments}", probe.arguments);
                }
                let mut code = [0; NOP5.len()];
                let read = image.file().read_exact_at(&mut code, probe.offset);
                if self.calls_nops && read.is_ok() && code == NOP5 {
                    bail!("{name} is a nop of five bytes, and this kernel would break forks there");
                }
                let options = UprobeOpts {
                    ref_ctr_offset: probe.semaphore.unwrap_or_default() as usize,
                    ..UprobeOpts::default()
                };
                let at = probe.offset as usize;
                links.push(program.attach_uprobe_with_opts(pid, &path, at, options)?);
            }
        }
        Ok(links)
    }
}
