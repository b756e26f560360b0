//! From raw stacks to a profile: which file and offset an address is, and what it is called.
//!
//! Samples and what processes did are merged in order of time, so that each address is looked up
//! in the mappings that its process had at that moment. Each distinct place becomes a frame at
//! once; its name follows from another thread, so that a large debug file never holds up the
//! reading of samples.
//!
//! ```text
//! task events ─► process ◄─► image      what each process has mapped, and the files
//!                   │
//! samples ─► waiting (snapshot) ─► build ─► names ◄─► naming (a thread of its own)
//!            until there are tables  to the model's tables
//! ```

mod build;
mod cgroup;
mod held;
mod image;
mod keys;
mod kubernetes;
mod labels;
mod limits;
mod names;
mod naming;
mod process;
mod snapshot;
mod stack;
mod waiting;
mod wakers;

use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use anyhow::Result;

pub(crate) use keys::text;
pub use keys::{Keys, Names as KeyNames};

use self::{
    build::Builder,
    labels::Facts,
    naming::Naming,
    process::Processes,
    waiting::{Followed, Waiting},
};
pub use self::{
    held::Held,
    limits::Limits,
    snapshot::{Lookup, follow, status},
};
use crate::{
    collector::{Batch, RawSample, TaskEvent, TaskKind},
    lanes::Program,
    model::{Free, Sample, Tables},
    sources::Base,
    unwind::{Counts, Loader},
};

/// How long the end of a recording waits for tables at most: those of a compiler take half a second.
const TABLES_WAIT: Duration = Duration::from_secs(2);
/// How long it waits at a time.
const SLICE: Duration = Duration::from_millis(100);

/// What is done while the end of a recording waits.
pub type Meanwhile<'m> = dyn FnMut(&mut Base) -> Result<()> + 'm;

/// Resolves what the kernel sends.
pub struct Resolver {
    processes: Processes,
    waiting: Waiting,
    builder: Builder,
    /// Records that were not understood.
    unknown: u64,
    roots: Vec<u32>,
    keep_debug_info: bool,
}

impl Resolver {
    /// A resolver that knows nothing yet, for samples of sources that tell of this memory. What
    /// `roots` hold when they end stays held: what a program leaves behind is what it leaks.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(loader: Loader, sources: &[Held], roots: &[u32], limits: &Limits) -> Result<Self> {
        Ok(Self {
            processes: Processes::new(limits),
            waiting: Waiting::new(loader, limits),
            builder: Builder::new(Naming::start()?, sources, limits),
            unknown: 0,
            roots: roots.to_vec(),
            keep_debug_info: limits.keep_debug_info,
        })
    }

    /// Prepares for samples of these processes, so that the first of them have whole stacks.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn prepare(&mut self, pids: impl IntoIterator<Item = u32>) -> Result<()> {
        let deadline = Instant::now() + TABLES_WAIT / 2;
        let mut pids = pids.into_iter();
        pids.try_for_each(|pid| self.waiting.prepare(pid, deadline, &mut self.processes))
    }

    /// Begins a recording, with empty tables. Its samples count their time from `start` (ns,
    /// CLOCK_MONOTONIC). What is known of processes, their files and stacks stays.
    /// All counts begin anew. Samples that still wait for tables are dropped; returns how many.
    pub fn begin(&mut self, start: u64) -> usize {
        self.builder.begin(start);
        (self.processes.refused, self.processes.refused_mappings, self.unknown) = (0, 0, 0);
        self.waiting.drop_samples()
    }

    /// Drops what can be had again: tables at hand, parsed debug information, files that no process
    /// has mapped.
    pub fn drop_caches(&mut self) {
        self.waiting.drop_tables();
        self.processes.close_unused();
        symbolizer::cache::clear();
    }

    /// Takes note of programs that began: a process may be gone before it can be asked.
    pub fn tell(&mut self, programs: Vec<Program>) {
        for Program { time, pid, uid, file, cmdline } in programs {
            let facts = Facts { exe: file, cmdline, uid, ..Facts::default() };
            self.builder.labels.tell(pid, time, facts);
        }
    }

    /// What samples point into.
    pub fn tables(&self) -> &Tables {
        &self.builder.tables
    }

    /// The samples of a source since the last call.
    pub fn take_samples(&mut self, source: usize) -> Vec<Sample> {
        std::mem::take(&mut self.builder.sources[source].samples)
    }

    /// The frees of a source since the last call.
    pub fn take_frees(&mut self, source: usize) -> Vec<Free> {
        std::mem::take(&mut self.builder.sources[source].held.frees)
    }

    /// The frames that were named since the last call.
    pub fn take_named(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.builder.named)
    }

    /// Becomes readable when there are tables to take in, which [`Resolver::add`] does.
    pub fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.waiting.wakeup_fd()
    }

    /// User stacks of a source that did not reach their root, by reason, since the recording began.
    pub fn failed(&self, source: usize) -> &BTreeMap<&'static str, u64> {
        &self.builder.sources[source].failed
    }

    /// User stacks of a source that were cut at the depth limit, since the recording began.
    pub fn truncated(&self, source: usize) -> u64 {
        self.builder.sources[source].truncated
    }

    /// What there is of unwind tables in the kernel.
    pub fn tables_in_kernel(&self) -> Counts {
        self.waiting.tables()
    }

    /// Things turned away at a limit, by what they are, since the recording began.
    pub fn missed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.builder.missed.iter().map(|(&what, &count)| (what, count)).chain([
            ("processes not followed", self.processes.refused),
            ("mappings not followed", self.processes.refused_mappings),
            ("records not understood", self.unknown),
            (
                "places of allocation beyond the limit",
                self.builder.sources.iter().map(|source| source.held.refused).sum(),
            ),
        ])
    }

    /// Adds a batch of samples and what processes did until it was drained, both in order of time.
    ///
    /// # Errors
    /// The kernel cannot be asked for stacks anew.
    pub fn add(&mut self, mut batch: Batch, events: Vec<TaskEvent>, base: &mut Base) -> Result<()> {
        self.builder.stacks.add(batch.stacks.drain(..));
        batch.samples.sort_by_key(|sample| sample.time);
        let mut events = events.into_iter().peekable();
        for sample in batch.samples {
            while let Some(event) = events.next_if(|event| event.time <= sample.time) {
                self.apply(event);
            }
            self.add_sample(sample);
        }
        for free in batch.frees {
            while let Some(event) = events.next_if(|event| event.time <= free.time) {
                self.apply(event);
            }
            if let Some(source) = self.builder.sources.get_mut(usize::from(free.source)) {
                source.held.free(free);
            }
        }
        events.for_each(|event| self.apply(event));
        let followed = self.waiting.load(None, &mut self.processes)?;
        self.keep_followed(followed);
        if self.builder.stacks.is_full() {
            self.builder.stacks.age();
            base.forget_stacks()?;
        }
        self.unknown += batch.unknown;
        if self.processes.should_forget() {
            self.forget_ended();
        }
        Ok(())
    }

    /// Takes the names that are ready, and with `ask` sends frames without one to be named.
    pub fn name(&mut self, base: &Base, ask: bool) {
        let all_named = self.builder.take_names(Instant::now());
        if !self.keep_debug_info && all_named {
            symbolizer::cache::clear();
        }
        if ask {
            self.builder.ask(base);
        }
        self.processes.close_idle();
        self.forget_ended();
    }

    /// True if all frames that were sent to be named have the names that there are.
    pub fn is_named(&self) -> bool {
        self.builder.naming.is_idle()
    }

    /// Waits for what samples still lack, tables and names, but not longer than `patience`; to be
    /// called at the end of a recording. `meanwhile` is done now and then, so that the kernel's
    /// buffers do not fill.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub fn complete(
        &mut self,
        base: &mut Base,
        patience: Duration,
        meanwhile: &mut Meanwhile<'_>,
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < TABLES_WAIT.min(patience) && !self.waiting.is_empty() {
            let followed = self.waiting.load(Some(SLICE), &mut self.processes)?;
            self.keep_followed(followed);
            meanwhile(base)?;
        }
        let followed = self.waiting.follow_all(&mut self.processes)?;
        self.keep_followed(followed);
        self.builder.ask(base);
        self.wait_for_names(base, start + patience, meanwhile)?;
        self.builder.ask_perf_maps();
        self.wait_for_names(base, start + patience, meanwhile)?;
        self.waiting.trim();
        self.forget_ended();
        Ok(())
    }

    fn wait_for_names(
        &mut self,
        base: &mut Base,
        deadline: Instant,
        meanwhile: &mut Meanwhile<'_>,
    ) -> Result<()> {
        while !self.builder.take_names(deadline.min(Instant::now() + SLICE))
            && Instant::now() < deadline
        {
            meanwhile(base)?;
        }
        Ok(())
    }

    fn forget_ended(&mut self) {
        let ended = self.processes.forget_ended(|process| self.waiting.waits(process));
        ended.into_iter().for_each(|pid| self.waiting.forget(pid));
    }

    fn apply(&mut self, event: TaskEvent) {
        let gives_back = match event.kind {
            TaskKind::Exec => true,
            TaskKind::Exit => !self.roots.contains(&event.pid),
            TaskKind::Map(_) | TaskKind::ForkedFrom(_) => false,
        };
        if gives_back {
            for source in &mut self.builder.sources {
                source.held.end(event.pid, event.time);
            }
        }
        self.builder.labels.apply(&event);
        self.waiting.apply(&event, &mut self.processes);
        self.processes.apply(event);
    }

    fn add_sample(&mut self, sample: RawSample) {
        // Now, since the process may be gone when its tables are there.
        let thread = self.builder.thread(&sample);
        if sample.snapshot.is_some() {
            let followed = self.waiting.add(sample, thread, &mut self.processes);
            self.keep_followed(followed);
        } else {
            self.builder.keep(&sample, thread, sample.pid, false, &mut self.processes);
        }
    }

    fn keep_followed(&mut self, followed: impl IntoIterator<Item = Followed>) {
        for followed in followed {
            self.builder.keep_followed(followed, &mut self.processes);
        }
    }
}

/// Bytes in hexadecimal, as build ids are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String does not fail
        text
    })
}
