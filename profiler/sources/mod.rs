//! The sources: what can be measured, a file each, and the one table of them.
//!
//! A source attaches its kernel half and yields a [`Stream`]; everything after that (draining,
//! naming, storing, showing) is the same for all sources of a kind. What they share in the kernel is
//! in [`Base`].

mod base;
mod cpu;
mod events;
mod exec;
mod exit;
mod faults;
mod gc;
mod hardirqs;
mod heap;
mod kmem;
mod latency;
pub(crate) mod linux;
mod load;
mod offcpu;
mod open;
mod paths;
mod per_cpu;
mod probe;
mod probeline;
mod probetime;
mod readline;
mod runqlat;
mod runtimes;
mod signal;
mod softirqs;
mod syscalls;
mod tcp;
mod tcpconnlat;
mod tcprtt;
mod tcpstates;
mod unlink;
mod weights;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail};

pub use base::Base;
pub use events::{EventCounts, EventStream, Events, Filters, RING_BYTES};
pub(crate) use heap::has_sessions;
pub use latency::{Ability, End, Family, Gauge, Latency, Question, check};
pub(crate) use linux::signal_number;
pub(crate) use load::has_syscall_programs;
pub use offcpu::WaitOptions;
pub(crate) use per_cpu::explain as explain_perf;
pub(crate) use probe::split as split_period;

use crate::{
    collector::TaskEvent,
    model::{SourceInfo, Stats},
    probe::is_probe,
    resolve::Held,
    shim::Shim,
    target::Target,
};

/// A source, by its kind.
#[derive(Clone, Copy)]
pub enum Source {
    /// Weighted stacks, for `rprof record` and the agent.
    Stacks(&'static dyn Stacks),
    /// A record for each occurrence, for `rprof trace`.
    Events(&'static dyn Events),
    /// Histograms of times, for `rprof latency`.
    Latency(&'static dyn Latency),
}

/// Every source.
pub const SOURCES: &[Source] = &[
    Source::Stacks(&cpu::Cpu),
    Source::Stacks(&offcpu::Offcpu),
    Source::Stacks(&offcpu::Runqlat),
    Source::Stacks(&heap::Heap),
    Source::Stacks(&faults::Faults),
    Source::Stacks(&kmem::Kmem),
    Source::Events(&exec::Exec),
    Source::Events(&exit::Exit),
    Source::Events(&open::Open),
    Source::Events(&unlink::Unlink),
    Source::Events(&signal::Signal),
    Source::Events(&readline::Readline),
    Source::Events(&tcpstates::Tcpstates),
    Source::Events(&syscalls::Syscalls),
    Source::Latency(&runqlat::Runqlat),
    Source::Latency(&hardirqs::Hardirqs),
    Source::Latency(&softirqs::Softirqs),
    Source::Latency(&gc::Gc),
    Source::Latency(&tcpconnlat::Tcpconnlat),
    Source::Latency(&tcprtt::Tcprtt),
];

impl Source {
    /// Its word on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stacks(source) => source.name(),
            Self::Events(source) => source.name(),
            Self::Latency(source) => source.name(),
        }
    }
}

/// What a source is told when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whom to watch.
    pub target: Target,
    /// Process that becomes a target when it next calls exec.
    pub at_exec: Option<u32>,
    /// Samples a second and CPU.
    pub frequency: u64,
    /// Whether user stacks are followed by frame pointers alone.
    pub frame_pointers: bool,
    /// Time between two wake-ups for new processes, at least.
    pub wakeup_pause: Duration,
    /// Of sources of memory.
    pub memory: MemoryOptions,
    /// Of sources of waits.
    pub waits: WaitOptions,
    /// The program that `at_exec` becomes.
    pub program: Option<PathBuf>,
    /// What it is preloaded with.
    pub shim: Option<Arc<Shim>>,
}

/// What sources of memory are told.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Bytes from one sample to the next, on average; 0: each allocation or page fault is kept; none:
    /// what is usual for the source.
    pub rate: Option<u64>,
    /// The least size of an allocation that is looked at, bytes.
    pub min_size: u64,
    /// The largest, bytes.
    pub max_size: u64,
    /// Prefixes of the names of allocators' functions, besides those that are known.
    pub prefixes: Vec<String>,
    /// What probes may cost, as a share of the target's CPU time; infinite: whatever it takes.
    pub max_overhead: f64,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            rate: None,
            min_size: 0,
            max_size: u64::MAX,
            prefixes: Vec::new(),
            max_overhead: f64::INFINITY,
        }
    }
}

impl MemoryOptions {
    /// Bytes from one sample of `heap` to the next, on average; 0: each allocation is kept.
    pub fn heap_rate(&self) -> u64 {
        self.rate.unwrap_or(heap::RATE)
    }
}

/// A source of kind `stacks`.
pub trait Stacks: Sync {
    /// Its word on the command line.
    fn name(&self) -> &'static str;

    /// Samples a second that it sends at most, as a rule: buffers are sized for them.
    ///
    /// # Errors
    /// The machine does not tell its CPUs.
    fn samples_a_second(&self, options: &Options) -> Result<u64>;

    /// Loads its kernel half, as source number `number` of those that share `base`. Nothing is
    /// measured before [`Stream::start`].
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it: says what is missing.
    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>>;
}

/// A source of kind `stacks` at work. What it samples comes out of the [`Base`] that it shares.
pub trait Stream {
    /// How it samples.
    fn info(&self) -> SourceInfo;

    /// Begins to measure.
    ///
    /// # Errors
    /// The kernel refuses to attach it.
    fn start(&mut self) -> Result<()>;

    /// Ends measuring; what was measured can still be drained and counted.
    fn stop(&mut self);

    /// Whose memory its samples are of.
    fn held(&self) -> Held {
        Held::Nothing
    }

    /// What a sample that was taken at `time` stands for: how many of what the source counts, and
    /// its value, from what the kernel said of both. Always the same for the same sample.
    fn weigh(&self, count: u64, value: u64, _time: u64) -> (u64, u64) {
        (count, value)
    }

    /// Follows what processes did.
    ///
    /// # Errors
    /// The kernel refuses something.
    fn follow(&mut self, _events: &[TaskEvent]) -> Result<()> {
        Ok(())
    }

    /// How long it can be left alone; then [`Stream::tend`] is due.
    fn rests(&self) -> Option<Duration> {
        None
    }

    /// Does what is to be done now and then.
    ///
    /// # Errors
    /// The kernel refuses something.
    fn tend(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sends what is still under way, after [`Stream::stop`]. True if there is more of it, once what
    /// was sent is drained.
    ///
    /// # Errors
    /// The kernel refuses something.
    fn tell_rest(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Follows CPUs that came online or went away. On those in `renewed` all events are void: they
    /// are new, or were away for a while.
    ///
    /// # Errors
    /// A CPU that is online cannot be sampled.
    fn follow_cpus(&mut self, _renewed: &[usize]) -> Result<()> {
        Ok(())
    }

    /// Samples at another rate (samples a second and CPU) from now on. Each sample keeps the weight
    /// of the rate that it was taken at, so their sum stays right.
    ///
    /// # Errors
    /// The kernel refuses an event; CPUs that were changed by then stay so.
    fn set_rate(&mut self, _frequency: u64) -> Result<()> {
        Ok(())
    }

    /// Adds what the kernel counted so far to `stats`.
    fn count(&self, base: &Base, stats: &mut Stats);
}

/// The name of a kernel address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelSymbol {
    /// Function.
    pub name: String,
    /// Module, if not the kernel itself.
    pub module: Option<String>,
}

/// The source of kind `stacks` of that name, or for that probe.
///
/// # Errors
/// There is none: names those that there are.
pub fn find_stacks(name: &str) -> Result<&'static dyn Stacks> {
    if is_probe(name) {
        // Once for each probe of a run.
        return Ok(Box::leak(Box::new(probe::Hits::parse(name)?)));
    }
    let stacks = SOURCES.iter().filter_map(|source| match source {
        Source::Stacks(source) => Some(*source),
        _ => None,
    });
    match stacks.clone().find(|source| source.name() == name) {
        Some(source) => Ok(source),
        None => {
            let known: Vec<&str> = stacks.map(Stacks::name).collect();
            bail!("no source {name:?}; there is: {}", known.join(", "))
        }
    }
}

/// The source of kind `events` of that name, or for that probe.
///
/// # Errors
/// There is none: names those that there are.
pub fn find_events(name: &str) -> Result<&'static dyn Events> {
    if is_probe(name) {
        // Once for each probe of a run.
        return Ok(Box::leak(Box::new(probeline::Hits::parse(name)?)));
    }
    let events = SOURCES.iter().filter_map(|source| match source {
        Source::Events(source) => Some(*source),
        _ => None,
    });
    match events.clone().find(|source| source.name() == name) {
        Some(source) => Ok(source),
        None => {
            let known: Vec<&str> = events.map(Events::name).collect();
            bail!("no events {name:?}; there are: {}", known.join(", "))
        }
    }
}

/// The source of kind `latency` of that name, or for that probe.
///
/// # Errors
/// There is none: names those that there are.
pub fn find_latency(name: &str) -> Result<&'static dyn Latency> {
    if is_probe(name) {
        // Once for each probe of a run.
        return Ok(Box::leak(Box::new(probetime::Calls::parse(name)?)));
    }
    let known = SOURCES.iter().filter_map(|source| match source {
        Source::Latency(source) => Some(*source),
        _ => None,
    });
    match known.clone().find(|source| source.name() == name) {
        Some(source) => Ok(source),
        None => {
            let names: Vec<&str> = known.map(Latency::name).collect();
            bail!("no latency {name:?}; there is: {}", names.join(", "))
        }
    }
}

/// The wait between two wake-ups, at most, and how much buffer it has to cover.
pub(crate) const POLL_MS: u16 = 250;
