//! Source `offcpu`: where threads wait, and for how long; and `runqlat` as stacks, which is the same
//! of those that wait for nothing but a CPU.

use std::{
    io,
    mem::MaybeUninit,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use libbpf_rs::{
    Iter, Link,
    btf::{Btf, types::Func},
    skel::{OpenSkel, SkelBuilder},
};

use super::{Base, Options, Stacks, Stream, load};
use crate::{
    bpf::offcpu,
    machine,
    model::{SourceInfo, Stats, ValueType, WaitState},
};

/// How often threads are looked through for waits that last, at most; and the least time between,
/// by what it takes.
const TELL: Duration = Duration::from_secs(1);
const TELL_SHARE: u32 = 200;

/// Rounds of telling what still waits at the end, each as much as the ring buffer holds.
const ROUNDS_MAX: u32 = 256;

/// `enum tell_mode` of `bpf/tell.bpf.h`.
const TELL_BEGIN: u32 = 0;
const TELL_LONG: u32 = 1;
const TELL_ALL: u32 = 2;

/// The source.
pub struct Offcpu;

/// Waits for a CPU.
pub struct Runqlat;

/// What sources of waits are told.
#[derive(Clone, Debug, Default)]
pub struct WaitOptions {
    /// The shortest wait that is looked at.
    pub min: Duration,
    /// The longest.
    pub max: Option<Duration>,
    /// What threads wait for; all if empty.
    pub states: Vec<WaitState>,
    /// Whether each wait is a sample.
    pub exact: bool,
    /// Whether threads of the kernel are looked at.
    pub kernel_threads: bool,
    /// Whether it is recorded who wakes threads.
    pub waker: bool,
    /// Whether user stacks are taken at the end of system calls though this kernel allows better,
    /// as those before 6.18 do not.
    pub at_call_ends: bool,
}

impl Stacks for Offcpu {
    fn name(&self) -> &'static str {
        "offcpu"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        samples_a_second(options)
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        let states = match &options.waits.states[..] {
            [] => WaitState::ALL.to_vec(),
            states => states.to_vec(),
        };
        open(Kind::Offcpu, &states, options, base, number)
    }
}

impl Stacks for Runqlat {
    fn name(&self) -> &'static str {
        "runqlat"
    }

    fn samples_a_second(&self, options: &Options) -> Result<u64> {
        samples_a_second(options)
    }

    fn open(&self, options: &Options, base: &Base, number: u32) -> Result<Box<dyn Stream>> {
        let states = [WaitState::Preempted, WaitState::Runnable];
        open(Kind::Runqlat, &states, options, base, number)
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Offcpu,
    Runqlat,
}

/// Threads wait at the same time, so there is no limit to what they wait in a second.
const THREADS_USUAL: u64 = 64;

fn samples_a_second(options: &Options) -> Result<u64> {
    check(options)?;
    Ok(match options.waits.exact {
        true => 100_000,
        false => options.frequency * THREADS_USUAL,
    })
}

fn check(options: &Options) -> Result<()> {
    if options.frequency == 0 {
        bail!("a frequency of 0 Hz takes no samples");
    }
    if options.waits.max.is_some_and(|max| max < options.waits.min) {
        bail!("no wait is at least as long as --min and at most as long as --max");
    }
    Ok(())
}

/// ns of waiting from one sample to the next.
fn period(options: &Options, frequency: u64) -> u64 {
    if options.waits.exact { 0 } else { 1_000_000_000 / frequency.max(1) }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().min(u64::MAX.into()) as u64
}

fn open(
    kind: Kind,
    states: &[WaitState],
    options: &Options,
    base: &Base,
    number: u32,
) -> Result<Box<dyn Stream>> {
    check(options)?;
    // Once for each run of rprof: what borrows from it may then live as long as it needs.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = offcpu::OffcpuSkelBuilder::default().open(storage)?;
    let rodata = open.maps.rodata_data.as_deref_mut().context("offcpu.bpf.c has no .rodata")?;
    load::configure!(rodata, options);
    load::number!(rodata, options, base, number);
    let waits = &options.waits;
    rodata.wait_states = states.iter().fold(0, |all, state| all | 1 << state.number());
    rodata.wait_min = nanoseconds(waits.min);
    rodata.wait_max = waits.max.map_or(u64::MAX, nanoseconds);
    rodata.with_kernel_threads = waits.kernel_threads;
    let btf = Btf::from_vmlinux().context("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")?;
    let has = |name: &str| btf.type_by_name::<Func<'_>>(name).is_some();
    let before_return = ["bpf_task_work_schedule_resume", "bpf_task_work_schedule_resume_impl"];
    let before_return = before_return.into_iter().any(has) && !options.waits.at_call_ends;
    rodata.at_call_ends = !before_return;
    open.progs.offcpu_call_end.set_autoload(!before_return);
    open.progs.offcpu_waking.set_autoload(waits.waker);
    // bpf_copy_from_user_task() came with 5.18.
    let reads_others = has("bpf_copy_from_user_task");
    open.progs.offcpu_tell.set_autoload(reads_others);
    open.progs.offcpu_tell_kernel.set_autoload(!reads_others);
    let bss = open.maps.bss_data.as_deref_mut().context("offcpu.bpf.c has no .bss")?;
    bss.period = period(options, options.frequency);
    base.lend(open.open_object_mut())?;
    let skel = open.load().map_err(load::explain)?;
    Ok(Box::new(Waiting {
        kind,
        number,
        options: options.clone(),
        frequency: options.frequency,
        links: Vec::new(),
        told: Instant::now(),
        rests: TELL,
        rounds: 0,
        tell: None,
        skel,
    }))
}

struct Waiting {
    kind: Kind,
    number: u32,
    options: Options,
    frequency: u64,
    links: Vec<Link>,
    /// Goes through all threads each time it is read.
    tell: Option<Link>,
    told: Instant,
    /// How long until the next time.
    rests: Duration,
    /// How often it was done since measuring ended.
    rounds: u32,
    skel: offcpu::OffcpuSkel<'static>,
}

impl Waiting {
    /// Goes through all threads. True if there was no room for all that was to be told.
    fn go_through(&mut self, mode: u32) -> Result<bool> {
        let Some(link) = &self.tell else { return Ok(false) };
        let bss = self.skel.maps.bss_data.as_deref_mut().context("offcpu.bpf.c has no .bss")?;
        bss.tell_mode = mode;
        bss.tell_again = 0;
        let mut threads = Iter::new(link).context("cannot go through all threads")?;
        // It writes nothing: that it is read is what counts.
        let read = io::copy(&mut threads, &mut io::sink());
        read.context("cannot go through all threads")?;
        Ok(bss.tell_again != 0)
    }
}

impl Stream for Waiting {
    fn info(&self) -> SourceInfo {
        let (name, value) = match self.kind {
            Kind::Offcpu => ("offcpu", "off_cpu"),
            Kind::Runqlat => ("runqlat", "runqlat"),
        };
        SourceInfo {
            name: name.into(),
            event: "sched_switch".into(),
            period: period(&self.options, self.frequency).max(1),
            count: ValueType::new("waits", "count"),
            value: ValueType::new(value, "nanoseconds"),
            ..SourceInfo::default()
        }
    }

    fn start(&mut self) -> Result<()> {
        let progs = &self.skel.progs;
        for program in [&progs.offcpu_waking, &progs.offcpu_call_end, &progs.offcpu_switch] {
            if program.autoload() {
                self.links
                    .push(program.attach().context("cannot attach to a tracepoint of sched")?);
            }
        }
        let tell = match progs.offcpu_tell.autoload() {
            true => &progs.offcpu_tell,
            false => &progs.offcpu_tell_kernel,
        };
        self.tell = Some(tell.attach().context("cannot go through all threads")?);
        self.go_through(TELL_BEGIN)?;
        self.told = Instant::now();
        Ok(())
    }

    fn stop(&mut self) {
        // Waits that end while the others are told of are still to be seen: see `tell_rest`.
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.tell_until = machine::monotonic_ns();
        }
    }

    fn rests(&self) -> Option<Duration> {
        Some(self.rests.saturating_sub(self.told.elapsed()))
    }

    fn tend(&mut self) -> Result<()> {
        if self.told.elapsed() < self.rests {
            return Ok(());
        }
        let start = Instant::now();
        self.go_through(TELL_LONG)?;
        self.told = Instant::now();
        let pause = self.options.wakeup_pause.max(TELL);
        self.rests = (TELL_SHARE * start.elapsed()).max(pause);
        Ok(())
    }

    fn tell_rest(&mut self) -> Result<bool> {
        self.rounds += 1;
        let more = self.go_through(TELL_ALL)? && self.rounds < ROUNDS_MAX;
        if !more {
            self.links.clear();
        }
        Ok(more)
    }

    fn set_rate(&mut self, frequency: u64) -> Result<()> {
        self.frequency = frequency;
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.period = period(&self.options, frequency);
        }
        Ok(())
    }

    fn count(&self, base: &Base, stats: &mut Stats) {
        base.count(self.number, stats);
        let progs = &self.skel.progs;
        load::add_run_time(
            &[&progs.offcpu_switch, &progs.offcpu_call_end, &progs.offcpu_waking],
            stats,
        );
        load::or_own_run_time(&base.counters(self.number), stats);
        let Some(bss) = self.skel.maps.bss_data.as_deref() else { return };
        for (what, count) in [
            ("waits not looked at", bss.waits_missed),
            ("waits whose end was not seen", bss.ends_unseen),
            ("waits whose user stack was gone", bss.without_user_stack),
            ("wakers whose stack was lost", bss.wakers_lost),
        ] {
            *stats.missed.entry(what.into()).or_default() += count;
        }
    }
}
