//! A recording session: drains the kernel, resolves, and writes, until it is told to stop.
//!
//! All that can fail for want of a privilege, a kernel feature or a place to write fails in
//! [`Session::open`], before anything is measured.

use std::{os::fd::BorrowedFd, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::{
    bpf::RunTimeStats,
    collector::{Batch, TaskEvents},
    machine,
    model::{Info, SourceInfo, Stats, UnwindTables as Tables},
    resolve::Resolver,
    sources::{self, Options, POLL_MS, Stream},
    store::{SourceState, Writer},
    unwind::Loader,
};

/// How often what was recorded is made durable: what a kill -9 can cost at most.
const COMMIT_NS: u64 = 1_000_000_000;

/// How often, at most, frames are named that came meanwhile. Asking a file again costs much the same
/// whatever the number of frames, and most frames come in the first seconds: so the intervals grow
/// up to this.
const NAMING_NS_MAX: u64 = 4_000_000_000;

/// What to record, and where to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Source.
    pub source: String,
    /// What the source is told.
    pub options: Options,
    /// Whom it watches, in words.
    pub target: String,
    /// Locked kernel memory that unwind tables may take, bytes.
    pub table_bytes: u64,
    /// Where the recording goes.
    pub path: PathBuf,
}

/// A recording at work.
pub struct Session {
    stream: Box<dyn Stream>,
    tasks: TaskEvents,
    resolver: Resolver,
    writer: Writer,
    info: Info,
    source: SourceInfo,
    /// Kernel accounting of BPF time; none where it is not allowed.
    run_time: Option<RunTimeStats>,
    batch: Batch,
    /// CLOCK_MONOTONIC, ns.
    start: u64,
    committed: u64,
    /// When frames are to be named next, and the interval until then.
    name_next: u64,
    naming_ns: u64,
}

/// What a recording came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Facts.
    pub info: Info,
    /// Counts.
    pub stats: Stats,
}

impl Session {
    /// Loads and checks everything. Nothing is measured yet.
    ///
    /// # Errors
    /// Says what is missing, and how to get it.
    pub fn open(plan: &Plan) -> Result<Self> {
        let source = sources::find(&plan.source)?;
        plan.options.target.check()?;
        crate::doctor::check_recording()?;
        // Now, so that its threads do not inherit that we run ahead.
        machine::start_workers()?;
        let writer = Writer::create(&plan.path)?;
        match Self::open_stream(plan, source) {
            Ok((stream, tasks, resolver)) => {
                let (host, kernel, architecture) = machine::uname();
                let info = Info {
                    version: env!("CARGO_PKG_VERSION").into(),
                    host,
                    kernel,
                    architecture,
                    cpus: machine::online_cpus()?.len() as u32,
                    target: plan.target.clone(),
                    ..Info::default()
                };
                Ok(Self {
                    source: stream.info(),
                    stream,
                    tasks,
                    resolver,
                    writer,
                    info,
                    run_time: RunTimeStats::enable().ok(),
                    batch: Batch::default(),
                    start: 0,
                    committed: 0,
                    name_next: 0,
                    naming_ns: COMMIT_NS / 2,
                })
            }
            Err(error) => {
                writer.discard();
                Err(error)
            }
        }
    }

    fn open_stream(
        plan: &Plan,
        source: &dyn sources::Source,
    ) -> Result<(Box<dyn Stream>, TaskEvents, Resolver)> {
        let stream = source.open(&plan.options)?;
        let loader = Loader::new(stream.unwind_maps()?, plan.table_bytes)?;
        Ok((stream, TaskEvents::open()?, Resolver::new(loader)?))
    }

    /// Begins to measure.
    ///
    /// # Errors
    /// The kernel refuses to attach.
    pub fn start(&mut self) -> Result<()> {
        self.start = machine::monotonic_ns();
        self.committed = self.start;
        self.info.start = machine::unix_ns();
        self.resolver.set_start(self.start);
        machine::run_ahead();
        self.stream.start()
    }

    /// Waits for the kernel to have something, for one of `others` to become readable, or for a
    /// quarter of a second; then takes in what there is.
    ///
    /// # Errors
    /// The recording cannot be written; what was written before stays readable.
    pub fn step(&mut self, others: &[BorrowedFd<'_>], timeout: Duration) -> Result<()> {
        let timeout = timeout.as_millis().min(POLL_MS.into()) as u16;
        let mut fds: Vec<PollFd<'_>> = [self.stream.wakeup_fd(), self.resolver.wakeup_fd()]
            .into_iter()
            .chain(self.tasks.wakeup_fds())
            .chain(others.iter().copied())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match nix::poll::poll(&mut fds, PollTimeout::from(timeout)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for samples"),
        }
        self.drain()?;
        if machine::monotonic_ns() >= self.committed + COMMIT_NS {
            let renewed = self.tasks.follow_cpus()?;
            self.stream.follow_cpus(&renewed)?;
            if self.committed >= self.name_next {
                self.resolver.name(&mut *self.stream, false)?;
                self.naming_ns = (2 * self.naming_ns).min(NAMING_NS_MAX);
                self.name_next = self.committed + self.naming_ns;
            }
            self.commit()?;
        }
        Ok(())
    }

    /// Time since the start, ns.
    pub fn elapsed(&self) -> u64 {
        machine::monotonic_ns() - self.start
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.stream.count(&mut stats);
        stats.overhead.cpu_seconds = machine::cpu_seconds();
        stats.overhead.peak_rss_bytes = machine::peak_rss();
        stats.truncated += self.resolver.truncated();
        for (&reason, &count) in self.resolver.failed() {
            stats.unwind_failed.insert(reason.into(), count);
        }
        let tables = self.resolver.tables_in_kernel();
        stats.tables = Tables { files: tables.files, rows: tables.rows, bytes: tables.bytes };
        let lost = [
            ("processes without tables", tables.refused),
            ("unwind tables evicted", tables.evicted),
            ("process events lost", self.tasks.lost),
        ];
        for (what, count) in self.resolver.missed().chain(lost).filter(|&(_, count)| count > 0) {
            *stats.missed.entry(what.into()).or_default() += count;
        }
        if self.run_time.is_none() {
            stats.missed.insert("BPF time not measured (needs CAP_SYS_ADMIN)".into(), 1);
        }
        stats
    }

    /// Takes in what is left, names everything, and gives the recording its name. Without any
    /// sample there is no recording: the summary tells.
    ///
    /// # Errors
    /// The recording cannot be written; what was written before stays readable.
    pub fn finish(mut self) -> Result<Summary> {
        self.stream.stop();
        self.drain()?;
        self.resolver.name(&mut *self.stream, true)?;
        self.info.complete = true;
        let stats = self.commit()?;
        let summary = Summary { info: self.info, stats };
        if summary.stats.samples == 0 {
            self.writer.discard();
        } else {
            self.writer.finish()?;
        }
        Ok(summary)
    }

    fn drain(&mut self) -> Result<()> {
        self.stream.drain(&mut self.batch)?;
        // After the samples, so that no process of theirs did anything that we do not know of.
        let events = self.tasks.drain();
        self.resolver.add(std::mem::take(&mut self.batch), events, &mut *self.stream)
    }

    fn commit(&mut self) -> Result<Stats> {
        self.committed = machine::monotonic_ns();
        self.info.duration = self.committed - self.start;
        let stats = self.stats();
        let mut samples = self.resolver.take_samples();
        let named = self.resolver.take_named();
        let state = SourceState { info: &self.source, stats: &stats, samples: &mut samples };
        self.writer
            .commit(&self.info, &mut [state], self.resolver.tables(), &named)
            .with_context(|| self.how_far())?;
        Ok(stats)
    }

    fn how_far(&self) -> String {
        format!(
            "the recording ends {:.0} s after its start; what there is of it is in {}",
            self.info.duration as f64 / 1e9,
            self.writer.partial().display()
        )
    }
}
