//! What each process has mapped, as far as samples have asked, kept up with what it does.

use std::{collections::HashMap, path::Path, sync::Arc};

use symbolizer::{Image, Kind, Mapping, Maps};

use super::{Limits, image::Images};
use crate::{
    collector::{TaskEvent, TaskKind},
    unwind,
};

/// Processes that are followed at a time; the kernel's default pid_max on small machines.
const PROCESSES_MAX: usize = 32 << 10;
/// Numbers from here on are of processes that were set aside; no pid is as large.
const ASIDE: u32 = 1 << 31;
/// Processes that have ended before they are looked for and forgotten.
const ENDED_MAX: usize = 512;
/// Executable mappings that are kept of one process.
const MAPPINGS_MAX: usize = 4096;

/// Where an address is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        image: Arc<Image>,
        /// Virtual address of the ELF file.
        address: u64,
    },
    /// In a file that could not be opened.
    Closed {
        /// Its path.
        path: Arc<str>,
        /// Offset in the file.
        offset: u64,
    },
    /// In the vdso, at this offset.
    Vdso {
        /// Offset from its start.
        offset: u64,
    },
    /// In memory without a file.
    Jit,
    /// In no mapping that is known.
    Nowhere,
}

/// All processes.
pub struct Processes {
    processes: HashMap<u32, Process>,
    images: Images,
    /// Counts up with each change of any process's mappings, so that each state has a number.
    states: u64,
    /// Processes that were set aside.
    aside: u32,
    /// Mappings of all processes, and how many there may be.
    mappings: usize,
    mappings_max: usize,
    /// Processes that have ended and are still here.
    ended: usize,
    /// Processes turned away at the limit.
    pub refused: u64,
    /// Mappings turned away at the limit.
    pub refused_mappings: u64,
}

struct Process {
    /// The process itself: it may be kept under another number.
    pid: u32,
    /// In order of address, without overlap; none before anyone asked.
    regions: Option<Arc<Vec<Region>>>,
    /// Of which process its first mappings are a copy.
    parent: Option<u32>,
    state: u64,
    ended: bool,
}

#[derive(Clone)]
struct Region {
    mapping: Mapping,
    /// None before an address in it was asked for.
    code: Option<Code>,
}

#[derive(Clone)]
enum Code {
    File(Arc<Image>),
    Closed(Arc<str>),
    Vdso,
    Jit,
}

impl Processes {
    /// None yet; of all that come, and of their files, so much is kept.
    pub fn new(limits: &Limits) -> Self {
        Self {
            processes: HashMap::new(),
            images: Images::new(limits.detail),
            states: 0,
            aside: 0,
            mappings: 0,
            mappings_max: limits.mappings,
            ended: 0,
            refused: 0,
            refused_mappings: 0,
        }
    }

    /// A number that stands for the process and its mappings as they are now.
    pub fn state_of(&mut self, pid: u32) -> u64 {
        self.load(pid);
        self.processes.get(&pid).map_or(0, |process| process.state)
    }

    /// Takes note of what a process did.
    pub fn apply(&mut self, event: TaskEvent) {
        self.states += 1;
        let state = self.states;
        match event.kind {
            TaskKind::Exec => self.insert(event.pid, Some(Arc::default()), None),
            TaskKind::ForkedFrom(parent) => {
                let regions = self.processes.get(&parent).and_then(|p| p.regions.clone());
                self.insert(event.pid, regions, Some(parent));
            }
            TaskKind::Exit => {
                if let Some(process) = self.processes.get_mut(&event.pid) {
                    process.ended = true;
                    self.ended += 1;
                }
            }
            TaskKind::Map(mapping) => {
                // Where nobody asked yet, /proc will tell it with all the others.
                let Some(process) = self.processes.get_mut(&event.pid) else { return };
                let Some(regions) = &mut process.regions else { return };
                if regions.len() >= MAPPINGS_MAX || self.mappings >= self.mappings_max {
                    self.refused_mappings += 1;
                    return;
                }
                process.state = state;
                let before = regions.len();
                map(Arc::make_mut(regions), mapping);
                self.mappings = (self.mappings + regions.len()).saturating_sub(before);
            }
        }
    }

    /// Where `address` is in process `pid`.
    pub fn place(&mut self, pid: u32, address: u64) -> Place {
        self.load(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return Place::Nowhere };
        let Some(regions) = process.regions.as_mut() else { return Place::Nowhere };
        let after = regions.partition_point(|region| region.mapping.start <= address);
        let Some(index) = after.checked_sub(1) else { return Place::Nowhere };
        if address >= regions[index].mapping.end {
            return Place::Nowhere;
        }
        if regions[index].code.is_none() {
            let code = identify(process.pid, &regions[index].mapping, &mut self.images);
            Arc::make_mut(regions)[index].code = Some(code);
        }
        let region = &regions[index];
        let offset = address - region.mapping.start;
        let file_offset = offset.wrapping_add(region.mapping.offset);
        match &region.code {
            Some(Code::File(image)) => match image.address(file_offset) {
                Some(address) => Place::File { image: Arc::clone(image), address },
                None => Place::Closed { path: image.path().into(), offset: file_offset },
            },
            Some(Code::Closed(path)) => {
                Place::Closed { path: Arc::clone(path), offset: file_offset }
            }
            Some(Code::Vdso) => Place::Vdso { offset },
            Some(Code::Jit) | None => Place::Jit,
        }
    }

    /// Everything that a process has mapped to run, to follow its stacks by.
    pub fn regions(&mut self, pid: u32) -> Vec<unwind::Region> {
        self.load(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return Vec::new() };
        let Some(regions) = process.regions.as_mut() else { return Vec::new() };
        if regions.iter().any(|region| region.code.is_none()) {
            for region in Arc::make_mut(regions) {
                let identify = || identify(process.pid, &region.mapping, &mut self.images);
                region.code.get_or_insert_with(identify);
            }
        }
        let code = |region: &Region| match &region.code {
            Some(Code::File(image)) => unwind::Code::File(Arc::clone(image)),
            Some(Code::Vdso) => unwind::Code::Vdso,
            Some(Code::Closed(_) | Code::Jit) | None => unwind::Code::None,
        };
        let region = |r: &Region| unwind::Region { mapping: r.mapping.clone(), code: code(r) };
        regions.iter().map(region).collect()
    }

    /// True if the process's last thread, or its first, has ended.
    pub fn has_ended(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_none_or(|process| process.ended)
    }

    /// Keeps what a process has mapped until now under another number, which is returned: it is
    /// about to call exec, and samples of it have yet to be followed.
    pub fn set_aside(&mut self, pid: u32) -> u32 {
        let known = self.processes.get(&pid);
        let mut regions = known.and_then(|process| process.regions.clone());
        if regions.is_none()
            && let Some(parent) = known.and_then(|process| process.parent)
        {
            // /proc has the new program by now, but what it ran before was its parent's.
            self.load(parent);
            regions = self.processes.get(&parent).and_then(|parent| parent.regions.clone());
        }
        self.aside = (self.aside + 1) % ASIDE;
        self.states += 1;
        self.insert(ASIDE + self.aside, regions.or_else(|| Some(Arc::default())), None);
        if let Some(process) = self.processes.get_mut(&(ASIDE + self.aside)) {
            (process.pid, process.ended) = (pid, true);
        }
        ASIDE + self.aside
    }

    /// Closes files that were not used for longest, beyond the limit on open ones.
    pub fn close_idle(&mut self) {
        self.images.close_idle();
    }

    /// Closes all files that no process has mapped.
    pub fn close_unused(&mut self) {
        self.images.close_unused();
    }

    /// True if many have ended since [`Processes::forget_ended`] was called.
    pub fn should_forget(&self) -> bool {
        self.ended >= ENDED_MAX
    }

    /// Forgets processes that have ended, but for those of which samples wait; returns them. To be
    /// called now and then, when all other samples until now were resolved.
    pub fn forget_ended(&mut self, waits: impl Fn(u32) -> bool) -> Vec<u32> {
        // A leader may end before its threads: only without an entry in /proc is a process over.
        let over = |pid: &u32, process: &mut Process| {
            process.ended && !waits(*pid) && !Path::new("/proc").join(pid.to_string()).exists()
        };
        let forgotten = self.processes.extract_if(over).map(|(pid, _)| pid).collect();
        let left = self.processes.values();
        self.ended = 0;
        // What forks share is there once.
        let count = |regions: &Arc<Vec<Region>>| regions.len().div_ceil(Arc::strong_count(regions));
        self.mappings = left.filter_map(|process| process.regions.as_ref().map(count)).sum();
        forgotten
    }

    fn insert(&mut self, pid: u32, regions: Option<Arc<Vec<Region>>>, parent: Option<u32>) {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            self.refused += 1;
            return;
        }
        let process = Process { pid, regions, parent, state: self.states, ended: false };
        self.processes.insert(pid, process);
    }

    /// Reads the mappings of a process that is met for the first time.
    fn load(&mut self, pid: u32) {
        match self.processes.get(&pid) {
            Some(process) if process.regions.is_some() => return,
            Some(_) => {}
            None => self.insert(pid, None, None),
        }
        let parent = self.processes.get(&pid).and_then(|process| process.parent);
        let regions = match read_regions(pid) {
            Some((regions, refused)) if self.mappings >= self.mappings_max => {
                self.refused_mappings += refused + regions.len() as u64;
                Arc::default()
            }
            Some((regions, refused)) => {
                self.refused_mappings += refused;
                self.mappings += regions.len();
                Arc::new(regions)
            }
            // It has ended, or has no memory of its own; if it never called exec, what it ran is
            // what its parent runs.
            None => {
                let known = parent.and_then(|parent| self.processes.get(&parent)?.regions.clone());
                let read = || Some(Arc::new(read_regions(parent?)?.0));
                known.or_else(read).unwrap_or_default()
            }
        };
        self.states += 1;
        let state = self.states;
        if let Some(process) = self.processes.get_mut(&pid) {
            process.regions = Some(regions);
            process.state = state;
        }
    }
}

/// The executable mappings of a process as /proc has them, and how many were too many; none if it
/// is gone or has no memory of its own.
fn read_regions(pid: u32) -> Option<(Vec<Region>, u64)> {
    let maps = Maps::read(pid, true).ok().filter(|maps| !maps.mappings.is_empty())?;
    let refused = maps.refused + maps.mappings.len().saturating_sub(MAPPINGS_MAX) as u64;
    let mappings = maps.mappings.into_iter().take(MAPPINGS_MAX);
    Some((mappings.map(|mapping| Region { mapping, code: None }).collect(), refused))
}

fn identify(pid: u32, mapping: &Mapping, images: &mut Images) -> Code {
    match mapping.kind() {
        Kind::Vdso => Code::Vdso,
        // A file in memory may be a loaded library or what a JIT compiler writes to.
        Kind::File => match images.open(pid, mapping) {
            Some(image) => Code::File(image),
            None if mapping.may_be_jit() => Code::Jit,
            None => Code::Closed(mapping.path.as_str().into()),
        },
        Kind::Anonymous => Code::Jit,
        Kind::Special(_) if mapping.may_be_jit() => Code::Jit,
        Kind::Vsyscall | Kind::Special(_) => Code::Closed(mapping.path.as_str().into()),
    }
}

/// Adds a mapping in place of what it covers.
fn map(regions: &mut Vec<Region>, mapping: Mapping) {
    let (start, end) = (mapping.start, mapping.end);
    let same = |region: &Region| region.mapping == mapping;
    if start >= end || regions.iter().any(same) {
        return;
    }
    let mut kept = Vec::with_capacity(regions.len() + 2);
    for region in regions.drain(..) {
        if region.mapping.end <= start || region.mapping.start >= end {
            kept.push(region);
            continue;
        }
        let mut head = region.clone();
        head.mapping.end = start;
        let mut tail = region;
        tail.mapping.offset =
            tail.mapping.offset.wrapping_add(end.wrapping_sub(tail.mapping.start));
        tail.mapping.start = end;
        kept.extend([head, tail].into_iter().filter(|r| r.mapping.start < r.mapping.end));
    }
    let index = kept.partition_point(|region| region.mapping.start < start);
    kept.insert(index, Region { mapping, code: None });
    *regions = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64, path: &str) -> Mapping {
        Mapping {
            start,
            end,
            offset,
            device: (8, 1),
            inode: 7,
            executable: true,
            path: path.into(),
            deleted: false,
        }
    }

    #[test]
    fn a_new_mapping_replaces_what_it_covers() {
        let mut regions = Vec::new();
        map(&mut regions, mapping(0x1000, 0x9000, 0, "/a"));
        map(&mut regions, mapping(0x3000, 0x4000, 0x100, "/b"));
        let shape: Vec<_> = regions
            .iter()
            .map(|r| (r.mapping.start, r.mapping.end, r.mapping.offset, &*r.mapping.path))
            .collect();
        assert_eq!(
            shape,
            [
                (0x1000, 0x3000, 0, "/a"),
                (0x3000, 0x4000, 0x100, "/b"),
                (0x4000, 0x9000, 0x3000, "/a")
            ]
        );
    }

    #[test]
    fn an_exec_drops_all_mappings_and_a_fork_copies_them() {
        let mut processes = Processes::new(&Limits::default());
        let event = |pid, kind| TaskEvent { time: 0, pid, kind };
        let parent = std::process::id();
        let here = an_exec_drops_all_mappings_and_a_fork_copies_them as fn() as usize as u64;
        assert!(matches!(processes.place(parent, here), Place::File { .. }));
        let child = u32::MAX - 1;
        processes.apply(event(child, TaskKind::ForkedFrom(parent)));
        assert!(matches!(processes.place(child, here), Place::File { .. }));
        processes.apply(event(child, TaskKind::Exec));
        assert!(matches!(processes.place(child, here), Place::Nowhere));
        processes.apply(event(child, TaskKind::Map(mapping(0x1000, 0x2000, 0, ""))));
        assert!(matches!(processes.place(child, 0x1800), Place::Jit));
    }
}
