//! The sources: what can be measured, a file each, and the one table of them.
//!
//! A source attaches its kernel half and yields a [`Stream`]; everything after that (draining,
//! naming, storing, showing) is the same for all sources of a kind.

mod cpu;
mod load;

use std::os::fd::BorrowedFd;

use anyhow::{Result, bail};

pub(crate) use load::has_syscall_programs;

use crate::{
    bpf,
    collector::Batch,
    model::{SourceInfo, Stats},
    target::Target,
    unwind,
};

/// Every source.
pub const SOURCES: &[&dyn Source] = &[&cpu::Cpu];

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
}

/// One thing that can be measured.
pub trait Source: Sync {
    /// Its word on the command line.
    fn name(&self) -> &'static str;

    /// Loads its kernel half. Nothing is measured before [`Stream::start`].
    ///
    /// # Errors
    /// The kernel or our privileges do not allow it: says what is missing.
    fn open(&self, options: &Options) -> Result<Box<dyn Stream>>;
}

/// A source of kind `stacks` at work.
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

    /// Becomes readable when a buffer fills or a new process was sampled.
    fn wakeup_fd(&self) -> BorrowedFd<'_>;

    /// Moves what the kernel has ready into `batch`.
    ///
    /// # Errors
    /// The ring buffer is not readable.
    fn drain(&mut self, batch: &mut Batch) -> Result<()>;

    /// Follows CPUs that came online or went away. On those in `renewed` all events are void: they
    /// are new, or were away for a while.
    ///
    /// # Errors
    /// A CPU that is online cannot be sampled.
    fn follow_cpus(&mut self, renewed: &[usize]) -> Result<()>;

    /// Samples at another rate (samples a second and CPU) from now on. Each sample keeps the weight
    /// of the rate that it was taken at, so their sum stays right.
    ///
    /// # Errors
    /// The kernel refuses an event; CPUs that were changed by then stay so.
    fn set_rate(&mut self, frequency: u64) -> Result<()>;

    /// Names kernel addresses: function and, for a module, the module.
    fn name_kernel(&mut self, addresses: &[u64]) -> Vec<Option<KernelSymbol>>;

    /// Has the kernel announce every stack anew, since we are about to forget those we know.
    ///
    /// # Errors
    /// The map cannot be written.
    fn forget_stacks(&mut self) -> Result<()>;

    /// The maps that unwind tables go into.
    ///
    /// # Errors
    /// No more descriptors are to be had.
    fn unwind_maps(&self) -> Result<unwind::Maps>;

    /// Adds what the kernel counted so far to `stats`.
    fn count(&self, stats: &mut Stats);
}

/// The name of a kernel address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelSymbol {
    /// Function.
    pub name: String,
    /// Module, if not the kernel itself.
    pub module: Option<String>,
}

/// The source of that name.
///
/// # Errors
/// There is none: names the nearest.
pub fn find(name: &str) -> Result<&'static dyn Source> {
    match SOURCES.iter().find(|source| source.name() == name) {
        Some(source) => Ok(*source),
        None => {
            let known: Vec<&str> = SOURCES.iter().map(|source| source.name()).collect();
            bail!("no source {name:?}; there is: {}", known.join(", "))
        }
    }
}

/// The wait between two wake-ups, at most, and how much buffer it has to cover.
pub(crate) const POLL_MS: u16 = 250;

/// Bytes that a ring buffer needs so that it holds what comes in four waits: samples with their
/// wake-up delayed, and a new stack of 30 frames for each.
pub(crate) fn ring_bytes(records_a_second: u64) -> u32 {
    let record = size_of::<bpf::sample>() as u64 + 2 * 256;
    let bytes = records_a_second * record * u64::from(POLL_MS) * 4 / 1000;
    bytes.clamp(1 << 20, 1 << 26).next_power_of_two() as u32
}
