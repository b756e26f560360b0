//! What a recording has besides stacks, as it is recorded: histograms of sources of kind `latency`,
//! and marks of what happened, by sources of kind `events`.
//!
//! Both run beside a session and share its targets. What they measure becomes slices of a second or
//! ten and marks with a bound on how many there may be in a second; the store keeps both.

mod choice;
mod marks;
mod processes;

use std::{collections::BTreeMap, os::fd::BorrowedFd, time::Duration};

use anyhow::{Error, Result};

pub use choice::{Chosen, Settings};
pub use processes::Program;

use crate::{
    collector::{EventRings, Gathered, Occurrence, TaskEvent},
    model::{Histogram, LaneInfo, LaneKind, LaneStats, Mark, Series, Slice, Stats},
    sources::{Base, EventStream, Events, Gauge, Options, check},
    store::LaneState,
};
use processes::Running;

/// Histograms of a slice; those of further keys are one.
const SERIES_MAX: usize = 64;
/// What the last of them is called where it is counted.
const TOGETHER: &str = "histograms that share one, for too many keys";
const NOT_FOLLOWED: &str = "programs not followed to their end";
const UNSEEN: &str = "programs whose end was noticed seconds later";
const LOST: &str = "marks lost, for want of room";

/// All lanes of a session.
pub struct Lanes {
    settings: Settings,
    gauges: Vec<Measuring>,
    // Before the streams, so that they are gone first.
    rings: EventRings,
    tracers: Vec<Tracing>,
    running: Running,
    began: Vec<Program>,
    /// Those that ran when it was last committed.
    lasting: Vec<Mark>,
}

/// What came of one lane.
#[derive(Default)]
struct Kept {
    info: LaneInfo,
    slices: Vec<Slice>,
    marks: Vec<Mark>,
    stats: LaneStats,
    /// Counted by the kernel before this recording began.
    before: LaneStats,
}

/// A source of kind `latency` at work.
struct Measuring {
    gauge: Box<dyn Gauge>,
    gathered: Gathered,
    /// Until when it was read, ns, CLOCK_MONOTONIC.
    since: u64,
    /// The second that marks are counted in, and how many there were.
    second: (u64, u64),
    kept: Kept,
}

/// A source of kind `events` at work.
struct Tracing {
    source: &'static dyn Events,
    stream: EventStream,
    hidden: bool,
    kept: Kept,
}

impl Lanes {
    /// Loads what was chosen. Nothing is measured yet.
    ///
    /// # Errors
    /// The kernel or our privileges do not allow one that is needed: says what is missing.
    pub fn open(
        chosen: &Chosen,
        settings: Settings,
        options: &Options,
        base: &Base,
    ) -> Result<Self> {
        let mut lanes = Self {
            settings,
            gauges: Vec::new(),
            rings: EventRings::default(),
            tracers: Vec::new(),
            running: Running::default(),
            began: Vec::new(),
            lasting: Vec::new(),
        };
        for lane in &chosen.latency {
            let opened = check(lane.source, options, &lane.question)
                .and_then(|()| lane.source.open(options, &lane.question, base));
            let Some(gauge) = or_without(opened, lane.needed, lane.source.name())? else {
                continue;
            };
            let info = LaneInfo {
                name: lane.source.name().into(),
                kind: LaneKind::Latency,
                unit: "nanoseconds".into(),
                by: lane.question.by.iter().map(|key| key.word().to_owned()).collect(),
            };
            let kept = Kept { info, ..Kept::default() };
            let (gathered, since, second) = (Gathered::default(), 0, (0, 0));
            lanes.gauges.push(Measuring { gauge, gathered, since, second, kept });
        }
        for lane in &chosen.events {
            let opened = lane.source.open(options, &lane.question, base);
            let Some(stream) = or_without(opened, lane.needed, lane.source.name())? else {
                continue;
            };
            let name = lane.source.name().to_owned();
            let (kind, unit) = (LaneKind::Events, "count".to_owned());
            let info = LaneInfo { name, kind, unit, by: Vec::new() };
            lanes.rings.add(&stream.ring()?)?;
            let kept = Kept { info, ..Kept::default() };
            lanes.tracers.push(Tracing { source: lane.source, stream, hidden: lane.hidden, kept });
        }
        Ok(lanes)
    }

    /// Begins to measure, after the base.
    ///
    /// # Errors
    /// The kernel refuses to attach one.
    pub fn start(&mut self) -> Result<()> {
        self.gauges.iter_mut().try_for_each(|lane| lane.gauge.start())?;
        self.tracers.iter_mut().try_for_each(|lane| lane.stream.start())
    }

    /// Ends measuring; what was measured can still be read.
    pub fn stop(&mut self) {
        self.tracers.iter_mut().for_each(|lane| lane.stream.stop());
    }

    /// Begins a recording at `now`, ns, CLOCK_MONOTONIC.
    pub fn begin(&mut self, now: u64) {
        for lane in &mut self.gauges {
            lane.since = now;
        }
        self.each_kept().for_each(|kept| kept.before = kept.stats.clone());
    }

    /// Become readable when there is something that cannot wait.
    pub fn wakeup_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let collections = self.gauges.iter().filter(|_| !self.settings.always_on);
        self.rings.wakeup_fds().chain(collections.filter_map(|lane| lane.gauge.wakeup_fd()))
    }

    /// How long it can be left alone.
    pub fn rests(&self) -> Duration {
        // An agent looks once in each window, which is soon enough for what lasts.
        let due = self.gauges.iter().filter(|_| !self.settings.always_on);
        due.map(|lane| lane.gauge.due()).min().unwrap_or(Duration::MAX)
    }

    /// Takes over what the kernel has, and what processes did; `last` if nothing comes after it.
    ///
    /// # Errors
    /// A buffer cannot be read.
    pub fn read(&mut self, events: &[TaskEvent], last: bool) -> Result<()> {
        for lane in &mut self.gauges {
            lane.gauge.drain(&mut lane.gathered)?;
            lane.keep_marks(self.settings.marks_a_second());
        }
        let Self { rings, tracers, running, began, .. } = self;
        let mut each = |number: usize, record: &[u8]| {
            take(tracers, running, began, number, record);
            Ok(())
        };
        match last {
            true => rings.finish(&mut each)?,
            false => while rings.read(&mut each)? {},
        }
        events.iter().for_each(|event| self.running.follow(event));
        Ok(())
    }

    /// Reads histograms until `now`, ns, CLOCK_MONOTONIC, and counts what was lost.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn gather(&mut self, now: u64) -> Result<()> {
        for lane in &mut self.gauges {
            lane.gauge.gather(&mut lane.gathered)?;
            lane.keep_marks(self.settings.marks_a_second());
            lane.slice(now);
        }
        let ended = self.running.ended(now);
        let (turned_away, unseen) = (self.running.turned_away, self.running.unseen);
        for lane in &mut self.tracers {
            let counts = lane.stream.counts();
            let mut cost = Stats::default();
            lane.stream.cost(&mut cost);
            let Kept { info, stats, marks, .. } = &mut lane.kept;
            stats.left_out = counts.left_out;
            (stats.bpf_ns, stats.bpf_runs) = (cost.overhead.bpf_ns, cost.overhead.bpf_runs);
            count(&mut stats.missed, LOST, counts.lost);
            if info.name == "exec" {
                stats.marks += ended.len() as u64;
                marks.extend(ended.iter().cloned());
                count(&mut stats.missed, NOT_FOLLOWED, turned_away);
                count(&mut stats.missed, UNSEEN, unseen);
            }
        }
        self.lasting = self.running.all().cloned().collect();
        Ok(())
    }

    /// What was measured since it was last taken, for the store. `unix` is what CLOCK_MONOTONIC
    /// was zero at, ns since the Unix epoch.
    pub fn take(&mut self, unix: u64, write: impl FnOnce(&mut [LaneState<'_>])) {
        let shift = |mark: &mut Mark| {
            mark.time = mark.time.saturating_add(unix);
            mark.end = mark.end.map(|end| end.saturating_add(unix));
        };
        let mut lasting = std::mem::take(&mut self.lasting);
        lasting.iter_mut().for_each(shift);
        let mut all: Vec<_> = self.each_kept().map(Kept::take).collect();
        let mut states = Vec::new();
        for (info, stats, slices, marks) in &mut all {
            slices.iter_mut().for_each(|slice| {
                slice.start = slice.start.saturating_add(unix);
                slice.end = slice.end.saturating_add(unix);
            });
            marks.iter_mut().for_each(shift);
            let lasting: &[Mark] = if info.name == "exec" { &lasting } else { &[] };
            states.push(LaneState { info, stats, slices, marks, lasting });
        }
        write(&mut states);
    }

    /// Programs that began since this was last asked, in the order of their time.
    pub fn began(&mut self) -> Vec<Program> {
        std::mem::take(&mut self.began)
    }

    /// Time in BPF programs so far, ns, and runs of them.
    pub fn cost(&self) -> (u64, u64) {
        let mut stats = Stats::default();
        self.gauges.iter().for_each(|lane| lane.gauge.cost(&mut stats));
        self.tracers.iter().for_each(|lane| lane.stream.cost(&mut stats));
        (stats.overhead.bpf_ns, stats.overhead.bpf_runs)
    }

    /// What each is, and what was counted of it since the recording began.
    pub fn counted(&mut self) -> Vec<(LaneInfo, LaneStats)> {
        self.each_kept().map(|kept| (kept.info.clone(), since(&kept.stats, &kept.before))).collect()
    }

    /// True if there was anything since the recording began.
    pub fn has_any(&mut self) -> bool {
        self.counted().iter().any(|(_, stats)| stats.times > 0 || stats.marks > 0)
            || self.running.all().next().is_some()
    }

    /// What a person should know.
    pub fn notes(&mut self) -> Vec<String> {
        self.gauges.iter_mut().flat_map(|lane| lane.gathered.notes.drain(..)).collect()
    }

    fn each_kept(&mut self) -> impl Iterator<Item = &mut Kept> {
        let traced = self.tracers.iter_mut().filter(|lane| !lane.hidden);
        self.gauges.iter_mut().map(|lane| &mut lane.kept).chain(traced.map(|lane| &mut lane.kept))
    }
}

/// Takes in the record of an event.
fn take(
    tracers: &mut [Tracing],
    running: &mut Running,
    began: &mut Vec<Program>,
    number: usize,
    record: &[u8],
) {
    let Some(lane) = tracers.get_mut(number) else { return };
    let Some(event) = lane.source.decode(record) else {
        count(&mut lane.kept.stats.missed, "records not understood", 1);
        return;
    };
    let failed = event.failed();
    if lane.source.name() == "exec" && !failed {
        began.push(Program::of(&event, lane.source));
    }
    let mark = marks::of_event(lane.source, event);
    let kept = match lane.source.name() {
        // It is told when it is over.
        "exec" if !failed => running.exec(mark),
        "exit" => {
            let program = running.exit(&mark);
            let exec = tracers.iter_mut().find(|lane| lane.source.name() == "exec");
            if let (Some(program), Some(exec)) = (program, exec) {
                exec.kept.keep(program);
            }
            Some(mark)
        }
        _ => Some(mark),
    };
    if let (Some(mark), Some(lane)) = (kept, tracers.get_mut(number))
        && !lane.hidden
    {
        lane.kept.keep(mark);
    }
}

fn count(missed: &mut BTreeMap<String, u64>, what: &str, now: u64) {
    if now > 0 {
        missed.insert(what.to_owned(), now);
    }
}

/// What was counted since `before`.
fn since(now: &LaneStats, before: &LaneStats) -> LaneStats {
    let missed = now.missed.iter().map(|(what, count)| {
        let before = before.missed.get(what).copied().unwrap_or_default();
        (what.clone(), count.saturating_sub(before))
    });
    LaneStats {
        times: now.times.saturating_sub(before.times),
        marks: now.marks.saturating_sub(before.marks),
        left_out: now.left_out.saturating_sub(before.left_out),
        missed: missed.filter(|(_, count)| *count > 0).collect(),
        bpf_ns: now.bpf_ns.saturating_sub(before.bpf_ns),
        bpf_runs: now.bpf_runs.saturating_sub(before.bpf_runs),
    }
}

/// What was opened; nothing, with a warning, where it can be done without.
fn or_without<T>(opened: Result<T>, needed: bool, name: &str) -> Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if needed => Err(Error::context(error, format!("cannot record {name}"))),
        Err(error) => {
            tracing::warn!("no marks of {name}: {error:#}");
            Ok(None)
        }
    }
}

impl Kept {
    fn keep(&mut self, mark: Mark) {
        self.stats.marks += 1;
        self.marks.push(mark);
    }

    fn take(&mut self) -> (LaneInfo, LaneStats, Vec<Slice>, Vec<Mark>) {
        let stats = since(&self.stats, &self.before);
        let (slices, marks) = (std::mem::take(&mut self.slices), std::mem::take(&mut self.marks));
        (self.info.clone(), stats, slices, marks)
    }
}

impl Measuring {
    /// Makes marks of what was told by itself, as many as there may be in a second.
    fn keep_marks(&mut self, most: u64) {
        for occurrence in std::mem::take(&mut self.gathered.occurrences) {
            self.keep_mark(&occurrence, most);
        }
    }

    fn keep_mark(&mut self, occurrence: &Occurrence, most: u64) {
        let second = occurrence.time / 1_000_000_000;
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if self.second.1 > most {
            self.kept.stats.left_out += 1;
            return;
        }
        let name = self.kept.info.name.clone();
        self.kept.keep(marks::of_occurrence(&name, occurrence));
    }

    /// Makes a slice of what was counted until `now`.
    fn slice(&mut self, now: u64) {
        let (mut series, missed) = self.gathered.take();
        let start = std::mem::replace(&mut self.since, now);
        let stats = &mut self.kept.stats;
        for (what, count) in missed {
            *stats.missed.entry(what).or_default() += count;
        }
        let mut cost = Stats::default();
        self.gauge.cost(&mut cost);
        (stats.bpf_ns, stats.bpf_runs) = (cost.overhead.bpf_ns, cost.overhead.bpf_runs);
        stats.times += series.iter().map(|series| series.histogram.count()).sum::<u64>();
        if series.len() > SERIES_MAX {
            let mut rest = Histogram::default();
            let others = series.split_off(SERIES_MAX - 1);
            others.iter().for_each(|series| rest.merge(&series.histogram));
            *stats.missed.entry(TOGETHER.into()).or_default() += others.len() as u64;
            series.push(Series { labels: Vec::new(), histogram: rest });
        }
        if !series.is_empty() && now > start {
            self.kept.slices.push(Slice { start, end: now, series });
        }
    }
}
