//! A recording session: drains the kernel, resolves, and writes, until it is told to stop.
//!
//! All that can fail for want of a privilege, a kernel feature or a place to write fails in
//! [`Session::open`], before anything is measured. One session may write one recording after the
//! other: [`Session::begin`] starts the next without a sample lost between the two.

use std::{os::fd::BorrowedFd, time::Duration};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::{
    bpf::RunTimeStats,
    collector::{Batch, TaskEvent, TaskEvents},
    lanes::{self, Chosen, Lanes},
    machine,
    model::{Info, LaneInfo, LaneStats, Overhead, SourceInfo, Stats, UnwindTables},
    resolve::{Held, Limits, Resolver},
    sources::{Base, Options, Stream},
    store::{SourceState, Writer},
    unwind::Loader,
};

/// How long a recording that ends for another to begin may wait for tables and names. Meanwhile
/// samples of the next are read, but not resolved.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to record.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sources, of all kinds.
    pub sources: Vec<String>,
    /// What else there is to be, and how.
    pub lanes: lanes::Settings,
    /// What they are told.
    pub options: Options,
    /// Whom they watch, in words.
    pub target: String,
    /// Locked kernel memory that unwind tables may take, bytes.
    pub table_bytes: u64,
    /// Limits on our own memory.
    pub limits: Limits,
    /// Threads that name frames and build tables.
    pub workers: usize,
    /// How often what was recorded is made durable: what a kill -9 can cost at most.
    pub commit: Duration,
    /// How long to wait at most until there is something to read.
    pub poll: Duration,
    /// How often, at most, frames are named that came meanwhile. Asking a file again costs much the
    /// same whatever the number of frames, and most frames come in the first seconds: so the
    /// intervals grow up to this.
    pub naming: Duration,
    /// Whether a recording without any sample is kept.
    pub keep_empty: bool,
}

type Streams = Vec<Box<dyn Stream>>;

/// A recording at work.
pub struct Session {
    plan: Plan,
    base: Base,
    streams: Streams,
    lanes: Lanes,
    tasks: TaskEvents,
    resolver: Resolver,
    /// True if the kernel woke us just now: it will not do so again for a moment.
    woken: bool,
    /// None while there is no place to write to.
    writer: Option<Writer>,
    info: Info,
    sources: Vec<SourceInfo>,
    /// Keeps the kernel's accounting of BPF time on; none where that is not allowed, and sources
    /// give what they know themselves.
    _run_time: Option<RunTimeStats>,
    /// What was read and belongs to the next recording.
    batch: Batch,
    events: Vec<TaskEvent>,
    /// What the kernel had counted when the recording began, by source.
    before: Vec<Stats>,
    /// Changes of the rate: ns since the recording's start, and Hz.
    rates: Vec<(u64, u64)>,
    /// CLOCK_MONOTONIC, ns.
    start: u64,
    committed: u64,
    /// When frames are to be named next, and the interval until then.
    name_next: u64,
    naming: Duration,
    /// Samples that there was no place to write to, since a recording last told of them.
    unwritten: u64,
}

/// What a recording came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Facts.
    pub info: Info,
    /// Its sources, and what each counted.
    pub sources: Vec<(SourceInfo, Stats)>,
    /// What there is besides stacks, and what was counted of it.
    pub lanes: Vec<(LaneInfo, LaneStats)>,
}

impl Session {
    /// Loads and checks everything. Nothing is measured yet. `writer` makes the recording's file,
    /// once it is known that this machine allows recording; `why` says why it is begun, if an agent
    /// does.
    ///
    /// # Errors
    /// Says what is missing, and how to get it.
    pub fn open(plan: Plan, why: &str, writer: impl FnOnce() -> Result<Writer>) -> Result<Self> {
        let chosen = Chosen::of(&plan.sources, plan.lanes)?;
        plan.options.target.check()?;
        crate::doctor::check_recording()?;
        // Now, so that its threads do not inherit that we run ahead.
        machine::start_workers(plan.workers)?;
        let writer = writer()?;
        match Self::open_streams(&plan, &chosen) {
            Ok((base, streams, lanes, tasks, resolver)) => {
                let (host, kernel, architecture) = machine::uname();
                let info = Info {
                    version: env!("CARGO_PKG_VERSION").into(),
                    host,
                    kernel,
                    architecture,
                    cpus: machine::online_cpus()?.len() as u32,
                    target: plan.target.clone(),
                    begun_by: why.into(),
                    ..Info::default()
                };
                Ok(Self {
                    sources: Vec::new(),
                    base,
                    woken: false,
                    streams,
                    lanes,
                    tasks,
                    resolver,
                    writer: Some(writer),
                    info,
                    _run_time: RunTimeStats::enable().ok(),
                    batch: Batch::default(),
                    events: Vec::new(),
                    before: vec![Stats::default(); chosen.stacks.len()],
                    rates: Vec::new(),
                    start: 0,
                    committed: 0,
                    name_next: 0,
                    naming: plan.commit / 2,
                    unwritten: 0,
                    plan,
                })
            }
            Err(error) => {
                writer.discard();
                Err(error)
            }
        }
    }

    fn open_streams(
        plan: &Plan,
        chosen: &Chosen,
    ) -> Result<(Base, Streams, Lanes, TaskEvents, Resolver)> {
        let sources = &chosen.stacks;
        if plan.sources.is_empty() {
            bail!("no source to record");
        }
        let rates: Result<Vec<u64>> =
            sources.iter().map(|source| source.samples_a_second(&plan.options)).collect();
        let base = Base::open(&plan.options, rates?.iter().sum())?;
        let streams: Result<Vec<_>> = (0..)
            .zip(sources)
            .map(|(number, source)| source.open(&plan.options, &base, number))
            .collect();
        let streams = streams?;
        let lanes = Lanes::open(chosen, plan.lanes, &plan.options, &base)?;
        let loader = Loader::new(base.unwind_maps()?, plan.table_bytes)?;
        let held: Vec<Held> = streams.iter().map(|stream| stream.held()).collect();
        let resolver = Resolver::new(loader, &held, &plan.options.target.pids, &plan.limits)?;
        Ok((base, streams, lanes, TaskEvents::open()?, resolver))
    }

    /// Begins to measure. It is `unix_ns` now (since the Unix epoch).
    ///
    /// # Errors
    /// The kernel refuses to attach.
    pub fn start(&mut self, unix_ns: u64) -> Result<()> {
        // A command that is not started yet will be another program then.
        let options = &self.plan.options;
        let known = options.target.pids.iter().filter(|pid| Some(**pid) != options.at_exec);
        let before = machine::monotonic_ns();
        self.resolver.prepare(known.copied())?;
        let now = machine::monotonic_ns();
        self.starts_at(now, unix_ns + (now - before));
        machine::run_ahead();
        self.base.start()?;
        self.streams.iter_mut().try_for_each(|stream| stream.start())?;
        self.lanes.start()
    }

    /// Waits for the kernel to have something, for one of `others` to become readable, or for
    /// `timeout`; then takes in what there is.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub fn wait(&mut self, others: &[BorrowedFd<'_>], timeout: Duration) -> Result<()> {
        let pause = self.base.wakeup_pause();
        let pause = if self.woken && !pause.is_zero() { pause } else { self.plan.poll };
        let rests = self.streams.iter().filter_map(|stream| stream.rests()).min();
        let timeout = timeout.min(self.plan.poll).min(pause).min(self.until_commit());
        let timeout = timeout.min(rests.unwrap_or(timeout)).min(self.lanes.rests());
        // Upwards, or the last part of a millisecond would be spent going round.
        let timeout = timeout.as_nanos().div_ceil(1_000_000).min(60_000) as u16;
        let mut fds: Vec<PollFd<'_>> = (self.base.wakeup_fd().into_iter())
            .chain([self.resolver.wakeup_fd()])
            .chain(self.tasks.wakeup_fds())
            .chain(self.lanes.wakeup_fds())
            .chain(others.iter().copied())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match nix::poll::poll(&mut fds, PollTimeout::from(timeout)) {
            // The first is the base's.
            Ok(_) => self.woken = fds.first().is_some_and(|fd| fd.any() == Some(true)),
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for samples"),
        }
        self.streams.iter_mut().try_for_each(|stream| stream.tend())?;
        self.drain()
    }

    /// How long until [`Session::commit`] is due.
    pub fn until_commit(&self) -> Duration {
        let next = self.committed + self.plan.commit.as_nanos() as u64;
        Duration::from_nanos(next.saturating_sub(machine::monotonic_ns()))
    }

    /// Does what is to be done now and then, before [`Session::commit`]: follows CPUs that come and
    /// go, and names frames.
    ///
    /// # Errors
    /// The kernel refuses an event.
    pub fn keep_up(&mut self) -> Result<()> {
        let renewed = self.tasks.follow_cpus()?;
        self.streams.iter_mut().try_for_each(|stream| stream.follow_cpus(&renewed))?;
        let ask = self.committed >= self.name_next;
        self.resolver.name(&self.base, ask);
        if ask {
            self.naming = (2 * self.naming).min(self.plan.naming);
            self.name_next = self.committed + self.naming.as_nanos() as u64;
        }
        Ok(())
    }

    /// Makes durable what was recorded so far.
    ///
    /// # Errors
    /// The recording cannot be written; what was written before stays readable.
    pub fn commit(&mut self) -> Result<()> {
        let stats = self.stats_since(&self.counted());
        self.write(machine::monotonic_ns(), &stats)
    }

    /// Seals the recording, and begins the next, in the file that `writer` makes for a start at this
    /// time (ns since the Unix epoch). Samples go to the one or the other by their time.
    ///
    /// # Errors
    /// The next recording cannot be made: samples are counted as not written until this is called
    /// again. That the one before cannot be completed is logged; what was written of it before
    /// stays readable.
    pub fn begin(
        &mut self,
        unix_ns: u64,
        why: &str,
        writer: impl FnOnce() -> Result<Writer>,
    ) -> Result<()> {
        let was_writing = self.is_writing();
        let now = machine::monotonic_ns();
        let counted = self.counted();
        self.read()?;
        let samples = std::mem::take(&mut self.batch.samples);
        let events = std::mem::take(&mut self.events);
        let (samples, later) = samples.into_iter().partition(|sample| sample.time <= now);
        let (events, later_events) = events.into_iter().partition(|event| event.time <= now);
        (self.batch.samples, self.events) = (samples, events);
        self.resolve()?;
        (self.batch.samples, self.events) = (later, later_events);
        match self.seal(now, Some(&counted), PATIENCE) {
            // It told of those.
            Ok(_) if was_writing => self.unwritten = 0,
            Ok(_) => {}
            Err(error) => tracing::error!("the recording is not complete: {error:#}"),
        }
        self.before = counted;
        self.info.begun_by = why.into();
        self.starts_at(now, unix_ns);
        self.writer = None;
        self.writer = Some(writer()?);
        Ok(())
    }

    /// Gives the recording up: what is in it stays readable, and what comes is counted as not
    /// written until [`Session::begin`] is called.
    pub fn abandon(&mut self) {
        self.writer = None;
    }

    /// True while there is a place to write to.
    pub fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    /// Samples at another rate from now on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn set_rate(&mut self, frequency: u64) -> Result<()> {
        self.streams.iter_mut().try_for_each(|stream| stream.set_rate(frequency))?;
        self.rates.push((machine::monotonic_ns() - self.start, frequency));
        Ok(())
    }

    /// Drops what can be had again, to save memory.
    pub fn drop_caches(&mut self) {
        self.resolver.drop_caches();
    }

    /// What the recording's tables take, bytes.
    pub fn table_bytes(&self) -> usize {
        self.resolver.tables().bytes()
    }

    /// Time since the start of the recording, ns.
    pub fn elapsed(&self) -> u64 {
        machine::monotonic_ns() - self.start
    }

    /// What all recordings cost so far, and we before them.
    pub fn overhead(&self) -> Overhead {
        let mut sum = Overhead { cpu_seconds: machine::cpu_seconds(), ..Overhead::default() };
        for stats in self.counted() {
            sum.bpf_ns += stats.overhead.bpf_ns;
            sum.bpf_runs += stats.overhead.bpf_runs;
        }
        let (bpf_ns, bpf_runs) = self.lanes.cost();
        (sum.bpf_ns, sum.bpf_runs) = (sum.bpf_ns + bpf_ns, sum.bpf_runs + bpf_runs);
        sum
    }

    /// Size of the recording's file, bytes; 0 if it is not known.
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::bytes)
    }

    /// What was counted so far, of the first source.
    pub fn stats(&self) -> Stats {
        self.stats_since(&self.counted()).into_iter().next().unwrap_or_default()
    }

    /// Takes in what is left, names it as far as `patience` goes, and seals the recording. Where a
    /// recording without any sample is not kept, the summary tells.
    ///
    /// # Errors
    /// The recording cannot be written; what was written before stays readable.
    pub fn finish(mut self, patience: Duration) -> Result<Summary> {
        machine::run_all_ahead();
        self.streams.iter_mut().for_each(|stream| stream.stop());
        self.lanes.stop();
        self.base.stop();
        loop {
            let more: Result<Vec<bool>> =
                self.streams.iter_mut().map(|stream| stream.tell_rest()).collect();
            let more = more?.contains(&true);
            self.drain()?;
            if !more {
                break;
            }
        }
        self.lanes.read(&[], true)?;
        let stats = self.seal(machine::monotonic_ns(), None, patience)?;
        let sources = self.sources.into_iter().zip(stats).collect();
        Ok(Summary { info: self.info, sources, lanes: self.lanes.counted() })
    }

    fn starts_at(&mut self, monotonic: u64, unix: u64) {
        (self.start, self.committed, self.info.start) = (monotonic, monotonic, unix);
        (self.info.duration, self.info.complete) = (0, false);
        self.sources = self.streams.iter().map(|stream| stream.info()).collect();
        self.rates.clear();
        self.name_next = 0;
        self.naming = self.plan.commit / 2;
        self.resolver.begin(monotonic);
        self.lanes.begin(monotonic);
    }

    /// Completes the recording, which ends now. `counted` is what was counted until then.
    fn seal(
        &mut self,
        now: u64,
        counted: Option<&[Stats]>,
        patience: Duration,
    ) -> Result<Vec<Stats>> {
        let Self { base, streams, lanes, tasks, batch, events, .. } = self;
        let mut meanwhile = |base: &mut Base| read(base, streams, lanes, tasks, batch, events);
        self.resolver.complete(base, patience, &mut meanwhile)?;
        self.info.complete = true;
        let stats = match counted {
            Some(counted) => self.stats_since(counted),
            None => self.stats_since(&self.counted()),
        };
        self.write(now, &stats)?;
        if let Some(writer) = self.writer.take() {
            let empty = match &stats[..] {
                [] => !self.lanes.has_any(),
                stats => stats.iter().all(|stats| stats.samples == 0),
            };
            if empty && !self.plan.keep_empty {
                writer.discard();
            } else {
                writer.finish()?;
            }
        }
        Ok(stats)
    }

    fn drain(&mut self) -> Result<()> {
        self.read()?;
        self.resolve()
    }

    fn read(&mut self) -> Result<()> {
        let Self { base, streams, lanes, tasks, batch, events, .. } = self;
        read(base, streams, lanes, tasks, batch, events)
    }

    fn resolve(&mut self) -> Result<()> {
        let (batch, events) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.events));
        self.resolver.tell(self.lanes.began());
        self.resolver.add(batch, events, &mut self.base)
    }

    fn write(&mut self, now: u64, stats: &[Stats]) -> Result<()> {
        self.committed = now;
        self.info.duration = now - self.start;
        for (info, stream) in self.sources.iter_mut().zip(&self.streams) {
            info.event = stream.info().event;
        }
        let mut samples: Vec<_> =
            (0..self.sources.len()).map(|number| self.resolver.take_samples(number)).collect();
        let mut frees: Vec<_> =
            (0..self.sources.len()).map(|number| self.resolver.take_frees(number)).collect();
        let named = self.resolver.take_named();
        self.lanes.gather(now)?;
        for note in self.lanes.notes() {
            tracing::info!("{note}");
        }
        let count = samples.iter().map(|samples| samples.len() as u64).sum::<u64>();
        let (info, zero) = (&self.info, self.info.start.saturating_sub(self.start));
        let writer = &mut self.writer;
        self.lanes.take(zero, |lanes| {
            if let Some(writer) = writer {
                writer.add_lanes(info, lanes);
            }
        });
        let Some(writer) = &mut self.writer else {
            self.unwritten += count;
            return Ok(());
        };
        let mut states: Vec<_> = (self.sources.iter().zip(stats).zip(&mut samples))
            .zip(&mut frees)
            .map(|(((info, stats), samples), frees)| SourceState { info, stats, samples, frees })
            .collect();
        let written = writer.commit(&self.info, &mut states, self.resolver.tables(), &named);
        if written.is_err() {
            self.unwritten += count;
        }
        written.with_context(|| self.how_far())
    }

    /// What the kernel, and this process, counted since they began, by source.
    fn counted(&self) -> Vec<Stats> {
        let tables = self.resolver.tables_in_kernel();
        let turned_away = [
            ("processes without tables", tables.refused),
            ("unwind tables evicted", tables.evicted),
            ("process events lost", self.tasks.lost),
        ];
        let mut counted = vec![Stats::default(); self.streams.len()];
        for (stream, stats) in self.streams.iter().zip(&mut counted) {
            stream.count(&self.base, stats);
            stats.overhead.cpu_seconds = machine::cpu_seconds();
            for (what, count) in turned_away {
                *stats.missed.entry(what.into()).or_default() += count;
            }
        }
        counted
    }

    /// What was counted since the recording began.
    fn stats_since(&self, counted: &[Stats]) -> Vec<Stats> {
        let tables = self.resolver.tables_in_kernel();
        let stats = counted.iter().zip(&self.before).enumerate().map(|(number, (now, before))| {
            let mut stats = now.since(before);
            stats.overhead.peak_rss_bytes = machine::peak_rss();
            stats.overhead.rss_bytes = machine::rss();
            stats.rates.clone_from(&self.rates);
            stats.truncated += self.resolver.truncated(number);
            for (&reason, &count) in self.resolver.failed(number) {
                stats.unwind_failed.insert(reason.into(), count);
            }
            stats.tables =
                UnwindTables { files: tables.files, rows: tables.rows, bytes: tables.bytes };
            let unwritten = ("samples not written", self.unwritten);
            for (what, count) in self.resolver.missed().chain([unwritten]) {
                *stats.missed.entry(what.into()).or_default() += count;
            }
            stats.missed.retain(|_, count| *count > 0);
            stats
        });
        stats.collect()
    }

    fn how_far(&self) -> String {
        let place = self.writer.as_ref().map(|writer| writer.partial().display().to_string());
        format!(
            "the recording ends {:.0} s after its start; what there is of it is in {}",
            self.info.duration as f64 / 1e9,
            place.unwrap_or_default(),
        )
    }
}

/// Takes over what the kernel has.
fn read(
    base: &mut Base,
    streams: &mut Streams,
    lanes: &mut Lanes,
    tasks: &mut TaskEvents,
    batch: &mut Batch,
    events: &mut Vec<TaskEvent>,
) -> Result<()> {
    let (samples, frees) = (batch.samples.len(), batch.frees.len());
    base.drain(batch)?;
    for sample in &mut batch.samples[samples..] {
        let Some(stream) = streams.get(usize::from(sample.source)) else { continue };
        (sample.count, sample.weight) = stream.weigh(sample.count, sample.weight, sample.time);
    }
    for free in &mut batch.frees[frees..] {
        let Some(stream) = streams.get(usize::from(free.source)) else { continue };
        (free.count, free.value) = stream.weigh(1, free.size, free.born);
    }
    // Of no weight: from a time that is not part of the recording.
    batch.samples.retain(|sample| (sample.count, sample.weight) != (0, 0));
    batch.frees.retain(|free| (free.count, free.value) != (0, 0));
    // After the samples, so that no process of theirs did anything that we do not know of.
    let mut new = tasks.drain();
    streams.iter_mut().try_for_each(|stream| stream.follow(&new))?;
    lanes.read(&new, false)?;
    events.append(&mut new);
    Ok(())
}
