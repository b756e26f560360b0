//! Roll-ups: what the windows of an hour add up to.
//!
//! A roll-up has two parts. The sums, by thread and stack, answer what a flame graph asks; the
//! series, count and value of each process in each ten seconds, what a time line asks. Neither
//! knows times to less than that, or CPUs. What was freed has a roll-up of its own, by the time of
//! the free.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Result, bail};

use super::codec::{Decoder, Encoder};
use crate::model::{Sample, Tables};

/// Step of a series, ns; divides the time of a window.
pub const STEP_NS: u64 = 10_000_000_000;

/// Samples of one stack of one thread, added up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Thread.
    pub thread: u32,
    /// Stack.
    pub stack: u32,
    /// How many samples.
    pub count: u64,
    /// Their sum in the unit of the source.
    pub value: u64,
}

/// What one process comes to in one step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Point {
    /// Process.
    pub process: u32,
    /// Steps of `STEP_NS` since the Unix epoch.
    pub step: u64,
    /// Sum of the samples' counts.
    pub count: u64,
    /// Sum of their values, in the unit of the source.
    pub value: u64,
}

/// What some windows add up to so far.
#[derive(Debug, Default)]
pub struct Rollup {
    samples: u64,
    sums: BTreeMap<(u32, u32), (u64, u64)>,
    series: BTreeMap<(u32, u64), (u64, u64)>,
    time: Option<Range<u64>>,
}

impl Rollup {
    /// Adds the samples of a window of a recording that started at `start` (ns since the Unix
    /// epoch).
    pub fn add<'a>(
        &mut self,
        samples: impl IntoIterator<Item = &'a Sample>,
        start: u64,
        tables: &Tables,
    ) {
        let add = |sums: &mut (u64, u64), sample: &Sample| {
            sums.0 = sums.0.saturating_add(sample.count);
            sums.1 = sums.1.saturating_add(sample.value);
        };
        for sample in samples {
            self.samples += 1;
            add(self.sums.entry((sample.thread, sample.stack)).or_default(), sample);
            let process = tables.threads.get(sample.thread).map_or(0, |thread| thread.process);
            let step = start.saturating_add(sample.time) / STEP_NS;
            add(self.series.entry((process, step)).or_default(), sample);
            let time = self.time.get_or_insert(sample.time..sample.time);
            *time = time.start.min(sample.time)..time.end.max(sample.time + 1);
        }
    }

    /// Distinct pairs of thread and stack.
    pub fn pairs(&self) -> usize {
        self.sums.len()
    }

    /// Samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// From the first sample until after the last, ns since the recording's start; none of nothing.
    pub fn time(&self) -> Option<Range<u64>> {
        self.time.clone()
    }

    /// Series and sums as they are written.
    ///
    /// # Errors
    /// zstd is out of memory.
    pub fn finish(&self, level: i32) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((self.encode_series().finish(level)?, self.encode_sums().finish(level)?))
    }

    /// The sums: threads, entries of each, then stacks, counts and values, a column each.
    fn encode_sums(&self) -> Encoder {
        let base = self.base();
        let mut out = Encoder::default();
        let keys: Vec<(u32, u32)> = self.sums.keys().copied().collect();
        out.unsigned(keys.len() as u64);
        out.unsigned(base);
        group(&keys, &mut out);
        for run in keys.chunk_by(|a, b| a.0 == b.0) {
            ascending(run.iter().map(|(_, stack)| u64::from(*stack)), &mut out);
        }
        self.sums.values().for_each(|(count, _)| out.unsigned(*count));
        for (count, value) in self.sums.values() {
            out.signed(value.wrapping_sub(count.wrapping_mul(base)) as i64);
        }
        out
    }

    /// The series: processes, points of each, then steps and values, a column each.
    fn encode_series(&self) -> Encoder {
        let base = self.base().max(1);
        let first = self.series.keys().map(|(_, step)| *step).min().unwrap_or_default();
        let mut out = Encoder::default();
        let keys: Vec<(u32, u64)> = self.series.keys().copied().collect();
        out.unsigned(keys.len() as u64);
        out.unsigned(base);
        out.unsigned(first);
        group(&keys, &mut out);
        for run in keys.chunk_by(|a, b| a.0 == b.0) {
            ascending(run.iter().map(|(_, step)| step - first), &mut out);
        }
        self.series.values().for_each(|(_, value)| out.unsigned(value / base));
        self.series.values().for_each(|(_, value)| out.unsigned(value % base));
        // Mostly as many as the value is multiples of what one stands for.
        for (count, value) in self.series.values() {
            out.signed(count.wrapping_sub(value / base) as i64);
        }
        out
    }

    /// What one that is counted stands for, by and large: values are kept as multiples of it and
    /// what is left, since most often nothing is.
    fn base(&self) -> u64 {
        let add = |sum: (u64, u64), one: &(u64, u64)| {
            (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
        };
        let (count, value) = self.sums.values().fold((0, 0), add);
        value / count.max(1)
    }
}

/// Writes the first halves of sorted keys, each once and with how many it has.
fn group<T>(keys: &[(u32, T)], out: &mut Encoder) {
    let runs = || keys.chunk_by(|a, b| a.0 == b.0);
    out.unsigned(runs().count() as u64);
    ascending(runs().map(|run| u64::from(run[0].0)), out);
    runs().for_each(|run| out.unsigned(run.len() as u64));
}

/// Writes numbers that only go up by what each is above the one before.
fn ascending(numbers: impl Iterator<Item = u64>, out: &mut Encoder) {
    let mut before = 0;
    for number in numbers {
        out.unsigned(number - before);
        before = number;
    }
}

/// Reads the sums of a roll-up.
///
/// # Errors
/// They are damaged.
pub fn decode_sums(bytes: &[u8]) -> Result<Vec<Entry>> {
    let mut input = Decoder(bytes);
    let count = input.count()?;
    let base = input.unsigned()?;
    let mut entries = Vec::with_capacity(count);
    for (thread, length) in ungroup(&mut input, count)? {
        let mut stack = 0u64;
        for _ in 0..length {
            stack = stack.wrapping_add(input.unsigned()?);
            entries.push(Entry { thread, stack: stack as u32, count: 0, value: 0 });
        }
    }
    for entry in &mut entries {
        entry.count = input.unsigned()?;
    }
    for entry in &mut entries {
        entry.value = entry.count.wrapping_mul(base).wrapping_add(input.signed()? as u64);
    }
    let sum = |part: fn(&Entry) -> u64| {
        entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(part(entry)))
    };
    for sum in [sum(|entry| entry.count), sum(|entry| entry.value)] {
        if sum.is_none_or(|sum| sum > i64::MAX as u64) {
            bail!("damaged blob: no hour holds that much");
        }
    }
    Ok(entries)
}

/// Reads the series of a roll-up.
///
/// # Errors
/// They are damaged.
pub fn decode_series(bytes: &[u8]) -> Result<Vec<Point>> {
    let mut input = Decoder(bytes);
    let count = input.count()?;
    let base = input.unsigned()?;
    let first = input.unsigned()?;
    let mut points = Vec::with_capacity(count);
    for (process, length) in ungroup(&mut input, count)? {
        let mut step = first;
        for _ in 0..length {
            step = step.wrapping_add(input.unsigned()?);
            points.push(Point { process, step, count: 0, value: 0 });
        }
    }
    for point in &mut points {
        point.count = input.unsigned()?;
    }
    for point in &mut points {
        let value = point.count.saturating_mul(base).saturating_add(input.unsigned()?);
        point.value = value.min(i64::MAX as u64);
    }
    for point in &mut points {
        let count = point.count.wrapping_add(input.signed()? as u64);
        point.count = count.min(i64::MAX as u64);
    }
    Ok(points)
}

/// Reads what [`group`] wrote of `count` keys.
fn ungroup(input: &mut Decoder<'_>, count: usize) -> Result<Vec<(u32, usize)>> {
    let mut groups = Vec::with_capacity(input.count()?);
    let mut key = 0u64;
    for _ in 0..groups.capacity() {
        key = key.wrapping_add(input.unsigned()?);
        groups.push((key as u32, 0));
    }
    let mut all = 0usize;
    for (_, length) in &mut groups {
        *length = input.unsigned()? as usize;
        all = all.saturating_add(*length);
    }
    if all != count {
        bail!("damaged blob: a roll-up holds another number of entries than it says");
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Thread, store::codec::expand};

    #[test]
    fn sums_and_series_come_back() {
        let mut tables = Tables::default();
        for thread in 0..6 {
            tables.threads.intern(Thread { process: thread / 2, tid: thread, name: 0 });
        }
        let sample = |index: u64| Sample {
            time: index * 1_700_000_000,
            cpu: 0,
            thread: (index % 5) as u32,
            stack: (index * 7 % 11) as u32,
            count: 1 + index / 400 * 3,
            value: 52_631_578 + index % 3,
        };
        let samples: Vec<Sample> = (0..500).map(sample).collect();
        let mut rollup = Rollup::default();
        let start = 1_795_246_854_000_000_000;
        rollup.add(&samples, start, &tables);
        let bytes = |encoder: Encoder| expand(&encoder.finish(3).unwrap()).unwrap();
        let sums = decode_sums(&bytes(rollup.encode_sums())).unwrap();
        let expected: Vec<Entry> = rollup
            .sums
            .iter()
            .map(|(&(thread, stack), &(count, value))| Entry { thread, stack, count, value })
            .collect();
        assert_eq!(sums, expected);
        let points = decode_series(&bytes(rollup.encode_series())).unwrap();
        let expected: Vec<Point> = rollup
            .series
            .iter()
            .map(|(&(process, step), &(count, value))| Point { process, step, count, value })
            .collect();
        assert_eq!(points, expected);
        assert_eq!(rollup.time(), Some(0..499 * 1_700_000_000 + 1));
        assert_eq!(rollup.samples(), 500);
        let count: u64 = samples.iter().map(|sample| sample.count).sum();
        assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), count);
        for blob in [bytes(rollup.encode_sums()), bytes(rollup.encode_series())] {
            for cut in 0..blob.len() {
                assert!(decode_sums(&blob[..cut]).is_err() || decode_series(&blob[..cut]).is_err());
            }
        }
    }
}
