//! What is known of a recording besides its samples: how it was made, and what was counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where, when and how a recording was made.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Info {
    /// Version of the rprof that wrote it.
    pub version: String,
    /// Name of the machine.
    pub host: String,
    /// Kernel release, as in `uname -r`.
    pub kernel: String,
    /// Machine architecture, as in `uname -m`.
    pub architecture: String,
    /// CPUs online at the start.
    pub cpus: u32,
    /// Whom it watched, in words.
    pub target: String,
    /// Start, ns since the Unix epoch.
    pub start: u64,
    /// How long it lasted so far, ns.
    pub duration: u64,
    /// False while recording, and for good if the recorder was killed.
    pub complete: bool,
    /// Why an agent began it, in words: `agent start`, `midnight`, ...; empty for others.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub begun_by: String,
}

/// One value that a sample has: what it is and its unit, in pprof's words.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ValueType {
    /// Such as `cpu`.
    pub name: String,
    /// Such as `nanoseconds`.
    pub unit: String,
}

impl ValueType {
    /// Values of this name, in this unit.
    pub fn new(name: &str, unit: &str) -> Self {
        Self { name: name.into(), unit: unit.into() }
    }

    /// What is counted, in words: `samples`, `objects`.
    pub fn noun(&self) -> String {
        let objects = self.name.ends_with("_objects");
        if objects { "objects".into() } else { self.name.replace('_', " ") }
    }
}

/// What of a held source was not freed yet, as number of objects and as bytes: pprof's words.
const IN_USE: [&str; 2] = ["inuse_objects", "inuse_space"];

/// One source of a recording.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct SourceInfo {
    /// Its word on the command line, such as `cpu`.
    pub name: String,
    /// The event that samples it, such as `cpu-clock` or `cycles`.
    pub event: String,
    /// Samples a second and CPU; 0 where samples are not taken by time.
    pub frequency: u64,
    /// What one sample stands for, in the unit of `value`: where samples are not taken by time, how
    /// much of it lies between two on average, and 1 if nothing is left out. 0 if that is not known.
    pub period: u64,
    /// What a sample's count is: `samples/count`, or how many objects it stands for.
    pub count: ValueType,
    /// What a sample's value is.
    pub value: ValueType,
    /// True if samples are of memory, and the source tells when it is freed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

impl Default for SourceInfo {
    fn default() -> Self {
        Self {
            name: String::new(),
            event: String::new(),
            frequency: 0,
            period: 0,
            count: ValueType::new("samples", "count"),
            value: ValueType::default(),
            held: false,
        }
    }
}

impl SourceInfo {
    /// All types of value that a view of it can show, in pprof's order: count and value, and of a
    /// held source the same of what is in use.
    pub fn types(&self) -> Vec<ValueType> {
        let mut types = vec![self.count.clone(), self.value.clone()];
        if self.held {
            let units = [&self.count.unit, &self.value.unit];
            types.extend(IN_USE.iter().zip(units).map(|(name, unit)| ValueType::new(name, unit)));
        }
        types
    }

    /// True if it is of memory: of what is taken, or of how what is resident grows.
    pub fn is_memory(&self) -> bool {
        self.held || self.value.unit == "bytes"
    }

    /// How many samples `count` and `value` are the sum of, as far as noise goes.
    ///
    /// Samples that are taken by time each count for one. Of those that are taken by value, one for
    /// each `period` of it on average, an object of size `s` is kept with the probability
    /// `p = 1 - exp(-s / period)` and then stands for `w = s / p`. The estimate of the sum has the
    /// variance `sum of (1 - p) w^2` over the samples (D. G. Horvitz and D. J. Thompson, J. Am.
    /// Stat. Assoc. 47, 1952), and `(1 - p) w = s / (exp(s / period) - 1)` is at most `period`. So
    /// the variance is at most `period * value`: that of `value / period` samples of one weight.
    pub fn samples_in(&self, count: u64, value: u64) -> f64 {
        match self.period {
            period if self.frequency == 0 && period > 0 => value as f64 / period as f64,
            _ => count as f64,
        }
    }
}

/// What was counted while recording. All of it is shown with every output.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Stats {
    /// Samples in the recording.
    pub samples: u64,
    /// Samples taken but lost, for want of room in a buffer.
    pub lost: u64,
    /// Stacks cut at the depth limit.
    pub truncated: u64,
    /// User stacks that could not be followed to their root, by reason.
    pub unwind_failed: BTreeMap<String, u64>,
    /// Samples taken in the kernel without a kernel stack.
    pub kernel_failed: u64,
    /// Frames of the recording's samples without a name, each distinct one once.
    pub unsymbolized_frames: u64,
    /// Other things turned away at a limit or missed, by what they are.
    pub missed: BTreeMap<String, u64>,
    /// Changes of the sampling rate: ns since the recording's start, and samples a second and CPU
    /// from then on. Empty where the rate was that of [`SourceInfo::frequency`] all the time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<(u64, u64)>,
    /// Unwind tables in use at the end.
    pub tables: UnwindTables,
    /// What the recording itself cost.
    #[serde(rename = "self")]
    pub overhead: Overhead,
}

/// What recording cost the machine.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Overhead {
    /// User and system CPU time of rprof, seconds.
    pub cpu_seconds: f64,
    /// Time in rprof's BPF programs, ns; not part of `cpu_seconds`.
    pub bpf_ns: u64,
    /// Runs of rprof's BPF programs.
    pub bpf_runs: u64,
    /// Peak resident memory of rprof, bytes.
    pub peak_rss_bytes: u64,
    /// Resident memory of rprof when this was written, bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub rss_bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Unwind tables in the kernel.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct UnwindTables {
    /// Files that have one.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Locked kernel memory, bytes.
    pub bytes: u64,
}

impl Stats {
    /// What was counted since `before`, of what only ever grows. Tables, rates and memory are as
    /// they are now.
    pub fn since(&self, before: &Self) -> Self {
        let map = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let count = |(what, count): (&String, &u64)| {
                (what.clone(), count.saturating_sub(before.get(what).copied().unwrap_or_default()))
            };
            now.iter().map(count).collect()
        };
        let (own, own_before) = (self.overhead, before.overhead);
        Self {
            samples: self.samples.saturating_sub(before.samples),
            lost: self.lost.saturating_sub(before.lost),
            truncated: self.truncated.saturating_sub(before.truncated),
            unwind_failed: map(&self.unwind_failed, &before.unwind_failed),
            kernel_failed: self.kernel_failed.saturating_sub(before.kernel_failed),
            unsymbolized_frames: self.unsymbolized_frames,
            missed: map(&self.missed, &before.missed),
            rates: self.rates.clone(),
            tables: self.tables,
            overhead: Overhead {
                cpu_seconds: own.cpu_seconds - own_before.cpu_seconds,
                bpf_ns: own.bpf_ns.saturating_sub(own_before.bpf_ns),
                bpf_runs: own.bpf_runs.saturating_sub(own_before.bpf_runs),
                ..own
            },
        }
    }

    /// The share of the samples taken whose stack is there and complete, from 0 to 1.
    pub fn complete(&self) -> f64 {
        let taken = self.samples.saturating_add(self.lost);
        let flaws = [self.lost, self.truncated, self.incomplete(), self.kernel_failed];
        let flaws = flaws.iter().fold(0u64, |sum, count| sum.saturating_add(*count)).min(taken);
        if taken == 0 { 1.0 } else { 1.0 - flaws as f64 / taken as f64 }
    }

    /// User stacks that did not reach their root, for any reason.
    pub fn incomplete(&self) -> u64 {
        self.unwind_failed.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_pprof() {
        let names = |source: &SourceInfo| {
            let names: Vec<String> = source.types().into_iter().map(|one| one.name).collect();
            names.join(" ")
        };
        let value = ValueType::new("cpu", "nanoseconds");
        let cpu = SourceInfo { value, frequency: 99, period: 10_101_010, ..SourceInfo::default() };
        assert_eq!(names(&cpu), "samples cpu");
        assert_eq!(cpu.samples_in(3, 30_303_030), 3.0);
        let heap = SourceInfo {
            count: ValueType::new("alloc_objects", "count"),
            value: ValueType::new("alloc_space", "bytes"),
            period: 512 << 10,
            held: true,
            ..SourceInfo::default()
        };
        assert_eq!(names(&heap), "alloc_objects alloc_space inuse_objects inuse_space");
        assert_eq!(heap.types()[3].unit, "bytes");
        // 40-byte objects: two samples that stand for 26,214 of them.
        assert_eq!(heap.samples_in(26_214, 1 << 20), 2.0);
        let json = serde_json::to_string(&cpu).unwrap();
        assert_eq!(serde_json::from_str::<SourceInfo>(&json).unwrap(), cpu);
        let old: SourceInfo = serde_json::from_str(r#"{"name": "cpu"}"#).unwrap();
        assert_eq!(old.count.name, "samples");
    }

    #[test]
    fn what_was_counted_since() {
        let at = |samples: u64, refused: u64| Stats {
            samples,
            missed: [("processes".to_owned(), refused)].into(),
            tables: UnwindTables { files: samples, ..UnwindTables::default() },
            overhead: Overhead { cpu_seconds: samples as f64, bpf_ns: 7 * samples, ..own() },
            ..Stats::default()
        };
        fn own() -> Overhead {
            Overhead { rss_bytes: 5, peak_rss_bytes: 9, ..Overhead::default() }
        }
        let since = at(10, 4).since(&at(3, 4));
        assert_eq!((since.samples, since.missed["processes"]), (7, 0));
        assert_eq!((since.overhead.cpu_seconds, since.overhead.bpf_ns), (7.0, 49));
        // As it is now.
        assert_eq!((since.tables.files, since.overhead.peak_rss_bytes), (10, 9));
    }
}
