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
use crate::model::{Free, Sample};

/// Writes `samples`, and rounds their times to the nearest multiple of `unit` ns, or nearly so, as
/// they are written.
pub fn encode(samples: &mut [Sample], unit: u64) -> Encoder {
    samples.sort_by_key(order);
    let mut out = Encoder::default();
    out.unsigned(samples.len() as u64);
    encode_threads(samples, &mut out);
    encode_stacks(samples, &mut out);
    let mut before = 0;
    for sample in samples.iter() {
        out.signed(sample.value.wrapping_sub(before) as i64);
        before = sample.value;
    }
    encode_counts(samples, &mut out);
    // Last, so that who does not ask for times need not read them.
    encode_times(samples, unit.max(1), &mut out);
    out
}

/// The order in which samples are written.
fn order(sample: &Sample) -> (u32, u64) {
    (sample.cpu, sample.time)
}

/// Writes `frees` as [`encode`] writes samples, and after all else how old each was, in units.
pub fn encode_frees(frees: &mut [Free], unit: u64) -> Encoder {
    frees.sort_by_key(|free| order(&free.sample));
    let unit = unit.max(1);
    let mut samples: Vec<Sample> = frees.iter().map(|free| free.sample).collect();
    let mut out = encode(&mut samples, unit);
    for (free, sample) in frees.iter_mut().zip(samples) {
        let age = (sample.time.saturating_sub(free.born) + unit / 2) / unit;
        out.unsigned(age);
        *free = Free { sample, born: sample.time.saturating_sub(age * unit) };
    }
    out
}

/// Counts: nothing where all are 1, as those of a timer are.
fn encode_counts(samples: &[Sample], out: &mut Encoder) {
    let any = samples.iter().any(|sample| sample.count != 1);
    out.byte(any.into());
    if any {
        samples.iter().for_each(|sample| out.unsigned(sample.count));
    }
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

/// Reads the samples of a window.
///
/// # Errors
/// It is damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<Sample>> {
    let mut input = Decoder(bytes);
    let mut samples = decode_all_but_times(&mut input)?;
    decode_times(&mut input, &mut samples)?;
    Ok(samples)
}

/// Reads the frees of a window.
///
/// # Errors
/// It is damaged.
pub fn decode_frees(bytes: &[u8]) -> Result<Vec<Free>> {
    let mut input = Decoder(bytes);
    let mut samples = decode_all_but_times(&mut input)?;
    let unit = decode_times(&mut input, &mut samples)?;
    let mut free = |sample: Sample| {
        let age = input.unsigned()?.saturating_mul(unit);
        Ok(Free { sample, born: sample.time.saturating_sub(age) })
    };
    samples.into_iter().map(&mut free).collect()
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
    decode_counts(input, &mut samples)?;
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

/// Gives the unit of times, too.
fn decode_times(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<u64> {
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
    Ok(unit)
}

fn decode_values(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<()> {
    let (mut value, mut sum) = (0u64, Some(0u64));
    for sample in samples {
        value = value.wrapping_add(input.signed()? as u64);
        sample.value = value;
        sum = sum.and_then(|sum| sum.checked_add(value));
    }
    if sum.is_none_or(|sum| sum > i64::MAX as u64) {
        bail!("damaged blob: no window holds that much");
    }
    Ok(())
}

fn decode_counts(input: &mut Decoder<'_>, samples: &mut [Sample]) -> Result<()> {
    if input.bytes(1)? == [0] {
        return Ok(()); // as they were made
    }
    let mut sum = Some(0u64);
    for sample in samples {
        sample.count = input.unsigned()?;
        sum = sum.and_then(|sum| sum.checked_add(sample.count));
    }
    if sum.is_none_or(|sum| sum > i64::MAX as u64) {
        bail!("damaged blob: no window holds that many");
    }
    Ok(())
}

/// Reads the samples, or the frees, of a window without their times, those of one thread side by
/// side.
///
/// # Errors
/// It is damaged.
pub fn decode_entries(bytes: &[u8]) -> Result<Vec<Entry>> {
    Ok(entries(&decode_all_but_times(&mut Decoder(bytes))?))
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
                assert_eq!(decode(&bytes).unwrap(), samples);
                let mut exact = exact;
                exact.sort_by_key(|sample| (sample.cpu, sample.time));
                for (exact, rounded) in exact.iter().zip(&samples) {
                    assert!(exact.time.abs_diff(rounded.time) <= unit / 2, "{exact:?} {rounded:?}");
                    assert_eq!(Sample { time: 0, ..*exact }, Sample { time: 0, ..*rounded });
                }
                let all: u64 = exact.iter().map(|sample| sample.value).sum();
                let sums = decode_entries(&bytes).unwrap();
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
        assert_eq!(decode(&bytes).unwrap(), samples);
    }

    #[test]
    fn counts_of_a_timer_cost_a_byte_and_others_come_back() {
        let mut samples = made(1000, 9);
        let (ones, before) = (bytes(&mut samples, 1000).len(), samples.clone());
        for (index, sample) in (0u64..).zip(&mut samples) {
            sample.count = index * index % 5000;
        }
        let bytes = bytes(&mut samples, 1000);
        assert!(bytes.len() > ones + 999);
        assert_eq!(decode(&bytes).unwrap(), samples);
        let counts = |entries: Vec<Entry>| entries.iter().map(|one| one.count).sum::<u64>();
        let expected = samples.iter().map(|sample| sample.count).sum::<u64>();
        assert_eq!(counts(decode_entries(&bytes).unwrap()), expected);
        assert!(before.iter().all(|sample| sample.count == 1));
    }

    #[test]
    fn frees_come_back_with_their_age() {
        for unit in [1000, 1_000_000] {
            let free = |(index, sample): (u64, Sample)| {
                let born = sample.time.saturating_sub(index * index * 7919);
                Free { sample: Sample { count: index % 9, ..sample }, born }
            };
            let exact: Vec<Free> = (0..).zip(made(300, 20)).map(free).collect();
            let mut frees = exact.clone();
            let bytes = expand(&encode_frees(&mut frees, unit).finish(3).unwrap()).unwrap();
            assert_eq!(decode_frees(&bytes).unwrap(), frees);
            assert_eq!(
                decode(&bytes).unwrap(),
                frees.iter().map(|one| one.sample).collect::<Vec<_>>()
            );
            let mut exact = exact;
            exact.sort_by_key(|free| order(&free.sample));
            for (exact, rounded) in exact.iter().zip(&frees) {
                assert!(exact.born.abs_diff(rounded.born) <= unit, "{exact:?} {rounded:?}");
            }
            for cut in 0..bytes.len() {
                assert!(decode_frees(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut samples = made(20, 7);
        let bytes = bytes(&mut samples, 1000);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
