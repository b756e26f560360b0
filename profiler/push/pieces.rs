//! pprof in pieces that a receiver takes: of so many samples, and so many bytes, at most.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, write::GzEncoder};

use super::batch::{Series, metric};
use crate::{
    model::{Profile, Sample},
    output::pprof_series,
};

/// What one profile may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Distinct stacks, which are the samples of a series.
    pub samples: usize,
    /// Bytes before compression.
    pub bytes: usize,
}

/// Gzipped pprof of a profile without labels: one, or several where it is too large for one. Each is
/// a nanosecond later than the one before, so that no engine takes two of them for the same.
pub fn pieces(profile: &Profile, limits: Limits) -> Result<Vec<Vec<u8>>> {
    let mut done = Vec::new();
    add(profile.clone(), limits, &mut done)?;
    Ok(done)
}

fn add(mut profile: Profile, limits: Limits, done: &mut Vec<Vec<u8>>) -> Result<()> {
    let mut stacks: Vec<u32> =
        profile.samples.iter().chain(&profile.in_use).map(|sample| sample.stack).collect();
    stacks.sort_unstable();
    stacks.dedup();
    let from = profile.from;
    if stacks.len() <= limits.samples {
        profile.from = from.saturating_add(done.len() as u64);
        let message = pprof_series(&profile);
        if message.len() <= limits.bytes || stacks.len() <= 1 {
            done.push(gzip(&message)?);
            return Ok(());
        }
        profile.from = from;
    }
    let middle = stacks[stacks.len() / 2];
    let below = |samples: &[Sample], below: bool| -> Vec<Sample> {
        samples.iter().filter(|one| (one.stack < middle) == below).copied().collect()
    };
    let half = |side| Profile {
        samples: below(&profile.samples, side),
        in_use: below(&profile.in_use, side),
        ..profile.clone()
    };
    let (one, other) = (half(true), half(false));
    add(one, limits, done)?;
    add(other, limits, done)
}

/// `bytes`, gzipped.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// Twice the time of level 1, and four fifths of its bytes.
const LEVEL: u32 = 5;

/// A UUID for a piece of a series: the same whenever it is made again, so that an engine can tell
/// one that it was sent twice.
pub fn id(series: &Series, piece: usize) -> String {
    let profile = &series.profile;
    let time = (profile.info.start.saturating_add(profile.from), profile.to);
    let hash = |seed| {
        use std::hash::BuildHasher;
        foldhash::quality::FixedState::with_seed(seed).hash_one((
            metric(&profile.source),
            &series.labels,
            time,
            piece,
        ))
    };
    let bits = u128::from(hash(1)) << 64 | u128::from(hash(2));
    // Version 8, of the maker's own kind, and the variant of RFC 9562.
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}
