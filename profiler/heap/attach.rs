//! Sets probes at the allocators of processes, as they map them, and takes them off when they end.
//!
//! A probe is set for one process at a time where the target is by process: all others that map the
//! same file run on untouched.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::fd::AsRawFd,
    sync::mpsc::{Sender, channel},
    thread,
};

use anyhow::{Context, Result};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, ProgramMut, UprobeMultiOpts, UprobeOpts};
use symbolizer::{FileKey, Image, Maps};

use super::{Function, Listeners, Preloaded, Probe, announced::Announced, find};
use crate::bpf;

/// Files whose allocator is remembered; beyond, all are looked at again.
const FILES_MAX: usize = 16 << 10;

/// The programs of `bpf/heap.bpf.c`, whichever this kernel can attach.
pub enum Programs<'p> {
    /// One program for both ends of a call.
    Session {
        /// At the start and, if that asks for it, at the return of a call.
        call: &'p ProgramMut<'p>,
        /// At a call that frees.
        free: &'p ProgramMut<'p>,
    },
    /// A probe for each end, before Linux 6.13: each call traps twice.
    Probes {
        /// At the start of a call.
        enter: &'p ProgramMut<'p>,
        /// At its return.
        leave: &'p ProgramMut<'p>,
        /// At a call that frees.
        free: &'p ProgramMut<'p>,
    },
}

/// A process, or all of them.
pub type Who = Option<u32>;

/// Probes that are set.
pub struct Attached {
    prefixes: Vec<String>,
    files: HashMap<FileKey, Vec<Probe>>,
    links: HashMap<(Who, FileKey), Vec<Link>>,
    /// To take a probe off waits for all CPUs to have left it, tens of ms: another thread does.
    dropped: Sender<Vec<Link>>,
    /// `allocators` of `bpf/heap.bpf.c`.
    code: MapHandle,
    /// Where the target was started by us.
    pub preloaded: Option<Preloaded>,
    /// Those who sample by themselves.
    pub announced: Announced,
    /// What was told of already.
    found: HashSet<(Who, FileKey)>,
    /// Files whose allocator could not be probed.
    pub refused: u64,
}

impl Attached {
    /// None is set yet. `code` is the map of where allocators are; processes that are `preloaded`
    /// get none.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(
        prefixes: Vec<String>,
        code: MapHandle,
        preloaded: Option<Preloaded>,
    ) -> Result<Self> {
        let (dropped, links) = channel();
        thread::Builder::new()
            .name("rprof-detach".into())
            .spawn(move || links.into_iter().for_each(drop::<Vec<Link>>))
            .context("cannot start a thread")?;
        Ok(Self {
            prefixes,
            files: HashMap::new(),
            links: HashMap::new(),
            dropped,
            code,
            preloaded,
            announced: Announced::new(),
            found: HashSet::new(),
            refused: 0,
        })
    }

    /// Sets probes in all that `pid` has mapped and that has none yet, for `who`.
    pub fn add(&mut self, programs: &Programs<'_>, listeners: &Listeners<'_>, pid: u32, who: Who) {
        let mut code = bpf::allocator_code::default();
        let mut ranges = code.start.iter_mut().zip(&mut code.end);
        // A process that is gone has no mappings, and needs no probes.
        let maps = Maps::read(pid, true).unwrap_or_default();
        if self.preloaded.as_ref().is_some_and(|preloaded| preloaded.is_in(pid, &maps)) {
            // What it had before exec may be what it has now.
            self.remove(pid);
            return;
        }
        for mapping in maps.mappings {
            let Ok(image) = Image::open(pid, &mapping) else { continue };
            let allocates = self.add_file(programs, &image, who);
            self.announced.add(listeners, &image, who);
            if allocates && let Some((start, end)) = ranges.next() {
                (*start, *end) = (mapping.start, mapping.end);
            }
        }
        // Where it is full, what allocators map for themselves is counted twice: as theirs, too.
        let _ = self.code.update(&pid.to_ne_bytes(), bpf::bytes(&code), MapFlags::ANY);
    }

    /// Sets probes in a file for `who`, who may have yet to map it. True if it has a malloc.
    pub fn add_file(&mut self, programs: &Programs<'_>, image: &Image, who: Who) -> bool {
        let key = image.key();
        let probes = self.probes(image);
        let allocates = probes.iter().any(|probe| probe.function == Function::Malloc);
        if probes.is_empty() || self.links.contains_key(&(who, key)) {
            return allocates;
        }
        let links = match attach(programs, who, image.file(), &probes) {
            Ok(links) => {
                if self.found.insert((who, key)) {
                    tracing::info!("probing {} in {}", names(&probes), image.path());
                }
                links
            }
            Err(error) => {
                self.refused += 1;
                tracing::warn!("cannot probe {}: {error:#}", image.path());
                Vec::new()
            }
        };
        self.links.insert((who, key), links);
        allocates
    }

    /// Takes off those of a process.
    pub fn remove(&mut self, pid: u32) {
        let _ = self.code.delete(&pid.to_ne_bytes()); // it may not have been there
        let who = Some(pid);
        let gone: Vec<_> = self.links.extract_if(|key, _| key.0 == who).collect();
        self.found.retain(|key| key.0 != who);
        self.announced.remove(pid);
        for (_, links) in gone {
            let _ = self.dropped.send(links); // or else they are dropped here
        }
    }

    /// Takes off all of them, to be set again.
    pub fn suspend(&mut self) {
        for (_, links) in std::mem::take(&mut self.links) {
            let _ = self.dropped.send(links); // or else they are dropped here
        }
    }

    /// Takes off all.
    pub fn clear(&mut self) {
        self.links.clear();
        self.announced.clear();
        self.preloaded.iter_mut().for_each(Preloaded::detach);
    }

    fn probes(&mut self, image: &Image) -> Vec<Probe> {
        if let Some(known) = self.files.get(&image.key()) {
            return known.clone();
        }
        let probes = image.file().try_clone().context("cannot open it once more");
        let probes = probes.and_then(|file| find(file, &self.prefixes)).unwrap_or_else(|error| {
            tracing::info!("no allocator is looked for in {}: {error:#}", image.path());
            Vec::new()
        });
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        self.files.insert(image.key(), probes.clone());
        probes
    }
}

fn names(probes: &[Probe]) -> String {
    let names: Vec<&str> = probes.iter().map(|probe| &*probe.name).collect();
    names.join(", ")
}

/// Sets `probes` in a file.
fn attach(programs: &Programs<'_>, who: Who, file: &File, probes: &[Probe]) -> Result<Vec<Link>> {
    // The kernel takes a path only; this one is the very file that we looked at.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let pid = who.map_or(-1, |pid| pid as i32);
    let (frees, calls): (Vec<&Probe>, Vec<&Probe>) =
        probes.iter().partition(|probe| probe.function.frees());
    let mut links = Vec::new();
    match programs {
        Programs::Session { call, free } => {
            for (program, probes, session) in [(call, calls, true), (free, frees, false)] {
                if probes.is_empty() {
                    continue;
                }
                let options = UprobeMultiOpts {
                    offsets: probes.iter().map(|probe| probe.offset as usize).collect(),
                    cookies: probes.iter().map(|probe| probe.cookie()).collect(),
                    session,
                    ..UprobeMultiOpts::default()
                };
                links.push(program.attach_uprobe_multi_with_opts(pid, &path, "", options)?);
            }
        }
        Programs::Probes { enter, leave, free } => {
            for probe in calls {
                links.push(one(leave, pid, &path, probe, true)?);
                links.push(one(enter, pid, &path, probe, false)?);
            }
            for probe in frees {
                links.push(one(free, pid, &path, probe, false)?);
            }
        }
    }
    Ok(links)
}

fn one(program: &ProgramMut<'_>, pid: i32, path: &str, probe: &Probe, back: bool) -> Result<Link> {
    let options = UprobeOpts { cookie: probe.cookie(), retprobe: back, ..UprobeOpts::default() };
    Ok(program.attach_uprobe_with_opts(pid, path, probe.offset as usize, options)?)
}
