//! `rprof latency`.

use std::{
    io::{self, IsTerminal},
    os::fd::BorrowedFd,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::{args::LatencyArgs, signals::Signals};
use crate::{
    collector::Gathered,
    doctor, machine,
    model::{Interval, Key, Stats},
    output::{Bars, write_each, write_json},
    sources::{self, Base, End, Family, Gauge, Latency, Options, Question},
    target::{Target, has_ended},
};

/// How often it is looked whether the target has ended.
const LOOK: Duration = Duration::from_millis(250);
/// How often the kernel's histograms are read at least: their counts have 32 bits.
const READ: Duration = Duration::from_secs(60);

/// Measures, and prints what came of it.
pub fn latency(args: &LatencyArgs) -> Result<ExitCode> {
    let source = sources::find_latency(args.what())?;
    let target = args.target.target()?;
    target.check()?;
    let options = Options { target: target.clone(), ..Options::default() };
    let question = question(args, source);
    sources::check(source, &options, &question)?;
    check_cpu(question.cpu)?;
    doctor::check_recording()?;
    let mut signals = Signals::catch()?;
    let mut base = Base::without_stacks(&options)?;
    let mut gauge = source.open(&options, &question, &base)?;
    base.start()?;
    gauge.start()?;
    let start = machine::monotonic_ns();
    if io::stderr().is_terminal() {
        let end = if args.duration.is_some() { "" } else { "; Ctrl-C ends it" };
        say!("rprof: measuring {}, {target}{end}", args.what());
    }
    let mut measuring = Measuring {
        args,
        target,
        base,
        gauge,
        gathered: Gathered::default(),
        start,
        shown: start,
        read: start,
        found: false,
        children_lost: 0,
    };
    while measuring.step(&mut signals)? {}
    measuring.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn question(args: &LatencyArgs, source: &dyn Latency) -> Question {
    let by: Vec<Key> = match &args.by {
        Some(words) => words.iter().filter_map(|word| word.0).collect(),
        None => source.usual_keys().to_vec(),
    };
    Question {
        by,
        least: args.min.map_or(0, |least| least.as_nanos() as u64),
        cpu: args.cpu,
        local: End { address: args.local_address, port: args.local_port },
        remote: End { address: args.remote_address, port: args.remote_port },
        family: match (args.ipv4, args.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        },
        each: args.each,
        cheap: false,
    }
}

fn check_cpu(cpu: Option<u32>) -> Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let online = machine::online_cpus()?;
    if !online.contains(&(cpu as usize)) {
        let last = online.last().copied().unwrap_or_default();
        bail!("no CPU {cpu} is online; they are numbered 0 to {last}");
    }
    Ok(())
}

struct Measuring<'a> {
    args: &'a LatencyArgs,
    target: Target,
    base: Base,
    gauge: Box<dyn Gauge>,
    gathered: Gathered,
    /// CLOCK_MONOTONIC, ns: when it began, when it was last shown, and when last read.
    start: u64,
    shown: u64,
    read: u64,
    /// Whether there was anything to show.
    found: bool,
    children_lost: u64,
}

impl Measuring<'_> {
    /// Waits for something to do, and does it. False when it is to end.
    fn step(&mut self, signals: &mut Signals) -> Result<bool> {
        let now = machine::monotonic_ns();
        let until = |since: u64, time: Duration| {
            Duration::from_nanos((since + time.as_nanos() as u64).saturating_sub(now))
        };
        let due = self.args.interval.map_or(Duration::MAX, |time| until(self.shown, time));
        let over = self.args.duration.map_or(Duration::MAX, |time| until(self.start, time));
        if over.is_zero() {
            return Ok(false);
        }
        if due.is_zero() {
            self.gather()?;
            self.show()?;
        } else if until(self.read, READ).is_zero() {
            self.gather()?;
        }
        self.wait(signals.fd(), due.min(over).min(READ).min(self.gauge.due()))?;
        self.gauge.drain(&mut self.gathered)?;
        self.tell()?;
        Ok(signals.pending().next().is_none() && !self.target_has_ended())
    }

    fn wait(&self, signals: BorrowedFd<'_>, timeout: Duration) -> Result<()> {
        let timeout = if self.target.is_by_pid() { timeout.min(LOOK) } else { timeout };
        // Upwards, or the last part of a millisecond would be spent going round.
        let timeout = timeout.as_nanos().div_ceil(1_000_000).min(60_000) as u16;
        let fds = [Some(signals), self.gauge.wakeup_fd()].into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match nix::poll::poll(&mut fds, PollTimeout::from(timeout)) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait"),
        }
    }

    fn target_has_ended(&self) -> bool {
        self.target.is_by_pid() && self.target.pids.iter().all(|pid| has_ended(*pid))
    }

    fn gather(&mut self) -> Result<()> {
        self.read = machine::monotonic_ns();
        self.gauge.gather(&mut self.gathered)?;
        let mut stats = Stats::default();
        self.base.count(0, &mut stats);
        let lost = stats.missed.values().sum::<u64>();
        self.gathered.miss("children not followed", lost - self.children_lost);
        self.children_lost = lost;
        Ok(())
    }

    /// Tells what is not for the end of an interval.
    fn tell(&mut self) -> Result<()> {
        for note in self.gathered.notes.drain(..) {
            say!("rprof: {note}");
        }
        let occurrences = std::mem::take(&mut self.gathered.occurrences);
        if occurrences.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        // The clock of occurrences does not stop while it is set; this one may be.
        let unix = machine::unix_ns().saturating_sub(machine::monotonic_ns());
        write_each(self.args.what(), &occurrences, unix, self.args.json, &mut bytes)?;
        super::print(&bytes)
    }

    /// Prints the interval that ends now, and begins the next.
    fn show(&mut self) -> Result<()> {
        let now = machine::monotonic_ns();
        let (series, missed) = self.gathered.take();
        self.found |= !series.is_empty();
        let end = machine::unix_ns();
        let interval = Interval {
            source: self.args.what().to_owned(),
            target: self.target.to_string(),
            start: end.saturating_sub(now - self.shown),
            end,
            series,
            missed,
        };
        self.shown = now;
        let mut bytes = Vec::new();
        if self.args.json {
            write_json(&interval, &mut bytes)?;
        } else {
            let width = terminal_size::terminal_size().map(|(width, _)| width.0.into());
            let width = width.filter(|_| io::stdout().is_terminal());
            let Self { args, .. } = self;
            let bars = Bars { limit: args.limit, each: args.bars, ms: args.ms, width };
            bars.write(&interval, &mut bytes)?;
            bytes.push(b'\n');
        }
        super::print(&bytes)
    }

    /// Prints the last interval, and fails if there was never anything.
    fn finish(mut self) -> Result<()> {
        self.gauge.drain(&mut self.gathered)?;
        self.gather()?;
        self.tell()?;
        self.show()?;
        // After that: to take a probe back takes a while, and somebody waits for what was measured.
        self.gauge.stop();
        self.base.stop();
        if !self.found {
            let seconds = (machine::monotonic_ns() - self.start) as f64 / 1e9;
            let (name, target) = (self.args.what(), &self.target);
            bail!("{name} had nothing to measure of the target ({target}) in {seconds:.1} s");
        }
        Ok(())
    }
}
