//! Windows: the samples of a stretch of time, column by column.
//!
//! Samples are sorted by CPU and then time, since those of one CPU come at an even pace: then the
//! differences between differences are small. Times are kept to the microsecond, well below the
//! jitter of any sampling timer.

use anyhow::{Result, bail};

use super::codec::{Decoder, Encoder};
use crate::model::Sample;

/// Resolution of a sample's time, ns.
pub const TIME_UNIT: u64 = 1000;

/// Writes `samples`, each of one count.
pub fn encode(samples: &mut [Sample]) -> Encoder {
    samples.sort_by_key(|sample| (sample.cpu, sample.time));
    let mut out = Encoder::default();
    out.unsigned(samples.len() as u64);
    for run in samples.chunk_by(|a, b| a.cpu == b.cpu) {
        out.unsigned(run[0].cpu.into());
        out.unsigned(run.len() as u64);
        let (mut before, mut pace) = (0, 0);
        for sample in run {
            let time = (sample.time / TIME_UNIT) as i64;
            out.signed(time - before - pace);
            (before, pace) = (time, time - before);
        }
    }
    delta_column(samples, |sample| sample.thread, &mut out);
    delta_column(samples, |sample| sample.stack, &mut out);
    let mut before = 0;
    for sample in samples.iter() {
        out.signed(sample.value.wrapping_sub(before) as i64);
        before = sample.value;
    }
    out
}

fn delta_column(samples: &[Sample], column: impl Fn(&Sample) -> u32, out: &mut Encoder) {
    let mut before = 0;
    for sample in samples {
        let value = i64::from(column(sample));
        out.signed(value - before);
        before = value;
    }
}

/// Reads the samples of a window.
///
/// # Errors
/// It is damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<Sample>> {
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
            let time = (time as u64).wrapping_mul(TIME_UNIT);
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
    let mut value = 0u64;
    for sample in &mut samples {
        value = value.wrapping_add(input.signed()? as u64);
        sample.value = value;
    }
    let sum = samples.iter().try_fold(0u64, |sum, sample| sum.checked_add(sample.value));
    if sum.is_none_or(|sum| sum > i64::MAX as u64) {
        bail!("damaged blob: no window lasts that long");
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_to_the_microsecond() {
        let sample = |time, cpu, stack| Sample {
            time,
            cpu,
            thread: stack % 3,
            stack,
            count: 1,
            value: 10_101_010,
        };
        let mut samples: Vec<Sample> =
            (0..1000u32).map(|i| sample(u64::from(i) * 10_101_000, i % 3, i * 7 % 50)).collect();
        let bytes = super::super::codec::expand(&encode(&mut samples).finish(3).unwrap()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), samples);
    }

    #[test]
    fn every_cut_is_an_error_or_fewer_bytes_to_read() {
        let mut samples =
            [Sample { time: 5_000, cpu: 1, thread: 2, stack: 3, count: 1, value: 4 }; 20];
        let bytes = super::super::codec::expand(&encode(&mut samples).finish(3).unwrap()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err());
        }
    }
}
