//! Source `heap`: who allocates user memory, and who still holds it. Probes at the functions of
//! allocators, which sample allocations by their bytes.

use std::{
    collections::HashSet, fs, mem::MaybeUninit, os::unix::fs::MetadataExt, sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result};
use libbpf_rs::{
    MapCore, MapFlags, MapHandle,
    skel::{OpenSkel, SkelBuilder},
};
use symbolizer::Image;

use super::{Base, Options, Stacks, Stream, load, weights::Weights};
use crate::{
    bpf::{self, heap},
    collector::{TaskEvent, TaskKind},
    heap::{Attached, CpuTime, Governor, Listeners, Order, Preloaded, Programs, Sweep, Who, pair},
    machine,
    model::{SourceInfo, Stats, ValueType},
    resolve::Held,
    target::processes,
};

/// Allocations that may be followed at a time, where they are sampled: 512 GB of them at the
/// default rate.
const SAMPLED_MAX: u32 = 1 << 20;
/// Where each one is kept.
const EACH_MAX: u32 = 1 << 24;

/// How often the budget is looked at.
const TEND: Duration = Duration::from_millis(50);
/// The same, where probes come and go.
const TEND_GOVERNED: Duration = Duration::from_millis(10);
/// The least that a trap is believed to cost, ns: on any machine it is more.
const LEAST_TRAP: f64 = 200.0;

/// Set in the size of an allocation that the preload shim announced (`bpf/heap.bpf.c`).
const ANNOUNCED: u64 = 1 << 63;
/// Set where others announced it, with a weight of their own: objects stand above so many bits of
/// bytes.
const WEIGHED: u64 = 1 << 62;
const WEIGHT_BITS: u32 = 40;

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
        for program in [&mut progs.heap_enter, &mut progs.heap_leave, &mut progs.heap_free_alone] {
            program.set_autoload(!session);
        }
        base.lend(open.open_object_mut())?;
        let skel = open.load().map_err(load::explain)?;
        let code = MapHandle::try_from(&skel.maps.allocators)?;
        let sweep = Sweep::new(MapHandle::try_from(&skel.maps.held)?);
        Ok(Box::new(Allocating {
            number,
            session,
            options: options.clone(),
            attached: Attached::new(
                options.memory.prefixes.clone(),
                code,
                options.shim.clone().map(Preloaded::new),
            )?,
            governor: Governor::new(options.memory.max_overhead),
            on: true,
            trap: 0.0,
            time: CpuTime::default(),
            targets: options.target.pids.iter().copied().collect(),
            weights: Weights::new(options.memory.heap_rate()),
            sweep,
            skel,
        }))
    }
}

/// True if one program can run at both ends of a call, and be spared the second (since Linux 6.13).
pub(crate) fn has_sessions() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| machine::attaches("BPF_TRACE_UPROBE_SESSION"))
}

struct Allocating {
    number: u32,
    session: bool,
    options: Options,
    attached: Attached,
    governor: Governor,
    /// False while the governor has taken the probes off.
    on: bool,
    /// What a trap costs the target, ns.
    trap: f64,
    time: CpuTime,
    /// Processes that are watched, where they are by pid.
    targets: HashSet<u32>,
    weights: Weights,
    sweep: Sweep,
    skel: heap::HeapSkel<'static>,
}

impl Stream for Allocating {
    fn info(&self) -> SourceInfo {
        SourceInfo {
            name: "heap".into(),
            event: self.event(),
            period: self.options.memory.heap_rate().max(1),
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            held: true,
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        if self.is_governed() {
            self.trap = self.cost_of_trap();
            self.cpu_time();
        }
        let progs = &self.skel.progs;
        if let Some(preloaded) = &mut self.attached.preloaded {
            preloaded.attach(&progs.heap_announced, &progs.heap_announced_free)?;
        }
        self.probe_all();
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
        // The governor takes no time from those who announce themselves.
        match (value & ANNOUNCED, value & WEIGHED) {
            (0, _) => self.weights.of(count, value, time, self.governor.scale(time)),
            (_, 0) => self.weights.of(count, value & !ANNOUNCED, time, 1.0),
            _ => {
                let value = value & !(ANNOUNCED | WEIGHED);
                (value >> WEIGHT_BITS, value & ((1 << WEIGHT_BITS) - 1))
            }
        }
    }

    fn rests(&self) -> Option<Duration> {
        let governed = self.governor.share().is_some();
        self.is_governed().then_some(if governed { TEND_GOVERNED } else { TEND })
    }

    fn tend(&mut self) -> Result<()> {
        if !self.is_governed() {
            return Ok(());
        }
        let (hits, cpu) = (self.hits() as f64, self.cpu_time() as f64);
        match self.governor.judge(machine::monotonic_ns(), cpu, hits * self.trap) {
            Order::Off => {
                self.on = false;
                self.attached.suspend();
            }
            Order::On => {
                self.on = true;
                // Calls that were under way when probes were taken off will not be seen to return.
                if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
                    bss.generation += 1;
                }
                self.probe_all();
                let (hits, cpu) = (self.hits() as f64, self.cpu_time() as f64);
                self.governor.set(machine::monotonic_ns(), cpu, hits * self.trap);
            }
            Order::Stay => {}
        }
        Ok(())
    }

    fn follow(&mut self, events: &[TaskEvent]) -> Result<()> {
        let mut changed = HashSet::new();
        for event in events {
            if matches!(event.kind, TaskKind::Exec | TaskKind::Exit) {
                self.sweep.gone(event.pid, event.time);
            }
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
        if self.on {
            changed.into_iter().for_each(|pid| self.probe(pid));
        }
        self.sweep.tend(machine::monotonic_ns()).context("cannot read what memory is held")
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
                &progs.heap_announced_free,
                &progs.heap_announced_by_others,
            ],
            stats,
        );
        load::or_own_run_time(&base.counters(self.number), stats);
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return };
        for (what, count) in [
            ("allocations not followed", bss.not_followed),
            ("frees lost", bss.frees_lost),
            ("allocators not probed", self.attached.refused + self.attached.announced.refused),
        ] {
            *stats.missed.entry(what.into()).or_default() += count;
        }
    }
}

impl Allocating {
    fn is_governed(&self) -> bool {
        self.options.memory.max_overhead.is_finite()
    }

    /// How it samples; where probes were not set all the time, the share of the target's time.
    fn event(&self) -> String {
        let how = match (&self.attached.preloaded, self.session) {
            (Some(_), _) => "preload shim",
            (None, true) => "uprobe session",
            (None, false) => "uprobe",
        };
        match self.governor.share() {
            None => how.to_owned(),
            Some(share) => {
                let least = if self.governor.is_floored() { "; sums are lower bounds" } else { "" };
                format!("{how}, in {:.1} % of the time{least}", 100.0 * share)
            }
        }
    }

    /// Calls that were seen.
    fn hits(&self) -> u64 {
        let key = 0u32.to_ne_bytes();
        let cpus = self.skel.maps.sampling.lookup_percpu(&key, MapFlags::ANY).ok().flatten();
        let hits = |bytes: &Vec<u8>| bpf::read::<heap::types::sampling>(bytes).map(|one| one.hits);
        cpus.unwrap_or_default().iter().filter_map(hits).sum()
    }

    /// CPU time of the target since the first call, ns.
    fn cpu_time(&mut self) -> u64 {
        match self.options.target.is_by_pid() {
            true => self.time.of(self.targets.iter().copied()),
            false => machine::busy_ns(),
        }
    }

    /// Measured on ourselves: the time of a pair of calls with probes and without.
    fn cost_of_trap(&mut self) -> f64 {
        let own = std::process::id();
        let bare = pair();
        let progs = &self.skel.progs;
        self.attached.add(&programs(progs, self.session), &listeners(progs), own, Some(own));
        let probed = pair();
        self.attached.remove(own);
        let trap = ((probed - bare) / 2.0).max(LEAST_TRAP);
        tracing::info!("a trap takes {trap:.0} ns here");
        trap
    }

    fn probe_all(&mut self) {
        match self.options.target.is_by_pid() {
            true => self.targets.clone().into_iter().for_each(|pid| self.probe(pid)),
            false => processes().into_iter().for_each(|(pid, _)| self.probe(pid)),
        }
    }

    fn probe(&mut self, pid: u32) {
        // Still rprof, on its way to become a command with the shim.
        if self.attached.preloaded.is_some() && is_ourselves(pid) {
            return;
        }
        let who = self.who(pid);
        let progs = &self.skel.progs;
        self.attached.add(&programs(progs, self.session), &listeners(progs), pid, who);
    }

    /// A command that is linked statically would have allocated for long when its exec is seen here.
    fn probe_program(&mut self) {
        let options = &self.options;
        let (Some(pid), Some(program), None) = (options.at_exec, &options.program, &options.shim)
        else {
            return;
        };
        if let Ok(image) = Image::open_path(program) {
            let who = self.who(pid);
            self.attached.add_file(&programs(&self.skel.progs, self.session), &image, who);
        }
    }

    fn who(&self, pid: u32) -> Who {
        self.options.target.is_by_pid().then_some(pid)
    }
}

/// True if that process runs this program.
fn is_ourselves(pid: u32) -> bool {
    let own = fs::metadata("/proc/self/exe").map(|file| (file.dev(), file.ino()));
    let its = fs::metadata(format!("/proc/{pid}/exe")).map(|file| (file.dev(), file.ino()));
    own.ok() == its.ok()
}

fn listeners<'p>(progs: &'p heap::HeapProgs<'static>) -> Listeners<'p> {
    Listeners { alloc: &progs.heap_announced_by_others, free: &progs.heap_announced_free }
}

fn programs<'p>(progs: &'p heap::HeapProgs<'static>, session: bool) -> Programs<'p> {
    match session {
        true => Programs::Session { call: &progs.heap_call, free: &progs.heap_free },
        false => Programs::Probes {
            enter: &progs.heap_enter,
            leave: &progs.heap_leave,
            free: &progs.heap_free_alone,
        },
    }
}
