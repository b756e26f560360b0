//! Histograms out of the kernel's maps, and what they come to until somebody asks.

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapMut};
use rustix::thread::{MembarrierCommand, membarrier};

use crate::{
    bpf,
    model::{BUCKETS, Histogram, Key, Series},
};

// The model's buckets are those of `bpf/latency.bpf.h`.
const _: () = assert!(size_of::<bpf::histogram>() == 48 + size_of::<u32>() * BUCKETS);

/// How long to wait for programs that still count, where the kernel does not tell.
const IN_FLIGHT: Duration = Duration::from_millis(10);

/// The most histograms that are kept until they are shown; each takes some kB.
const SERIES_MAX: usize = 16 << 10;

/// What stands for times of keys that there was no room for.
const TURNED_AWAY: &str = "not counted, for too many keys";

/// The maps of `bpf/latency.bpf.h`.
pub struct Histograms {
    histograms: MapHandle,
    epoch: MapHandle,
    uncounted: MapHandle,
    /// The epoch that programs count in.
    now: u64,
    before: bpf::uncounted,
}

impl Histograms {
    /// Those of a loaded object.
    ///
    /// # Errors
    /// No more descriptors are to be had.
    pub fn new(
        histograms: &MapMut<'_>,
        epoch: &MapMut<'_>,
        uncounted: &MapMut<'_>,
    ) -> Result<Self> {
        Ok(Self {
            histograms: MapHandle::try_from(histograms)?,
            epoch: MapHandle::try_from(epoch)?,
            uncounted: MapHandle::try_from(uncounted)?,
            now: 0,
            before: bpf::uncounted::default(),
        })
    }

    /// Begins the next epoch, and takes away what was counted in the last.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn take(&mut self) -> Result<Vec<(bpf::latency_key, bpf::histogram)>> {
        let last = self.now as u16;
        // The kernel keeps 16 bits of it.
        self.now = (self.now + 1) & 1;
        let zero = 0u32.to_ne_bytes();
        self.epoch
            .update(&zero, &self.now.to_ne_bytes(), MapFlags::ANY)
            .context("cannot begin the next interval")?;
        // Returns when each program that may still be counting has ended.
        if membarrier(MembarrierCommand::Global).is_err() {
            thread::sleep(IN_FLIGHT);
        }
        let keys: Vec<Vec<u8>> = self.histograms.keys().collect();
        let mut taken = Vec::new();
        for bytes in keys {
            let Some(key) = bpf::read::<bpf::latency_key>(&bytes) else { continue };
            if key.epoch != last {
                continue;
            }
            let value = self.histograms.lookup(&bytes, MapFlags::ANY)?;
            self.histograms.delete(&bytes)?;
            taken.extend(value.and_then(|value| Some((key, bpf::read(&value)?))));
        }
        Ok(taken)
    }

    /// What could not be counted since this was last asked, by reason.
    pub fn uncounted(&mut self) -> Vec<(&'static str, u64)> {
        let value = self.uncounted.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok().flatten();
        let now: bpf::uncounted = value.and_then(|value| bpf::read(&value)).unwrap_or(self.before);
        let before = std::mem::replace(&mut self.before, now);
        vec![
            (TURNED_AWAY, now.turned_away - before.turned_away),
            ("not measured, for want of memory for their beginning", now.missed - before.missed),
            ("not measured, as their beginning or end was not seen", now.unseen - before.unseen),
            ("not told each, for want of room", now.untold - before.untold),
        ]
    }
}

/// What one thing took, told by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// When it was over, ns of CLOCK_MONOTONIC.
    pub time: u64,
    /// How long it took, ns.
    pub ns: u64,
    /// Whose it was; 0 if that is not known.
    pub pid: u32,
    /// What it was.
    pub labels: Vec<(Key, String)>,
}

/// What was measured since it was last shown.
#[derive(Default)]
pub struct Gathered {
    series: HashMap<Vec<(Key, String)>, Histogram>,
    missed: BTreeMap<String, u64>,
    /// What was asked for one by one.
    pub occurrences: Vec<Occurrence>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Gathered {
    /// Adds times of what is labelled so.
    pub fn add(&mut self, labels: Vec<(Key, String)>, histogram: &Histogram) {
        if self.series.len() < SERIES_MAX || self.series.contains_key(&labels) {
            self.series.entry(labels).or_default().merge(histogram);
        } else {
            self.miss(TURNED_AWAY, histogram.count());
        }
    }

    /// Adds `count` of what could not be measured.
    pub fn miss(&mut self, why: &str, count: u64) {
        if count > 0 {
            *self.missed.entry(why.to_owned()).or_default() += count;
        }
    }

    /// Says how much there is now of what could not be measured, whatever was said before.
    pub fn set_missing(&mut self, why: &str, count: u64) {
        self.missed.remove(why);
        self.miss(why, count);
    }

    /// Takes all that was counted: the most time first, and what was not counted.
    pub fn take(&mut self) -> (Vec<Series>, BTreeMap<String, u64>) {
        let series = std::mem::take(&mut self.series).into_iter();
        let mut series: Vec<Series> =
            series.map(|(labels, histogram)| Series { labels, histogram }).collect();
        series.sort_by(|a, b| {
            let by_sum = b.histogram.sum().cmp(&a.histogram.sum());
            by_sum.then_with(|| a.labels.iter().map(|l| &l.1).cmp(b.labels.iter().map(|l| &l.1)))
        });
        (series, std::mem::take(&mut self.missed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut gathered = Gathered::default();
        let mut histogram = Histogram::default();
        histogram.add(7);
        histogram.add(8);
        for number in 0..SERIES_MAX + 3 {
            gathered.add(vec![(Key::Cpu, number.to_string())], &histogram);
        }
        gathered.add(vec![(Key::Cpu, "5".into())], &histogram);
        let (series, missed) = gathered.take();
        assert_eq!(series.len(), SERIES_MAX);
        assert_eq!(missed, [(TURNED_AWAY.to_owned(), 6)].into());
        // Twice as much as the others.
        assert_eq!(series[0].labels, [(Key::Cpu, "5".into())]);
        assert_eq!(series[0].histogram.count(), 4);
        assert_eq!(gathered.take(), (Vec::new(), BTreeMap::new()));
    }
}
