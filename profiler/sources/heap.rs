//! Source `heap`: who allocates user memory, and who still holds it. Probes at the functions of
//! allocators, which sample allocations by their bytes.

use std::{collections::HashSet, hash::BuildHasher, mem::MaybeUninit};

use anyhow::{Context, Result};
use libbpf_rs::{
    MapHandle,
    btf::{Btf, types::Func},
    skel::{OpenSkel, SkelBuilder},
};

use super::{Base, Options, Stacks, Stream, load};
use crate::{
    bpf::heap,
    collector::{TaskEvent, TaskKind},
    heap::{Attached, Programs},
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

/// What it is told.
#[derive(Clone, Debug)]
pub struct HeapOptions {
    /// Bytes from one sample to the next, on average; 0: every allocation is kept.
    pub sample_bytes: u64,
    /// The least size that is looked at, bytes.
    pub min_size: u64,
    /// The largest, bytes.
    pub max_size: u64,
    /// Prefixes of the names of allocators' functions, besides those that are known.
    pub prefixes: Vec<String>,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self { sample_bytes: 512 << 10, min_size: 0, max_size: u64::MAX, prefixes: Vec::new() }
    }
}

impl Stacks for Heap {
    fn name(&self) -> &'static str {
        "heap"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        // 5 GB/s of allocations; or as many as traps can be taken.
        Ok(if options.heap.sample_bytes > 0 { 10_000 } else { 100_000 })
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        // Once for each run of rprof: what borrows from it may then live as long as it needs.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = heap::HeapSkelBuilder::default().open(storage)?;
        let rodata = open.maps.rodata_data.as_deref_mut().context("heap.bpf.c has no .rodata")?;
        load::configure!(rodata, options);
        load::number!(rodata, options, base, number);
        rodata.sample_bytes = options.heap.sample_bytes;
        rodata.min_size = options.heap.min_size;
        rodata.max_size = options.heap.max_size;
        let followed = if options.heap.sample_bytes > 0 { SAMPLED_MAX } else { EACH_MAX };
        open.maps.held.set_max_entries(followed)?;
        let session = has_sessions();
        let progs = &mut open.progs;
        for program in [&mut progs.heap_call, &mut progs.heap_free] {
            program.set_autoload(session);
        }
        for program in [&mut progs.heap_enter, &mut progs.heap_leave, &mut progs.heap_free_alone] {
            program.set_autoload(!session);
        }
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let code = MapHandle::try_from(&skel.maps.allocators)?;
        Ok(Box::new(Allocating {
            number,
            session,
            options: options.clone(),
            attached: Attached::new(options.heap.prefixes.clone(), code)?,
            targets: options.target.pids.iter().copied().collect(),
            weights: Weights::new(options.heap.sample_bytes),
            skel,
        }))
    }
}

/// True if one program can run at both ends of a call, and be spared the second (since Linux 6.13).
pub(crate) fn has_sessions() -> bool {
    Btf::from_vmlinux()
        .is_ok_and(|btf| btf.type_by_name::<Func<'_>>("bpf_session_is_return").is_some())
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
            event: if self.session { "uprobe session" } else { "uprobe" }.into(),
            period: self.options.heap.sample_bytes.max(1),
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        match self.options.target.is_by_pid() {
            true => self.targets.clone().into_iter().for_each(|pid| self.probe(pid)),
            false => processes().into_iter().for_each(|(pid, _)| self.probe(pid)),
        }
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
        let progs = &self.skel.progs;
        let programs = match self.session {
            true => Programs::Session { call: &progs.heap_call, free: &progs.heap_free },
            false => Programs::Probes {
                enter: &progs.heap_enter,
                leave: &progs.heap_leave,
                free: &progs.heap_free_alone,
            },
        };
        let who = self.options.target.is_by_pid().then_some(pid);
        self.attached.add(&programs, pid, who);
    }
}

/// What sampled allocations stand for.
///
/// With one sample in `period` bytes on average, an allocation of `size` is sampled with the
/// probability 1 - exp(-size / period): each byte begins a sample with the same small chance. So a
/// sampled one stands for size / (1 - exp(-size / period)) bytes, which makes sums unbiased.
struct Weights {
    period: f64,
    hasher: foldhash::fast::FixedState,
}

impl Weights {
    fn new(period: u64) -> Self {
        Self { period: period as f64, hasher: foldhash::fast::FixedState::default() }
    }

    /// Objects and bytes for a sample of `size` bytes that was taken at `time`. A number of objects
    /// is whole: the part that is over rounds up as often as it is large, by the time, so that the
    /// free of an object counts as much as the object did.
    fn of(&self, count: u64, size: u64, time: u64) -> (u64, u64) {
        if self.period == 0.0 || size == 0 {
            return (count, size);
        }
        let objects = 1.0 / -(-(size as f64) / self.period).exp_m1();
        let chance = (self.hasher.hash_one((time, size)) >> 11) as f64 / (1u64 << 53) as f64;
        let whole = objects.floor() as u64 + u64::from(chance < objects.fract());
        (count * whole, count * (objects * size as f64).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_samples_are_those_of_all() {
        let weights = Weights::new(1000);
        for size in [1u64, 10, 500, 1000, 2500, 100_000] {
            let chance = 1.0 - (-(size as f64) / 1000.0).exp();
            let (mut objects, mut bytes, count) = (0.0, 0.0, 100_000u64);
            for time in 0..count {
                let (one, value) = weights.of(1, size, time);
                assert_eq!((one, value), weights.of(1, size, time));
                objects += one as f64;
                bytes += value as f64;
            }
            let (objects, bytes) = (objects * chance, bytes * chance);
            let (all, count) = ((size * count) as f64, count as f64);
            assert!((objects / count - 1.0).abs() < 0.01, "{size}: {objects} of {count}");
            assert!((bytes / all - 1.0).abs() < 0.001, "{size}: {bytes} of {all}");
        }
        assert_eq!(Weights::new(0).of(1, 77, 5), (1, 77));
    }
}
