//! What questions to a store are answered with, and how many recordings become one answer.

use std::{collections::HashMap, ops::Range, path::PathBuf};

use super::rollup::{Entry, STEP_NS};
use crate::model::{Detail, Sample, SourceInfo, Stats};

/// One recording of a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Where it is.
    pub path: PathBuf,
    /// From its start to its end, ns since the Unix epoch.
    pub time: Range<u64>,
    /// False if it is still being written, or was cut short.
    pub complete: bool,
}

/// Values by process and time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Series {
    /// Start of the first column, ns since the Unix epoch.
    pub start: u64,
    /// Width of a column, ns.
    pub step: u64,
    /// How many columns there are.
    pub columns: usize,
    /// What is not 0, by process and column.
    pub cells: Vec<Cell>,
}

impl Series {
    /// The time of all columns, ns since the Unix epoch.
    pub fn time(&self) -> Range<u64> {
        let width = self.step.saturating_mul(self.columns as u64);
        self.start..self.start.saturating_add(width)
    }
}

/// What one process comes to in one column of a [`Series`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cell {
    /// Process.
    pub process: u32,
    /// Column.
    pub column: u32,
    /// Sum of the samples' counts.
    pub count: u64,
    /// Sum of their values, in the unit of the source.
    pub value: u64,
}

/// What is in use over time: at the end of a column, what was taken until then less what was freed.
/// The first column has all from before, too; where a recording begins, all that was taken in the
/// one before counts as freed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InUse {
    /// What was taken.
    pub taken: Series,
    /// What was freed of it.
    pub freed: Series,
}

impl Cell {
    fn add(&mut self, count: u64, value: u64) {
        self.count = self.count.saturating_add(count);
        self.value = self.value.saturating_add(value);
    }
}

/// The most columns of a [`Series`].
const COLUMNS_MAX: u64 = 100_000;

/// Cells that wait to be added up, at least; 24 MB.
const CELLS_WAITING: usize = 1 << 20;

/// A [`Series`] that is being added up.
pub struct Columns {
    series: Series,
    end: u64,
    /// Cells at which those of one process and column are next added up.
    wait: usize,
}

impl Columns {
    /// About `columns` columns of a stretch of time.
    pub fn new(time: &Range<u64>, columns: usize) -> Self {
        let columns = (columns as u64).clamp(1, COLUMNS_MAX);
        let width = (time.end.saturating_sub(time.start)).div_ceil(columns).max(1);
        let (start, step) = match width >= 2 * STEP_NS {
            true => (time.start / STEP_NS * STEP_NS, width.next_multiple_of(STEP_NS)),
            false => (time.start, width),
        };
        let columns = time.end.saturating_sub(start).div_ceil(step) as usize;
        let series = Series { start, step, columns, cells: Vec::new() };
        Self { series, end: time.end, wait: CELLS_WAITING }
    }

    /// True if columns are made of whole steps of a roll-up.
    pub fn is_coarse(&self) -> bool {
        self.series.step >= 2 * STEP_NS
    }

    /// The time of all columns; of whole steps if they are coarse.
    pub fn time(&self) -> Range<u64> {
        let Range { start, end } = self.series.time();
        start..if self.is_coarse() { end } else { self.end }
    }

    /// Adds what a process comes to at a time, ns since the Unix epoch.
    pub fn add(&mut self, process: u32, at: u64, count: u64, value: u64) {
        let column = at.saturating_sub(self.series.start) / self.series.step;
        if at < self.series.start || column >= self.series.columns as u64 {
            return;
        }
        let column = column as u32;
        match self.series.cells.last_mut() {
            Some(last) if (last.process, last.column) == (process, column) => {
                last.add(count, value);
            }
            _ => self.series.cells.push(Cell { process, column, count, value }),
        }
        if self.series.cells.len() >= self.wait {
            self.merge();
            self.wait = 2 * self.series.cells.len().max(CELLS_WAITING);
        }
    }

    /// As [`Columns::add`], of a level: what was before the first column is in it.
    pub fn add_to_level(&mut self, process: u32, at: u64, count: u64, value: u64) {
        self.add(process, at.max(self.series.start), count, value);
    }

    fn merge(&mut self) {
        let cells = &mut self.series.cells;
        cells.sort_unstable_by_key(|cell| (cell.process, cell.column));
        cells.dedup_by(|next, kept| {
            let same = (next.process, next.column) == (kept.process, kept.column);
            if same {
                kept.add(next.count, next.value);
            }
            same
        });
    }

    /// All that was added.
    pub fn finish(mut self) -> Series {
        self.merge();
        self.series
    }
}

impl Entry {
    /// What one sample comes to.
    pub fn of(sample: &Sample) -> Self {
        let Sample { thread, stack, count, value, .. } = *sample;
        Self { thread, stack, count, value }
    }

    /// As a sample without a time.
    pub fn sample(&self) -> Sample {
        let Self { thread, stack, count, value } = *self;
        Sample { time: 0, cpu: 0, thread, stack, count, value }
    }
}

/// Entries that wait to be added up, at most; 24 MB.
const WAITING_MAX: usize = 1 << 20;

/// Adds up entries by thread and stack. Thread by thread, each stack has a slot of its own: hashing
/// a million pairs would take ten times as long.
#[derive(Default)]
pub struct Merge {
    /// Entries of one thread stand side by side in each.
    parts: Vec<Vec<Entry>>,
    waiting: usize,
    /// True if there is one part, and in it each pair once.
    is_merged: bool,
}

impl Merge {
    /// Adds entries whose stacks are numbers of a table, with those of one thread side by side.
    pub fn add(&mut self, entries: Vec<Entry>) {
        self.waiting += entries.len();
        self.parts.push(entries);
        self.is_merged = false;
        if self.waiting > WAITING_MAX {
            self.merge();
            self.waiting = 0;
        }
    }

    /// As [`Merge::add`], of entries in which each pair is once.
    pub fn add_merged(&mut self, entries: Vec<Entry>) {
        let first = self.parts.is_empty();
        self.add(entries);
        self.is_merged = first;
    }

    fn merge(&mut self) {
        let mut runs: Vec<&[Entry]> =
            self.parts.iter().flat_map(|part| part.chunk_by(|a, b| a.thread == b.thread)).collect();
        runs.sort_by_key(|run| run[0].thread);
        let stacks = self.parts.iter().flatten().map(|entry| entry.stack as usize + 1).max();
        // Where the stack was put last; what is before `first` is of another thread.
        let mut slots = vec![u32::MAX; stacks.unwrap_or_default()];
        let mut merged: Vec<Entry> = Vec::new();
        for runs in runs.chunk_by(|a, b| a[0].thread == b[0].thread) {
            let first = merged.len();
            for entry in runs.iter().copied().flatten() {
                let slot = &mut slots[entry.stack as usize];
                match merged.get_mut(*slot as usize) {
                    Some(sum) if *slot as usize >= first => {
                        sum.count = sum.count.saturating_add(entry.count);
                        sum.value = sum.value.saturating_add(entry.value);
                    }
                    _ => {
                        *slot = merged.len() as u32;
                        merged.push(*entry);
                    }
                }
            }
        }
        self.parts = vec![merged];
        self.is_merged = true;
    }

    /// All that was added, each pair once. Counts and values of a damaged recording are cut where
    /// their sums would not fit into 63 bits: who asks adds them up in any way it likes.
    pub fn finish(mut self) -> Vec<Entry> {
        if !self.is_merged {
            self.merge();
        }
        let mut entries = self.parts.pop().unwrap_or_default();
        let most = i64::MAX as u64;
        let mut room = (most, most);
        for entry in &mut entries {
            entry.count = entry.count.min(room.0);
            entry.value = entry.value.min(room.1);
            room = (room.0 - entry.count, room.1 - entry.value);
        }
        entries
    }
}

/// What is left of `taken` without `freed`, by thread and stack; never less than nothing.
pub fn subtract(mut taken: Vec<Entry>, freed: &[Entry]) -> Vec<Entry> {
    let mut left: HashMap<(u32, u32), (u64, u64), foldhash::fast::RandomState> =
        HashMap::with_capacity_and_hasher(freed.len(), Default::default());
    for entry in freed {
        let left = left.entry((entry.thread, entry.stack)).or_default();
        *left = (left.0.saturating_add(entry.count), left.1.saturating_add(entry.value));
    }
    taken.retain_mut(|entry| {
        if let Some(left) = left.get_mut(&(entry.thread, entry.stack)) {
            let (count, value) = (entry.count.min(left.0), entry.value.min(left.1));
            *left = (left.0 - count, left.1 - value);
            (entry.count, entry.value) = (entry.count - count, entry.value - value);
        }
        entry.count > 0 || entry.value > 0
    });
    taken
}

/// Adds up samples that differ in nothing that has to be told apart.
pub struct Sum {
    detail: Detail,
    /// What all counts and values may still come to. Outputs add them up in any way they like, and
    /// pprof holds sums of 63 bits.
    room: (u64, u64),
    sums: HashMap<(u32, u32, u32), usize, foldhash::fast::RandomState>,
    samples: Vec<Sample>,
}

impl Sum {
    /// Nothing yet.
    pub fn new(detail: Detail) -> Self {
        let most = i64::MAX as u64;
        Self { detail, room: (most, most), sums: HashMap::default(), samples: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, mut sample: Sample) {
        if !self.detail.cpu {
            sample.cpu = 0;
        }
        sample.count = sample.count.min(self.room.0);
        sample.value = sample.value.min(self.room.1);
        self.room = (self.room.0 - sample.count, self.room.1 - sample.value);
        if self.detail.time {
            return self.samples.push(sample);
        }
        sample.time = 0;
        let key = (sample.cpu, sample.thread, sample.stack);
        let index = *self.sums.entry(key).or_insert(self.samples.len());
        match self.samples.get_mut(index) {
            Some(sum) => {
                sum.count += sample.count;
                sum.value += sample.value;
            }
            None => self.samples.push(sample),
        }
    }

    /// All that was added; by time if times are told apart.
    pub fn finish(mut self) -> Vec<Sample> {
        if self.detail.time {
            self.samples.sort_by_key(|sample| sample.time);
        }
        self.samples
    }
}

/// Adds the counts of a recording that started `after` ns after the first.
pub fn add_stats(sum: &mut Stats, stats: &Stats, source: &SourceInfo, after: u64) {
    let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
    add(&mut sum.samples, stats.samples);
    add(&mut sum.lost, stats.lost);
    add(&mut sum.truncated, stats.truncated);
    add(&mut sum.kernel_failed, stats.kernel_failed);
    for (reason, count) in &stats.unwind_failed {
        add(sum.unwind_failed.entry(reason.clone()).or_default(), *count);
    }
    for (what, count) in &stats.missed {
        add(sum.missed.entry(what.clone()).or_default(), *count);
    }
    // A recording begins at its own rate, which only matters where it is not that of the one before.
    let rates = stats.rates.iter().map(|(at, hz)| (after.saturating_add(*at), *hz));
    let first = (!sum.rates.is_empty() || !stats.rates.is_empty())
        .then_some((after, source.frequency))
        .filter(|_| stats.rates.first().is_none_or(|(at, _)| *at > 0));
    sum.rates.extend(first.into_iter().chain(rates));
    sum.tables = stats.tables;
    sum.overhead.cpu_seconds += stats.overhead.cpu_seconds;
    add(&mut sum.overhead.bpf_ns, stats.overhead.bpf_ns);
    add(&mut sum.overhead.bpf_runs, stats.overhead.bpf_runs);
    sum.overhead.rss_bytes = stats.overhead.rss_bytes;
    sum.overhead.peak_rss_bytes = sum.overhead.peak_rss_bytes.max(stats.overhead.peak_rss_bytes);
}
