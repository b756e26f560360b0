//! Histograms of times: what a source of kind `latency` yields.
//!
//! Each power of two is cut into 16 buckets, so a quantile is right to a 32nd part (3.2 %) either
//! way, whatever its size; count, sum and maximum are exact. Histograms of the same thing add up.

use std::collections::BTreeMap;

use serde::Serialize;

/// log2 of the buckets of a power of two (STEP_BITS in `bpf/buckets.bpf.h`).
const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
/// log2 of what the last bucket ends at, ns: 18 minutes. What is longer is in it too.
const RANGE_BITS: u32 = 40;

/// Times in one bucket of what is read from a file, at most: as many as a century of any machine has,
/// and few enough that all that a question adds up fits.
const COUNT_MAX: u64 = 1 << 44;

/// The number of buckets.
pub const BUCKETS: usize = (STEPS + (RANGE_BITS - STEP_BITS) as u64 * STEPS) as usize;

/// How many times took how long.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Histogram {
    /// Times in each bucket that has some.
    counts: BTreeMap<u16, u64>,
    /// Times in all.
    count: u64,
    /// All of them added up, ns.
    sum: u64,
    /// The longest, ns.
    max: u64,
}

/// Part of a histogram: times from `from` to just below `to` (ns).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Bucket {
    /// The least, ns.
    pub from: u64,
    /// The first that is too long, ns.
    pub to: u64,
    /// How many.
    pub count: u64,
}

impl Histogram {
    /// A histogram of what the kernel counted: a count for each bucket, the sum and the longest.
    pub fn from_counts(counts: &[u32], sum: u64, max: u64) -> Self {
        let counts = (0..).zip(counts.iter().take(BUCKETS));
        let counts: BTreeMap<u16, u64> = counts
            .filter(|&(_, &count)| count > 0)
            .map(|(bucket, &count)| (bucket, u64::from(count)))
            .collect();
        let count = counts.values().sum();
        Self { counts, count, sum, max }
    }

    /// A histogram of what was written of another: [`Histogram::counts`], sum and longest. None if
    /// there is no such bucket, or more times than any that is counted has.
    pub fn from_parts(
        counts: impl IntoIterator<Item = (u16, u64)>,
        sum: u64,
        max: u64,
    ) -> Option<Self> {
        let mut histogram = Self { sum, max, ..Self::default() };
        for (bucket, count) in counts {
            if usize::from(bucket) >= BUCKETS || count > COUNT_MAX {
                return None;
            }
            *histogram.counts.entry(bucket).or_default() += count;
            histogram.count += count;
        }
        Some(histogram)
    }

    /// Each bucket with something in it, by number, and how many times.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (u16, u64)> + '_ {
        self.counts.iter().map(|(&bucket, &count)| (bucket, count))
    }

    /// Counts one time, ns.
    pub fn add(&mut self, ns: u64) {
        *self.counts.entry(bucket_of(ns)).or_default() += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(ns);
        self.max = self.max.max(ns);
    }

    /// Adds all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.counts {
            let sum = self.counts.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them added up, ns.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The longest, ns.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The time (ns) that a share `q` of all do not exceed, to a 32nd part: the middle of the bucket
    /// that the nearest rank is in. 0 if there are none.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64 * q).ceil() as u64).clamp(1, self.count.max(1));
        if rank == self.count {
            return self.max;
        }
        let mut seen = 0;
        for (&bucket, &count) in &self.counts {
            seen += count;
            if seen >= rank {
                return match bounds(bucket) {
                    // The last has all that is longer, too.
                    (_, to) if usize::from(bucket) == BUCKETS - 1 && self.max >= to => self.max,
                    (from, to) => (from + (to - 1 - from) / 2).min(self.max),
                };
            }
        }
        self.max
    }

    /// Every bucket with something in it, shortest times first.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.counts.iter().map(|(&bucket, &count)| {
            let (from, to) = bounds(bucket);
            Bucket { from, to, count }
        })
    }

    /// The same by powers of two, from the first to the last with something in it. Times below
    /// `least` (ns) are one bucket.
    pub fn powers(&self, least: u64) -> Vec<Bucket> {
        let mut powers: Vec<Bucket> = Vec::new();
        for bucket in self.buckets() {
            let from = if bucket.from < least.max(1) { 0 } else { 1 << bucket.from.ilog2() };
            let next = |from: u64| if from < least.max(1) { least.max(1) } else { 2 * from };
            while let Some(last) = powers.last()
                && last.from < from
            {
                let from = last.to;
                powers.push(Bucket { from, to: next(from), count: 0 });
            }
            match powers.last_mut() {
                Some(last) => last.count += bucket.count,
                None => powers.push(Bucket { from, to: next(from), count: bucket.count }),
            }
        }
        powers
    }
}

fn bucket_of(ns: u64) -> u16 {
    if ns < STEPS {
        return ns as u16;
    }
    let bit = ns.ilog2();
    let step = (ns >> (bit - STEP_BITS)) & (STEPS - 1);
    let bucket = u64::from(bit - STEP_BITS + 1) * STEPS + step;
    bucket.min(BUCKETS as u64 - 1) as u16
}

/// The least time of a bucket, and the least that is beyond it, ns.
fn bounds(bucket: u16) -> (u64, u64) {
    let (power, step) = (u64::from(bucket) / STEPS, u64::from(bucket) % STEPS);
    match power.checked_sub(1) {
        None => (step, step + 1),
        Some(shift) => ((STEPS + step) << shift, (STEPS + step + 1) << shift),
    }
}

/// What histograms are kept apart by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Key {
    /// A process: command name and pid.
    Process,
    /// A thread: its name and tid.
    Thread,
    /// Path of the cgroup below the cgroup2 mount.
    Cgroup,
    /// Number of the pid namespace.
    PidNamespace,
    /// The CPU.
    Cpu,
    /// Who handles a hardware interrupt.
    Handler,
    /// Which software interrupt.
    Vector,
    /// Whether a connection came about, and if not, why.
    Result,
    /// This end of a connection.
    LocalAddress,
    /// Port of this end.
    LocalPort,
    /// The other end of a connection.
    RemoteAddress,
    /// Port of the other end.
    RemotePort,
    /// What a collector of garbage calls what it did.
    Collection,
    /// What was in use before it and after it.
    Heap,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 14] = [
        Self::Process,
        Self::Thread,
        Self::Cgroup,
        Self::PidNamespace,
        Self::Cpu,
        Self::Handler,
        Self::Vector,
        Self::Result,
        Self::LocalAddress,
        Self::LocalPort,
        Self::RemoteAddress,
        Self::RemotePort,
        Self::Collection,
        Self::Heap,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Cgroup => "cgroup",
            Self::PidNamespace => "pidns",
            Self::Cpu => "cpu",
            Self::Handler => "handler",
            Self::Vector => "vector",
            Self::Result => "result",
            Self::LocalAddress => "local-address",
            Self::LocalPort => "local-port",
            Self::RemoteAddress => "remote-address",
            Self::RemotePort => "remote-port",
            Self::Collection => "collection",
            Self::Heap => "heap",
        }
    }

    /// The key of that word, if there is one.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.word() == word)
    }
}

/// A histogram and what it is of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Series {
    /// What it is kept apart by, and the value of each.
    pub labels: Vec<(Key, String)>,
    /// The times.
    pub histogram: Histogram,
}

/// What a source of kind `latency` measured from one moment to another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interval {
    /// The source.
    pub source: String,
    /// Whom it watched, in words.
    pub target: String,
    /// ns since the Unix epoch.
    pub start: u64,
    /// ns since the Unix epoch.
    pub end: u64,
    /// The most time first.
    pub series: Vec<Series>,
    /// What could not be counted, by reason.
    pub missed: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut end = 0;
        for bucket in 0..BUCKETS as u16 {
            let (from, to) = bounds(bucket);
            assert_eq!(from, end);
            assert_eq!((bucket_of(from), bucket_of(to - 1)), (bucket, bucket));
            end = to;
        }
        assert_eq!(end, 1 << RANGE_BITS);
        assert_eq!(usize::from(bucket_of(u64::MAX)), BUCKETS - 1);
    }

    #[test]
    fn powers_of_two_have_no_gap_and_nothing_is_lost() {
        let mut histogram = Histogram::default();
        for ns in [3, 1000, 1023, 1024, 70_000] {
            histogram.add(ns);
        }
        let powers = histogram.powers(0);
        assert_eq!(powers[0], Bucket { from: 2, to: 4, count: 1 });
        assert_eq!(powers.last().unwrap(), &Bucket { from: 65_536, to: 131_072, count: 1 });
        assert!(powers.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!(powers.iter().map(|power| power.count).sum::<u64>(), 5);
        let above = histogram.powers(1024);
        assert_eq!(above[0], Bucket { from: 0, to: 1024, count: 3 });
        assert_eq!(above[1], Bucket { from: 1024, to: 2048, count: 1 });
        assert_eq!(Histogram::default().powers(0), []);
    }

    #[test]
    fn nothing_has_no_quantile_and_the_overlong_have_their_maximum() {
        assert_eq!(Histogram::default().quantile(0.5), 0);
        let mut histogram = Histogram::default();
        histogram.add(1 << 50);
        histogram.add(1 << 51);
        assert_eq!(histogram.quantile(0.5), 1 << 51);
        assert_eq!((histogram.max(), histogram.sum()), (1 << 51, 3 << 50));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_32nd(
            mut times in prop::collection::vec(0u64..1 << RANGE_BITS, 1..300),
            q in 0.0f64..=1.0,
        ) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|&ns| histogram.add(ns));
            times.sort_unstable();
            let rank = ((times.len() as f64 * q).ceil() as usize).max(1);
            let (exact, found) = (times[rank - 1], histogram.quantile(q));
            prop_assert!(found.abs_diff(exact) <= exact / 32, "{found} for {exact}");
        }

        #[test]
        fn parts_add_up(times in prop::collection::vec(any::<u32>(), 0..100), at in 0usize..100) {
            let of = |times: &[u32]| {
                let mut histogram = Histogram::default();
                times.iter().for_each(|&ns| histogram.add(ns.into()));
                histogram
            };
            let (left, right) = times.split_at(at.min(times.len()));
            let mut sum = of(left);
            sum.merge(&of(right));
            prop_assert_eq!(sum, of(&times));
        }
    }
}
