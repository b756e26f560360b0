//! Totals of system calls, which the kernel half keeps by call and CPU.

use anyhow::Result;
use libbpf_rs::{MapCore, MapFlags};

use super::table::Table;
use crate::{
    bpf::{self, syscalls::types::totals},
    model::CallTotals,
};

/// What was counted of each call that there was.
pub fn read(table: &Table, map: &impl MapCore) -> Result<Vec<CallTotals>> {
    let mut all = Vec::new();
    for (number, call) in table.calls() {
        let cpus = map.lookup_percpu(&number.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
        let mut sum = CallTotals { name: call.name.clone(), ..CallTotals::default() };
        let mut buckets = Vec::new();
        for cpu in cpus.iter().filter_map(|bytes| bpf::read::<totals>(bytes)) {
            sum.count += cpu.count;
            sum.errors += cpu.errors;
            sum.time += cpu.time;
            sum.most = sum.most.max(cpu.most);
            buckets.resize(cpu.buckets.len(), 0);
            buckets.iter_mut().zip(cpu.buckets).for_each(|(sum, count)| *sum += u64::from(count));
        }
        if sum.count > 0 {
            sum.p50 = quantile(&buckets, 0.5).min(sum.most);
            sum.p99 = quantile(&buckets, 0.99).min(sum.most);
            all.push(sum);
        }
    }
    Ok(all)
}

/// The middle of the bucket that this share of all is reached in; see bucket_of() in
/// `bpf/syscalls.bpf.c`.
fn quantile(buckets: &[u64], share: f64) -> u64 {
    let all: u64 = buckets.iter().sum();
    let wanted = (all as f64 * share).ceil().max(1.0) as u64;
    let mut seen = 0;
    let reached = buckets.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    let (low, high) = bounds(reached.unwrap_or_default() as u32);
    low + (high - low) / 2
}

/// The least time in a bucket, and the least of the next.
fn bounds(bucket: u32) -> (u64, u64) {
    // Below 4 ns there is one for each.
    if bucket < 8 {
        return (u64::from(bucket), u64::from(bucket) + 1);
    }
    let (log, part) = (bucket >> 2, u64::from(bucket & 3));
    let quarter = 1u64 << (log - 2);
    let low = (4 + part) * quarter;
    (low, low + quarter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel half has it.
    fn bucket_of(time: u64) -> u32 {
        match time {
            0..4 => time as u32,
            _ => (time.ilog2() << 2) + (time >> (time.ilog2() - 2) & 3) as u32,
        }
    }

    #[test]
    fn each_time_is_between_the_bounds_of_its_bucket() {
        for time in (0..40).flat_map(|log| [1u64 << log, (1 << log) * 3 / 2, (1 << log) + 1]) {
            let (low, high) = bounds(bucket_of(time));
            assert!((low..high).contains(&time), "{time}: {low} {high}");
            assert!(time < 8 || (high - low) * 4 <= low, "{low} {high}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut buckets = vec![0; 160];
        (1..=1000u64).for_each(|time| buckets[bucket_of(time * 1000) as usize] += 1);
        for (share, right) in [(0.5, 500_000.0), (0.99, 990_000.0)] {
            let error = quantile(&buckets, share) as f64 / right - 1.0;
            assert!(error.abs() <= 0.125, "{share}: {error}");
        }
    }
}
