//! Source `heap`: who allocates user memory, and who still holds it. Probes at the functions of
//! allocators, which sample allocations by their bytes.

use std::{collections::HashSet, fs, mem::MaybeUninit, os::unix::fs::MetadataExt};

use anyhow::{Context, Result};
use libbpf_rs::{
    MapHandle,
    btf::{Btf, types::Func},
    skel::{OpenSkel, SkelBuilder},
};
use symbolizer::Image;

use super::{Base, Options, Stacks, Stream, load, weights::Weights};
use crate::{
    bpf::heap,
    collector::{TaskEvent, TaskKind},
    heap::{Attached, Preloaded, Programs, Who},
    model::{SourceInfo, Stats, ValueType},
    resolve::Held,
    target::processes,
};

/// Allocations that may be followed at a time, where they are sampled: 512 GB of them at the
/// default rate.
const SAMPLED_MAX: u32 = 1 << 20;
/// Where each one is kept.
const EACH_MAX: u32 = 1 << 24;

/// The source.
pub struct Heap;

/// Bytes from one sample to the next, unless told otherwise.
pub(super) const RATE: u64 = 512 << 10;

impl Stacks for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        // 5 GB/s of allocations; or as many as traps can be taken.
        Ok(if options.memory.heap_rate() > 0 { 10_000 } else { 100_000 })
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = heap::HeapSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("heap.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        rodata.sample_bytes = options.memory.heap_rate();
        rodata.min_size = options.memory.min_size;
        rodata.max_size = options.memory.max_size;
        let followed = if options.memory.heap_rate() > 0 { SAMPLED_MAX } else { EACH_MAX };
        open.maps.held.set_max_entries(followed)?;
        let session = has_sessions();
        let progs = &mut open.progs;
        for program in [&mut progs.heap_call, &mut progs.heap_free] {
            program.set_autoload(session);
        }
        for program in [&mut progs.heap_enter, &mut progs.heap_leave] {
            program.set_autoload(!session);
        }
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let code = MapHandle::try_from(&skel.maps.allocators)?;
        Ok(Box::new(Allocating {
            number,
            session,
            options: options.clone(),
            attached: Attached::new(
                options.memory.prefixes.clone(),
                code,
                options.shim.clone().map(Preloaded::new),
            )?,
            targets: options.target.pids.iter().copied().collect(),
            weights: Weights::new(options.memory.heap_rate()),
            skel,
        }))
    }
}

/// True if one program can run at both ends of a call, and be spared the second (since Linux 6.13).
pub(crate) fn has_sessions() -> bool {
    Btf::from_vmlinux()
        .is_ok_and(|btf| btf.type_by_name::<Func<'_>>("bpf_session_is_return").is_some())
}

/// True if that process runs this program.
fn is_ourselves(pid: u32) -> bool {
    let own = fs::metadata("/proc/self/exe").map(|file| (file.dev(), file.ino()));
    let its = fs::metadata(format!("/proc/{pid}/exe")).map(|file| (file.dev(), file.ino()));
    own.ok() == its.ok()
}

/// The programs that this kernel can attach. A macro, so that it borrows of `$self` what it needs.
macro_rules! programs {
    ($self:ident) => {{
        let progs = &$self.skel.progs;
        match $self.session {
            true => Programs::Session { call: &progs.heap_call, free: &progs.heap_free },
            false => Programs::Probes {
                enter: &progs.heap_enter,
                leave: &progs.heap_leave,
                free: &progs.heap_free_alone,
            },
        }
    }};
}

struct Allocating {
    number: u32,
    session: bool,
    options: Options,
    attached: Attached,
    /// Processes that are watched, where they are by pid.
    targets: HashSet<u32>,
    weights: Weights,
    skel: heap::HeapSkel<'static>,
}

impl Stream for Allocating {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "heap".into(),
            event: match (&self.attached.preloaded, self.session) {
                (Some(_), _) => "preload shim",
                (None, true) => "uprobe session",
                (None, false) => "uprobe",
            }
            .into(),
            period: self.options.memory.heap_rate().max(1),
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        let progs = &self.skel.progs;
        if let Some(preloaded) = &mut self.attached.preloaded {
            preloaded.attach(&progs.heap_announced, &progs.heap_free_alone)?;
        }
        match self.options.target.is_by_pid() {
            true => self.targets.clone().into_iter().for_each(|pid| self.probe(pid)),
            false => processes().into_iter().for_each(|(pid, _)| self.probe(pid)),
        }
        self.probe_program();
        Ok(())
    }

    fn stop(&mut self) {
        self.attached.clear();
    }

    fn held(&self) -> Held {
        Held::Processes
    }

    fn weigh(&self, count: u64, value: u64, time: u64) -> (u64, u64) {
        self.weights.of(count, value, time)
    }

    fn follow(&mut self, events: &[TaskEvent]) -> Result<()> {
        let mut changed = HashSet::new();
        for event in events {
            let watched = !self.options.target.is_by_pid() || self.targets.contains(&event.pid);
            match event.kind {
                TaskKind::Exec | TaskKind::Map(_) if watched => {
                    changed.insert(event.pid);
                }
                TaskKind::ForkedFrom(parent)
                    if self.targets.contains(&parent) && load::follows_children(&self.options) =>
                {
                    self.targets.insert(event.pid);
                    changed.insert(event.pid);
                }
                TaskKind::Exit if watched => {
                    changed.remove(&event.pid);
                    self.targets.remove(&event.pid);
                    self.attached.remove(event.pid);
                }
                _ => {}
            }
        }
        changed.into_iter().for_each(|pid| self.probe(pid));
        Ok(())
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        let progs = &self.skel.progs;
        load::add_run_time(
            &[
                &progs.heap_call,
                &progs.heap_enter,
                &progs.heap_leave,
                &progs.heap_free,
                &progs.heap_free_alone,
                &progs.heap_announced,
            ],
            stats,
        );
        load::or_own_run_time(&base.counters(self.number), stats);
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return };
        for (what, count) in [
            ("allocations not followed", bss.not_followed),
            ("frees lost", bss.frees_lost),
            ("allocators not probed", self.attached.refused),
        ] {
            *stats.missed.entry(what.into()).or_default() += count;
        }
    }
}

impl Allocating {
    fn probe(&mut self, pid: u32) {
        // Still rprof, on its way to become a command with the shim.
        if self.attached.preloaded.is_some() && is_ourselves(pid) {
            return;
        }
        self.attached.add(&programs!(self), pid, self.who(pid));
    }

    /// A command that is linked statically would have allocated for long when its exec is seen here.
    fn probe_program(&mut self) {
        let options = &self.options;
        let (Some(pid), Some(program), None) = (options.at_exec, &options.program, &options.shim)
        else {
            return;
        };
        if let Ok(image) = Image::open_path(program) {
            self.attached.add_file(&programs!(self), &image, self.who(pid));
        }
    }

    fn who(&self, pid: u32) -> Who {
        self.options.target.is_by_pid().then_some(pid)
    }
}
