//! The samples of one source on their way to disk: windows that are still open, and the roll-up
//! of the hour.
//!
//! A window holds the samples and the frees of one stretch of time that is aligned to the clock. It is written
//! with each commit until it is sealed, a while after its time is over, since samples may come
//! late: those that waited for the unwind tables of their process. What is sealed goes into the
//! roll-up, which says by number what windows it is made of: so each sample is in one window, and
//! in one roll-up at most, however late it came.

use std::collections::VecDeque;

use anyhow::Result;
use rusqlite::{Transaction, params};

use super::{rollup::Rollup, window};
use crate::model::{Free, Info, Sample, Tables};

/// Late samples are waited for so long, ns.
const LATE_NS: u64 = 15_000_000_000;
/// A roll-up is of one hour at most, ns.
pub const HOUR_NS: u64 = 3_600_000_000_000;
/// Pairs of thread and stack from which on a roll-up is written before its hour is over, so that
/// memory is bounded: 16 MB.
const ROLLUP_PAIRS: usize = 256 << 10;
/// A roll-up of fewer windows saves nothing.
const ROLLUP_WINDOWS: usize = 4;

/// When what is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time of a window, ns; divides an hour.
    pub window_ns: u64,
    /// Samples and frees at which a window is sealed before its time is over.
    window_samples: usize,
    /// Bytes at which a dictionary segment is sealed, before compression.
    pub segment_bytes: usize,
    /// Resolution of a sample's time, ns.
    time_unit: u64,
    /// False if mangled names are left out: of Rust and C++ they are half of all text, and all
    /// that shows names shows them demangled.
    pub mangled: bool,
    /// zstd levels: of what is written anew with each commit, and of what stays.
    levels: [i32; 2],
}

impl Pace {
    /// For a recording of seconds to hours that is committed every second.
    pub const RECORD: Self = Self {
        window_ns: 60_000_000_000,
        window_samples: 16 << 10,
        segment_bytes: 512 << 10,
        // Well below the jitter of any sampling timer.
        time_unit: 1000,
        mangled: true,
        levels: [1, 9],
    };
    /// For one of days that is committed every ten.
    pub const AGENT: Self = Self {
        window_ns: 300_000_000_000,
        window_samples: 128 << 10,
        segment_bytes: 512 << 10,
        // A twentieth of a row of the heat map.
        time_unit: 1_000_000,
        mangled: false,
        levels: [1, 19],
    };

    /// The zstd level of a blob.
    pub fn level(&self, sealed: bool) -> i32 {
        self.levels[usize::from(sealed)]
    }
}

/// What of one source is not sealed yet. Nothing is let go of before the transaction that it was
/// written in is complete.
#[derive(Default)]
pub struct Stream {
    windows: Vec<Window>,
    /// Windows that are sealed and in no roll-up yet.
    sealed: VecDeque<Sealed>,
    rollup: Rollup,
    /// The same of what was freed.
    freed: Rollup,
    /// The windows that the roll-ups are made of, and the hour that they are of.
    rolled: Vec<i64>,
    hour: u64,
    /// True if the roll-up was written in the transaction that is going on.
    written: bool,
}

/// A window that is not sealed yet.
#[derive(Default)]
struct Window {
    id: Option<i64>,
    /// Which stretch of time since the Unix epoch.
    slot: u64,
    samples: Vec<Sample>,
    frees: Vec<Free>,
    /// Samples and frees that are on disk.
    written: usize,
    /// What is sealed once the transaction that is going on is complete.
    seals: Option<Sealed>,
}

/// A window as it was written for good.
struct Sealed {
    id: i64,
    hour: u64,
    samples: Vec<Sample>,
    frees: Vec<Free>,
}

impl Stream {
    /// Takes samples and frees of a recording that started at `start` (ns since the Unix epoch).
    pub fn add(
        &mut self,
        samples: &mut Vec<Sample>,
        frees: &mut Vec<Free>,
        start: u64,
        pace: &Pace,
    ) {
        for sample in samples.drain(..) {
            self.window(start.saturating_add(sample.time), pace).samples.push(sample);
        }
        for free in frees.drain(..) {
            self.window(start.saturating_add(free.sample.time), pace).frees.push(free);
        }
    }

    /// The open window of a time, ns since the Unix epoch.
    fn window(&mut self, time: u64, pace: &Pace) -> &mut Window {
        let slot = time / pace.window_ns;
        // What comes after its window was sealed goes into the oldest that is open.
        let oldest = self.windows.first().map_or(slot, |window| window.slot);
        let slot = slot.max(oldest);
        let last = self.windows.iter().rposition(|window| window.slot <= slot);
        let open = |index: &usize| {
            let window = &self.windows[*index];
            window.slot == slot && window.len() < pace.window_samples
        };
        let index = last.filter(open).unwrap_or_else(|| {
            let index = last.map_or(0, |index| index + 1);
            self.windows.insert(index, Window { slot, ..Window::default() });
            index
        });
        &mut self.windows[index]
    }

    /// Writes what is not on disk yet; after the last samples, all for good. To be followed by
    /// [`Stream::committed`] or [`Stream::rolled_back`].
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn write(
        &mut self,
        transaction: &Transaction<'_>,
        source: &str,
        info: &Info,
        pace: &Pace,
    ) -> Result<()> {
        let now = info.start.saturating_add(info.duration);
        if self.is_rolled_up() {
            self.write_rollup(transaction, source, pace)?;
        }
        for window in &mut self.windows {
            let end = (window.slot + 1).saturating_mul(pace.window_ns);
            let over = window.len() >= pace.window_samples || now >= end.saturating_add(LATE_NS);
            window.write(transaction, source, info.complete || over, pace)?;
        }
        Ok(())
    }

    /// Writes roll-ups until none is left, each in a transaction of its own. To be called after
    /// the last samples; false if there is nothing to write.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn write_last(
        &mut self,
        transaction: &Transaction<'_>,
        source: &str,
        pace: &Pace,
    ) -> Result<bool> {
        let any = !self.rolled.is_empty();
        if any {
            self.write_rollup(transaction, source, pace)?;
        }
        Ok(any)
    }

    /// True if the roll-up is of all that it will be of.
    fn is_rolled_up(&self) -> bool {
        !self.rolled.is_empty() && (!self.sealed.is_empty() || self.pairs() >= ROLLUP_PAIRS)
    }

    fn pairs(&self) -> usize {
        self.rollup.pairs() + self.freed.pairs()
    }

    /// Takes note that what was written is on disk, of a recording that started at `start`.
    pub fn committed(&mut self, start: u64, tables: &Tables) {
        if std::mem::take(&mut self.written) {
            (self.rollup, self.freed, self.rolled) = Default::default();
        }
        for mut window in std::mem::take(&mut self.windows) {
            match window.seals.take() {
                Some(sealed) => self.sealed.push_back(sealed),
                None => self.windows.push(window),
            }
        }
        // What is of another hour waits until the roll-up of this one is written.
        while let Some(next) = self.sealed.front()
            && (self.rolled.is_empty() || next.hour == self.hour)
            && self.pairs() < ROLLUP_PAIRS
            && let Some(next) = self.sealed.pop_front()
        {
            self.hour = next.hour;
            self.rollup.add(&next.samples, start, tables);
            self.freed.add(next.frees.iter().map(|free| &free.sample), start, tables);
            self.rolled.push(next.id);
        }
    }

    /// Takes note that nothing of what was written is on disk.
    pub fn rolled_back(&mut self) {
        self.written = false;
        for window in &mut self.windows {
            (window.written, window.seals) = (0, None);
        }
    }

    fn write_rollup(
        &mut self,
        transaction: &Transaction<'_>,
        source: &str,
        pace: &Pace,
    ) -> Result<()> {
        self.written = true;
        if self.rolled.len() < ROLLUP_WINDOWS {
            return Ok(());
        }
        let times = [self.rollup.time(), self.freed.time()].into_iter().flatten();
        let time = times.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or_default();
        let windows: Vec<String> = self.rolled.iter().map(i64::to_string).collect();
        let level = pace.level(true);
        let freed = self.freed.time().is_some();
        let freed = if freed { Some(self.freed.finish(level)?) } else { None }.unzip();
        let (series, sums) = self.rollup.finish(level)?;
        transaction
            .prepare_cached(
                "INSERT INTO rollup
                 (source, start, end, samples, windows, series, sums, freed_series, freed_sums)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                source,
                time.start as i64,
                time.end as i64,
                self.rollup.samples() as i64,
                windows.join(","),
                series,
                sums,
                freed.0,
                freed.1,
            ])?;
        Ok(())
    }
}

impl Window {
    /// Samples and frees.
    fn len(&self) -> usize {
        self.samples.len() + self.frees.len()
    }

    /// Writes the window, unless nothing has changed.
    fn write(
        &mut self,
        transaction: &Transaction<'_>,
        source: &str,
        sealed: bool,
        pace: &Pace,
    ) -> Result<()> {
        if self.id.is_some() && !sealed && self.written == self.len() {
            return Ok(());
        }
        let (mut samples, mut frees) = (self.samples.clone(), self.frees.clone());
        let level = pace.level(sealed);
        let data = window::encode(&mut samples, pace.time_unit).finish(level)?;
        let freed = match frees.is_empty() {
            true => None,
            false => Some(window::encode_frees(&mut frees, pace.time_unit).finish(level)?),
        };
        let times = || {
            let freed = frees.iter().map(|free| free.sample.time);
            samples.iter().map(|sample| sample.time).chain(freed)
        };
        let (start, end) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO window
                 (id, source, start, end, samples, frees, sealed, data, freed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                self.id,
                source,
                start as i64,
                end as i64 + 1,
                samples.len() as i64,
                frees.len() as i64,
                sealed,
                data,
                freed,
            ])?;
        let id = *self.id.get_or_insert(transaction.last_insert_rowid());
        self.written = self.len();
        let hour = self.slot.saturating_mul(pace.window_ns) / HOUR_NS;
        self.seals = sealed.then_some(Sealed { id, hour, samples, frees });
        Ok(())
    }
}
