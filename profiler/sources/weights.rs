//! What samples of allocations stand for.

use std::hash::BuildHasher;

/// What sampled allocations stand for.
///
/// With one sample in `period` bytes on average, an allocation of `size` is sampled with the
/// probability 1 - exp(-size / period): each byte begins a sample with the same small chance. So a
/// sampled one stands for size / (1 - exp(-size / period)) bytes, which makes sums unbiased.
pub struct Weights {
    period: f64,
    hasher: foldhash::fast::FixedState,
}

impl Weights {
    /// For one sample in `period` bytes on average; 0: in each allocation.
    pub fn new(period: u64) -> Self {
        Self { period: period as f64, hasher: foldhash::fast::FixedState::default() }
    }

    /// Objects and bytes for a sample of `size` bytes that was taken at `time`, which stands for
    /// `scale` times what it would if it could have been any allocation. A number of objects
    /// is whole: the part that is over rounds up as often as it is large, by the time, so that the
    /// free of an object counts as much as the object did.
    pub fn of(&self, count: u64, size: u64, time: u64, scale: f64) -> (u64, u64) {
        if size == 0 || self.period == 0.0 && scale == 1.0 {
            return (count, size);
        }
        let sampled = match self.period {
            0.0 => 1.0,
            period => -(-(size as f64) / period).exp_m1(),
        };
        let objects = scale / sampled;
        let chance = (self.hasher.hash_one((time, size)) >> 11) as f64 / (1u64 << 53) as f64;
        let whole = objects.floor() as u64 + u64::from(chance < objects.fract());
        (count * whole, count * (objects * size as f64).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_samples_are_those_of_all() {
        let weights = Weights::new(1000);
        for size in [1u64, 10, 500, 1000, 2500, 100_000] {
            let chance = 1.0 - (-(size as f64) / 1000.0).exp();
            let (mut objects, mut bytes, count) = (0.0, 0.0, 100_000u64);
            for time in 0..count {
                let (one, value) = weights.of(1, size, time, 1.0);
                assert_eq!((one, value), weights.of(1, size, time, 1.0));
                objects += one as f64;
                bytes += value as f64;
            }
            let (objects, bytes) = (objects * chance, bytes * chance);
            let (all, count) = ((size * count) as f64, count as f64);
            assert!((objects / count - 1.0).abs() < 0.01, "{size}: {objects} of {count}");
            assert!((bytes / all - 1.0).abs() < 0.001, "{size}: {bytes} of {all}");
        }
        assert_eq!(Weights::new(0).of(1, 77, 5, 1.0), (1, 77));
    }
}
