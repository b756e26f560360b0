//! Windows: the samples of a stretch of time, column by column.
//!
//! Samples are sorted by CPU and then time, since those of one CPU come at an even pace: a time is
//! then mostly one tick after the one before. The thread of a sample is mostly that of the one
//! before. Stacks are as good as random, so they are numbered anew by how often they come, and
//! these numbers are written as planes of bytes, which zstd's Huffman coder takes to within 10 %
//! of their entropy.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

use super::{
    codec::{Decoder, Encoder},
    rollup::Entry,
};
use crate::model::Sample;

/// Resolution of times in recordings of format 1, ns.
const TIME_UNIT_1: u64 = 1000;

/// Writes `samples`, each of one count, and rounds their times to the nearest multiple of `unit`
/// ns, or nearly so, as they are written.
pub fn encode(samples: &mut [Sample], unit: u64) -> Encoder {
    samples.sort_by_key(|sample| (sample.cpu, sample.time));
    let mut out = Encoder::default();
    out.unsigned(samples.len() as u64);
    encode_threads(samples, &mut out);
    encode_stacks(samples, &mut out);
    let mut before = 0;
    for sample in samples.iter() {
        out.signed(sample.value.wrapping_sub(before) as i64);
        before = sample.value;
    }
    // Last, so that who does not ask for times need not read them.
    encode_times(samples, unit.max(1), &mut out);
    out
}

/// Times: for each CPU its number, its samples and the first time, in units; then for each sample
/// how many ticks of an even pace it is after the one before, and by how many units off that.
fn encode_times(samples: &mut [Sample], unit: u64, out: &mut Encoder) {
    let runs = samples.chunk_by(|a, b| a.cpu == b.cpu);
    let mut steps: Vec<u64> =
        runs.flat_map(|run| run.windows(2).map(|two| two[1].time - two[0].time)).collect();
    let middle = steps.len() / 2;
    // Most samples follow the one before at once: the median is one tick.
    let pace = match steps.is_empty() {
        true => 0,
        false => *steps.select_nth_unstable(middle).1,
    };
    out.unsigned(unit);
    out.unsigned(pace);
    let (mut ticks, mut off) = (Encoder::default(), Encoder::default());
    for run in samples.chunk_by_mut(|a, b| a.cpu == b.cpu) {
        let first = (run[0].time + unit / 2) / unit;
        out.unsigned(run[0].cpu.into());
        out.unsigned(run.len() as u64);
        out.unsigned(first);
        let mut before = first * unit;
        run[0].time = before;
        for sample in &mut run[1..] {
            let since = sample.time.saturating_sub(before);
            let count = (since + pace / 2).checked_div(pace).unwrap_or_default();
            let expected = before + count * pace;
            let by =
                (sample.time as i64 - expected as i64 + unit as i64 / 2).div_euclid(unit as i64);
            ticks.unsigned(count);
            off.signed(by);
            before = expected.saturating_add_signed(by * unit as i64);
            // Each from what was written before it, so that errors do not add up.
            sample.time = before;
        }
    }
    out.append(&ticks);
    out.append(&off);
}

/// Threads: 0 for the one before, or else how far from it and 1.
fn encode_threads(samples: &[Sample], out: &mut Encoder) {
    let mut before = 0;
    for sample in samples {
        match sample.thread.wrapping_sub(before) as i32 {
            0 => out.unsigned(0),
            by => out.unsigned(u64::from(zigzag(by)) + 1),
        }
        before = sample.thread;
    }
}

fn zigzag(by: i32) -> u32 {
    (by << 1 ^ by >> 31) as u32
}

fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

/// Stacks: those that there are, and how often each comes; then the number of each sample's in
/// the order of that, low bytes of all before high ones.
fn encode_stacks(samples: &[Sample], out: &mut Encoder) {
    let mut sorted: Vec<u32> = samples.iter().map(|sample| sample.stack).collect();
    sorted.sort_unstable();
    let counts: Vec<(u32, u32)> =
        sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect();
    out.unsigned(counts.len() as u64);
    let mut before = 0;
    for (stack, _) in &counts {
        out.unsigned(u64::from(stack - before));
        before = *stack;
    }
    counts.iter().for_each(|(_, count)| out.unsigned((*count).into()));
    let mut ranks =
        HashMap::with_capacity_and_hasher(counts.len(), foldhash::fast::RandomState::default());
    for (rank, index) in (0u32..).zip(by_count(&counts)) {
        ranks.insert(counts[index].0, rank);
    }
    let ranks: Vec<u32> = samples
        .iter()
        .map(|sample| ranks.get(&sample.stack).copied().unwrap_or_default())
        .collect();
    for plane in 0..planes(counts.len()) {
        ranks.iter().for_each(|rank| out.byte((rank >> (8 * plane)) as u8));
    }
}

/// The order of stacks by how often they come, most often first.
fn by_count(counts: &[(u32, u32)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(counts[*index].1));
    order
}

/// Bytes that numbers below `count` need.
fn planes(count: usize) -> usize {
    let bits = usize::BITS - count.saturating_sub(1).leading_zeros();
    bits.div_ceil(8) as usize
}

/// Reads the samples of a window of a recording of format `version`.
///
/// # Errors
/// It is damaged.
pub fn decode(bytes: &[u8], version: u32) -> Result<Vec<Sample>> {
    if version < 2 {
        return decode_1(bytes);
    }
    let mut input = Decoder(bytes);
    let mut samples = decode_all_but_times(&mut input)?;
    decode_times(&mut input, &mut samples)?;
    Ok(samples)
}

fn decode_all_but_times(input: &mut Decoder<'_>) -> Result<Vec<Sample>> {
    let count = input.count()?;
    let none = Sample { time: 0, cpu: 0, thread: 0, stack: 0, count: 1, value: 0 };
    let mut samples = vec![none; count];
    let mut thread = 0u32;
    for sample in &mut samples {
        if let Some(by) = input.unsigned()?.checked_sub(1) {
            thread = thread.wrapping_add_signed(unzigzag(by as u32));
        }
        sample.thread = thread;
    }
    decode_stacks(input, &mut samples)?;
    decode_values(input, &mut samples)?;
    Ok(samples)
}

fn decode_stacks(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<()> {
    let mut counts = vec![(0u32, 0u32); input.count()?];
    let mut stack = 0u32;
    for (slot, _) in &mut counts {
        stack = stack.wrapping_add(input.unsigned()? as u32);
        *slot = stack;
    }
    for (_, count) in &mut counts {
        *count = input.unsigned()? as u32;
    }
    let order = by_count(&counts);
    let mut ranks = vec![0usize; samples.len()];
    for plane in 0..planes(counts.len()) {
        for (rank, byte) in ranks.iter_mut().zip(input.bytes(samples.len())?) {
            *rank |= usize::from(*byte) << (8 * plane);
        }
    }
    for (sample, rank) in samples.iter_mut().zip(ranks) {
        let index = order.get(rank).context("damaged blob: there is no such stack")?;
        sample.stack = counts[*index].0;
    }
    Ok(())
}

fn decode_times(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<()> {
    let (unit, pace) = (input.unsigned()?, input.unsigned()?);
    let mut runs = Vec::new();
    let mut left = samples.len();
    while left > 0 {
        let (cpu, length, first) = (input.index()?, input.unsigned()? as usize, input.unsigned()?);
        if length == 0 || length > left {
            bail!("damaged blob: a window holds another number of samples than it says");
        }
        left -= length;
        runs.push((cpu, length, first));
    }
    let mut ticks = Vec::with_capacity(samples.len());
    for _ in runs.len()..samples.len() {
        ticks.push(input.unsigned()?);
    }
    let (mut ticks, mut samples) = (ticks.into_iter(), samples.iter_mut());
    for (cpu, length, first) in runs {
        let mut time = first.wrapping_mul(unit);
        for (index, sample) in samples.by_ref().take(length).enumerate() {
            if index > 0 {
                let step = ticks.next().unwrap_or_default().wrapping_mul(pace);
                let off = input.signed()?.wrapping_mul(unit as i64);
                time = time.wrapping_add(step).wrapping_add_signed(off);
            }
            (sample.time, sample.cpu) = (time, cpu);
        }
    }
    Ok(())
}

fn decode_values(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<()> {
    let (mut value, mut sum) = (0u64, Some(0u64));
    for sample in samples {
        value = value.wrapping_add(input.signed()? as u64);
        sample.value = value;
        sum = sum.and_then(|sum| sum.checked_add(value));
    }
    if sum.is_none_or(|sum| sum > i64::MAX as u64) {
        bail!("damaged blob: no window lasts that long");
    }
    Ok(())
}

/// Windows of format 1: differences between differences of times in microseconds, and differences
/// of threads, stacks and values.
fn decode_1(bytes: &[u8]) -> Result<Vec<Sample>> {
    let mut input = Decoder(bytes);
    let count = input.count()?;
    let mut samples = Vec::with_capacity(count);
    while samples.len() < count {
        let cpu = input.index()?;
        let run = input.count()?;
        if run == 0 || run > count - samples.len() {
            bail!("damaged blob: a window holds another number of samples than it says");
        }
        let (mut time, mut pace) = (0i64, 0i64);
        for _ in 0..run {
            pace = pace.wrapping_add(input.signed()?);
            time = time.wrapping_add(pace);
            let time = (time as u64).wrapping_mul(TIME_UNIT_1);
            samples.push(Sample { time, cpu, thread: 0, stack: 0, count: 1, value: 0 });
        }
    }
    let mut before = 0i64;
    for sample in &mut samples {
        before = before.wrapping_add(input.signed()?);
        sample.thread = before as u32;
    }
    before = 0;
    for sample in &mut samples {
        before = before.wrapping_add(input.signed()?);
        sample.stack = before as u32;
    }
    decode_values(&mut input, &mut samples)?;
    Ok(samples)
}

/// Reads the samples of a window of a recording of format `version` without their times, those of
/// one thread side by side.
///
/// # Errors
/// It is damaged.
pub fn decode_entries(bytes: &[u8], version: u32) -> Result<Vec<Entry>> {
    let samples = match version {
        0 | 1 => decode_1(bytes)?,
        _ => decode_all_but_times(&mut Decoder(bytes))?,
    };
    Ok(entries(&samples))
}

/// Samples as entries, those of one thread side by side.
pub fn entries<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = samples.into_iter().map(Entry::of).collect();
    entries.sort_unstable_by_key(|entry| entry.thread);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::expand;

    fn bytes(samples: &mut [Sample], unit: u64) -> Vec<u8> {
        expand(&encode(samples, unit).finish(3).unwrap()).unwrap()
    }

    fn made(count: u32, stacks: u32) -> Vec<Sample> {
        let sample = |index: u32| Sample {
            // Some ticks are missing, and none is quite where it should be.
            time: u64::from(index / 3 + index / 100 * 7) * 10_101_010
                + u64::from(index * 7919 % 90_000),
            cpu: index % 3,
            thread: index / 5 * 7 % 40,
            stack: index * 7919 % stacks,
            count: 1,
            value: if index.is_multiple_of(50) { 20_202_020 } else { 10_101_010 },
        };
        (0..count).map(sample).collect()
    }

    #[test]
    fn samples_come_back_with_their_times_rounded() {
        for (count, stacks) in [(0, 1), (1, 1), (2, 1), (1000, 50), (3000, 256), (70_000, 66_000)] {
            for unit in [1000, 1_000_000] {
                let exact = made(count, stacks);
                let mut samples = exact.clone();
                let bytes = bytes(&mut samples, unit);
                assert_eq!(decode(&bytes, 2).unwrap(), samples);
                let mut exact = exact;
                exact.sort_by_key(|sample| (sample.cpu, sample.time));
                for (exact, rounded) in exact.iter().zip(&samples) {
                    assert!(exact.time.abs_diff(rounded.time) <= unit / 2, "{exact:?} {rounded:?}");
                    assert_eq!(Sample { time: 0, ..*exact }, Sample { time: 0, ..*rounded });
                }
                let all: u64 = exact.iter().map(|sample| sample.value).sum();
                let sums = decode_entries(&bytes, 2).unwrap();
                assert_eq!(sums.iter().map(|sum| sum.value).sum::<u64>(), all);
            }
        }
    }

    #[test]
    fn times_at_random_come_back_too() {
        let mut samples = made(500, 9);
        for (index, sample) in samples.iter_mut().enumerate() {
            sample.time = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
        }
        let bytes = bytes(&mut samples, 1000);
        assert_eq!(decode(&bytes, 2).unwrap(), samples);
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut samples = made(20, 7);
        let bytes = bytes(&mut samples, 1000);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], 2).is_err(), "{cut}");
        }
    }
}
