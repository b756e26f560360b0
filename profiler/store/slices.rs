//! Histograms of sources of kind `latency` as bytes: those of some stretches of time, one after the
//! other. What they are of is written once, and referred to by number.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

use super::codec::{Decoder, Encoder};
use crate::model::{Histogram, Key, Series, Slice};

/// Keys that one histogram is kept apart by, at most.
const KEYS_MAX: usize = 16;

/// What a histogram is of.
pub type Labels = Vec<(Key, String)>;

/// Writes slices of a recording that started at `start`, ns since the Unix epoch.
pub fn encode(slices: &[Slice], start: u64) -> Encoder {
    let mut out = Encoder::default();
    let mut numbers: HashMap<&[(Key, String)], u64> = HashMap::new();
    let mut all: Vec<&[(Key, String)]> = Vec::new();
    for series in slices.iter().flat_map(|slice| &slice.series) {
        numbers.entry(&series.labels).or_insert_with(|| {
            all.push(&series.labels);
            all.len() as u64 - 1
        });
    }
    out.unsigned(all.len() as u64);
    for labels in all {
        out.unsigned(labels.len() as u64);
        for (key, value) in labels {
            out.text(key.word());
            out.text(value);
        }
    }
    out.unsigned(slices.len() as u64);
    let mut before = start;
    for slice in slices {
        out.signed(slice.start.wrapping_sub(before) as i64);
        out.unsigned(slice.end.saturating_sub(slice.start));
        before = slice.end;
        out.unsigned(slice.series.len() as u64);
        for Series { labels, histogram } in &slice.series {
            out.unsigned(numbers.get(&**labels).copied().unwrap_or_default());
            encode_histogram(histogram, &mut out);
        }
    }
    out
}

fn encode_histogram(histogram: &Histogram, out: &mut Encoder) {
    out.unsigned(histogram.counts().len() as u64);
    let mut before = 0;
    for (bucket, _) in histogram.counts() {
        out.unsigned((bucket - before).into());
        before = bucket;
    }
    histogram.counts().for_each(|(_, count)| out.unsigned(count));
    out.unsigned(histogram.sum());
    out.unsigned(histogram.max());
}

/// Reads slices of a recording that started at `start`, ns since the Unix epoch.
///
/// # Errors
/// They are damaged.
pub fn decode(bytes: &[u8], start: u64) -> Result<Vec<Slice>> {
    let mut input = Decoder(bytes);
    let mut all: Vec<Labels> = Vec::new();
    for _ in 0..input.count()? {
        let keys = input.count()?;
        if keys > KEYS_MAX {
            bail!("damaged blob: a histogram of too many keys");
        }
        let mut labels = Vec::with_capacity(keys);
        for _ in 0..keys {
            let key = Key::find(&input.text()?).context("damaged blob: no such key")?;
            labels.push((key, input.text()?.into_owned()));
        }
        all.push(labels);
    }
    let mut slices = Vec::new();
    let mut before = start;
    for _ in 0..input.count()? {
        let start = before.wrapping_add(input.signed()? as u64);
        let end = start.saturating_add(input.unsigned()?);
        before = end;
        let mut series = Vec::new();
        for _ in 0..input.count()? {
            let number = input.unsigned()? as usize;
            let labels = all.get(number).context("damaged blob: no such labels")?.clone();
            series.push(Series { labels, histogram: decode_histogram(&mut input)? });
        }
        slices.push(Slice { start, end, series });
    }
    Ok(slices)
}

fn decode_histogram(input: &mut Decoder<'_>) -> Result<Histogram> {
    let mut counts = Vec::with_capacity(input.count()?);
    let mut bucket = 0u64;
    for _ in 0..counts.capacity() {
        bucket = bucket.saturating_add(input.unsigned()?);
        counts.push((u16::try_from(bucket).unwrap_or(u16::MAX), 0));
    }
    for (_, count) in &mut counts {
        *count = input.unsigned()?;
    }
    let (sum, max) = (input.unsigned()?, input.unsigned()?);
    Histogram::from_parts(counts, sum, max).context("damaged blob: no such histogram")
}

/// All of `slices` in one histogram for each key.
pub fn merge<'a>(slices: impl IntoIterator<Item = &'a Slice>) -> HashMap<Labels, Histogram> {
    let mut merged: HashMap<Labels, Histogram> = HashMap::new();
    for Series { labels, histogram } in slices.into_iter().flat_map(|slice| &slice.series) {
        match merged.get_mut(labels) {
            Some(sum) => sum.merge(histogram),
            None => {
                merged.insert(labels.clone(), histogram.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::expand;

    const START: u64 = 1_795_215_000_000_000_000;

    fn slice(number: u64) -> Slice {
        let of = |process: &str, times: &[u64]| {
            let mut histogram = Histogram::default();
            times.iter().for_each(|ns| histogram.add(*ns));
            let process = (Key::Process, process.to_owned());
            Series { labels: vec![process, (Key::Collection, "young".into())], histogram }
        };
        let mut rest = of("", &[1, u64::MAX]);
        rest.labels.clear();
        let start = START + number * 10_000_000_000;
        let series = vec![of("java (7)", &[number, 5000, 70_000]), of("b (8)", &[3]), rest];
        Slice { start, end: start + 10_000_000_000, series }
    }

    #[test]
    fn what_was_written_comes_back_and_every_cut_is_an_error() {
        let slices: Vec<Slice> = (0..5).map(slice).collect();
        let bytes = expand(&encode(&slices, START).finish(3).unwrap()).unwrap();
        assert_eq!(decode(&bytes, START).unwrap(), slices);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], START).is_err(), "{cut}");
        }
    }

    #[test]
    fn slices_of_one_key_add_up() {
        let slices: Vec<Slice> = (0..5).map(slice).collect();
        let merged = merge(&slices);
        assert_eq!(merged.len(), 3);
        assert_eq!(merged[&Vec::new()].count(), 10);
        assert_eq!(merged[&slices[0].series[0].labels].count(), 15);
        assert_eq!(merged[&slices[0].series[0].labels].max(), 70_000);
    }

    #[test]
    fn bytes_at_random_are_no_histograms_and_no_panic() {
        let mut number = 7u64;
        for length in 0..3000 {
            let bytes: Vec<u8> = (0..length % 200)
                .map(|_| {
                    number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (number >> 59) as u8
                })
                .collect();
            let _ = decode(&bytes, START); // most are errors, and some are empty
        }
    }
}
