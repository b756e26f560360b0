//! What a recording has besides stacks, on its way to disk: histograms and marks in windows, which
//! are written with each commit until they are sealed, and roll-ups of histograms.
//!
//! A mark goes into the window of the moment at which it is told, however long ago it began: the
//! extent of a window says what time it touches. An hour of histograms is rolled up into one for
//! each minute, of all keys together, and one for each key, of the whole hour.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rusqlite::{Transaction, params};

use super::{
    codec::Encoder,
    marks,
    slices::{self, Labels},
    stream::{HOUR_NS, Pace},
};
use crate::model::{Histogram, Info, LaneInfo, LaneStats, Mark, Series, Slice};

/// Marks at which a window is sealed before its time is over; a few hundred bytes each until then.
const MARKS_MAX: usize = 4096;
/// zstd level of marks that stay: higher ones take several times as long and save a tenth.
const MARKS_LEVEL: i32 = 9;
/// A roll-up of fewer windows saves nothing.
const ROLLUP_WINDOWS: usize = 4;
/// Keys of a roll-up; what further ones come to is in one without labels.
const ROLLUP_KEYS: usize = 4096;
/// Time of a step of a roll-up, ns.
pub const MINUTE_NS: u64 = 60_000_000_000;

/// What is known of one lane at this moment.
pub struct LaneState<'a> {
    /// What it is.
    pub info: &'a LaneInfo,
    /// What was counted so far.
    pub stats: &'a LaneStats,
    /// Histograms since the last commit; taken by it.
    pub slices: &'a mut Vec<Slice>,
    /// Marks since the last commit; taken by it.
    pub marks: &'a mut Vec<Mark>,
    /// What lasts at this moment: all of it, each time.
    pub lasting: &'a [Mark],
}

/// One lane that is being written. Nothing is let go of before the transaction that it was written
/// in is complete.
#[derive(Default)]
pub struct Lane {
    info: LaneInfo,
    stats: LaneStats,
    slices: Windows<Slice>,
    marks: Windows<Mark>,
    lasting: Vec<Mark>,
    /// True if some is on disk.
    lasted: bool,
    /// Of the hour that is going on.
    rollup: Rollup,
    /// Of hours that are over, to be written.
    rolled: Vec<Rollup>,
}

/// Windows that are not on disk for good yet; the last of them is open.
struct Windows<T> {
    windows: Vec<Window<T>>,
}

struct Window<T> {
    id: Option<i64>,
    /// True if `id` is of the transaction that is going on.
    fresh: bool,
    /// Which stretch of time since the Unix epoch.
    slot: u64,
    items: Vec<T>,
    /// How many of them are on disk.
    written: usize,
}

impl<T> Default for Windows<T> {
    fn default() -> Self {
        Self { windows: Vec::new() }
    }
}

impl<T> Windows<T> {
    fn add(&mut self, item: T, slot: u64, most: usize) {
        match self.windows.last_mut() {
            Some(last) if last.slot == slot && last.items.len() < most => last.items.push(item),
            _ => {
                let items = vec![item];
                self.windows.push(Window { id: None, fresh: false, slot, items, written: 0 });
            }
        }
    }

    /// Gives each window that has to be written to `write`, with whether that is for good; it gives
    /// back the number of its row.
    fn write(
        &mut self,
        now: u64,
        all: bool,
        mut write: impl FnMut(&Window<T>, bool) -> Result<i64>,
    ) -> Result<()> {
        let last = self.windows.len().saturating_sub(1);
        for (index, window) in self.windows.iter_mut().enumerate() {
            let sealed = all || index < last || window.slot < now;
            if sealed || window.written < window.items.len() {
                let id = write(window, sealed)?;
                window.fresh |= window.id.replace(id).is_none();
                window.written = window.items.len();
            }
        }
        Ok(())
    }

    /// Takes those that are on disk for good.
    fn committed(&mut self, now: u64, all: bool) -> Vec<Window<T>> {
        self.windows.iter_mut().for_each(|window| window.fresh = false);
        let open = self.windows.pop_if(|last| !all && last.slot >= now);
        let sealed = std::mem::take(&mut self.windows);
        self.windows.extend(open);
        sealed
    }

    fn rolled_back(&mut self) {
        for window in &mut self.windows {
            window.written = 0;
            if std::mem::take(&mut window.fresh) {
                window.id = None;
            }
        }
    }
}

impl Lane {
    /// Takes over what came of a recording with this pace.
    pub fn add(&mut self, state: &mut LaneState<'_>, now: u64, pace: &Pace) {
        self.info.clone_from(state.info);
        self.stats.clone_from(state.stats);
        self.lasting.clear();
        self.lasting.extend_from_slice(state.lasting);
        let slot = now / pace.window_ns;
        state.slices.drain(..).for_each(|slice| self.slices.add(slice, slot, usize::MAX));
        state.marks.drain(..).for_each(|mark| self.marks.add(mark, slot, MARKS_MAX));
    }

    /// Writes what is not on disk yet; after the last commit, all for good. To be followed by
    /// [`Lane::committed`] or [`Lane::rolled_back`].
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn write(&mut self, transaction: &Transaction<'_>, info: &Info, pace: &Pace) -> Result<()> {
        let Self { info: about, slices, marks, lasting, lasted, rolled, .. } = self;
        let name: &str = &about.name;
        let (start, slot) = (info.start, slot_of(info, pace));
        for rollup in rolled {
            rollup.write(transaction, name, start, pace)?;
        }
        slices.write(slot, info.complete, |window, sealed| {
            write_slices(transaction, name, window, sealed, start, pace)
        })?;
        marks.write(slot, info.complete, |window, sealed| {
            write_marks(transaction, name, window, sealed, start)
        })?;
        if lasting.is_empty() && !*lasted {
            return Ok(());
        }
        *lasted = true;
        let mut statement = transaction
            .prepare_cached("INSERT OR REPLACE INTO lasting (source, data) VALUES (?1, ?2)")?;
        statement.execute(params![name, marks::encode(lasting, start).finish(1)?])?;
        Ok(())
    }

    /// Takes note that what was written is on disk.
    pub fn committed(&mut self, info: &Info, pace: &Pace) {
        self.rolled.clear();
        let slot = slot_of(info, pace);
        for window in self.slices.committed(slot, info.complete) {
            let hour = window.slot.saturating_mul(pace.window_ns) / HOUR_NS;
            if hour != self.rollup.hour && !self.rollup.windows.is_empty() {
                self.rolled.push(std::mem::take(&mut self.rollup));
            }
            self.rollup.hour = hour;
            self.rollup.add(&window.items);
            self.rollup.windows.extend(window.id);
        }
        self.marks.committed(slot, info.complete);
        if info.complete {
            self.rolled.push(std::mem::take(&mut self.rollup));
        }
    }

    /// Takes note that nothing of what was written is on disk.
    pub fn rolled_back(&mut self) {
        self.slices.rolled_back();
        self.marks.rolled_back();
    }

    /// What it is, and what was counted.
    pub fn about(&self) -> (&LaneInfo, &LaneStats) {
        (&self.info, &self.stats)
    }
}

/// The stretch of time that is going on.
fn slot_of(info: &Info, pace: &Pace) -> u64 {
    info.start.saturating_add(info.duration) / pace.window_ns
}

fn write_slices(
    transaction: &Transaction<'_>,
    name: &str,
    window: &Window<Slice>,
    sealed: bool,
    start: u64,
    pace: &Pace,
) -> Result<i64> {
    let since = |at: u64| at.saturating_sub(start) as i64;
    let first = window.items.iter().map(|slice| slice.start).min().unwrap_or(start);
    let last = window.items.iter().map(|slice| slice.end).max().unwrap_or(start);
    let mut all = Histogram::default();
    let series = window.items.iter().flat_map(|slice| &slice.series);
    series.for_each(|series| all.merge(&series.histogram));
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO histogram
             (id, source, start, end, count, max, sealed, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            window.id,
            name,
            since(first),
            since(last),
            all.count() as i64,
            all.max().min(i64::MAX as u64) as i64,
            sealed,
            slices::encode(&window.items, start).finish(pace.level(sealed))?,
        ])?;
    Ok(window.id.unwrap_or_else(|| transaction.last_insert_rowid()))
}

fn write_marks(
    transaction: &Transaction<'_>,
    name: &str,
    window: &Window<Mark>,
    sealed: bool,
    start: u64,
) -> Result<i64> {
    let since = |at: u64| at.saturating_sub(start) as i64;
    let first = window.items.iter().map(|mark| mark.time).min().unwrap_or(start);
    let ends = window.items.iter().map(|mark| mark.end.unwrap_or(mark.time));
    let last = ends.max().unwrap_or(start);
    let level = if sealed { MARKS_LEVEL } else { 1 };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO mark (id, source, start, end, marks, steps, sealed, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            window.id,
            name,
            since(first),
            since(last) + 1,
            window.items.len() as i64,
            marks::steps(&window.items),
            sealed,
            marks::encode(&window.items, start).finish(level)?,
        ])?;
    Ok(window.id.unwrap_or_else(|| transaction.last_insert_rowid()))
}

/// What the histograms of an hour add up to so far.
#[derive(Default)]
struct Rollup {
    hour: u64,
    windows: Vec<i64>,
    /// Of all keys, by minute since the Unix epoch.
    minutes: BTreeMap<u64, Histogram>,
    keys: HashMap<Labels, Histogram>,
}

impl Rollup {
    fn add(&mut self, slices: &[Slice]) {
        for slice in slices {
            let minute = (slice.start + slice.end.saturating_sub(slice.start) / 2) / MINUTE_NS;
            let sum = self.minutes.entry(minute).or_default();
            slice.series.iter().for_each(|series| sum.merge(&series.histogram));
        }
        for (labels, histogram) in slices::merge(slices) {
            let room = self.keys.len() < ROLLUP_KEYS || self.keys.contains_key(&labels);
            let labels = if room { labels } else { Labels::new() };
            self.keys.entry(labels).or_default().merge(&histogram);
        }
    }

    fn write(
        &self,
        transaction: &Transaction<'_>,
        name: &str,
        start: u64,
        pace: &Pace,
    ) -> Result<()> {
        let (Some((first, _)), Some((last, _))) =
            (self.minutes.first_key_value(), self.minutes.last_key_value())
        else {
            return Ok(());
        };
        if self.windows.len() < ROLLUP_WINDOWS {
            return Ok(());
        }
        let time = (first * MINUTE_NS).max(start)..(last + 1) * MINUTE_NS;
        let slice = |(minute, histogram): (&u64, &Histogram)| Slice {
            start: minute * MINUTE_NS,
            end: (minute + 1) * MINUTE_NS,
            series: vec![Series { labels: Labels::new(), histogram: histogram.clone() }],
        };
        let minutes: Vec<Slice> = self.minutes.iter().map(slice).collect();
        let series = |(labels, histogram): (&Labels, &Histogram)| Series {
            labels: labels.clone(),
            histogram: histogram.clone(),
        };
        let series = self.keys.iter().map(series).collect();
        let keys = Slice { start: time.start, end: time.end, series };
        let windows: Vec<String> = self.windows.iter().map(i64::to_string).collect();
        let blob = |encoder: Encoder| encoder.finish(pace.level(true));
        transaction
            .prepare_cached(
                "INSERT INTO histogram_rollup (source, start, end, windows, minutes, keys)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                name,
                time.start.saturating_sub(start) as i64,
                time.end.saturating_sub(start) as i64,
                windows.join(","),
                blob(slices::encode(&minutes, start))?,
                blob(slices::encode(&[keys], start))?,
            ])?;
        Ok(())
    }
}
