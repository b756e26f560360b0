//! What there is: the recording, its sources, and how far it is to be trusted.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Info, Label, LaneInfo, SourceInfo, Stats, Tables, ValueType};

/// ns in a ms, the unit of all times in answers.
pub const MS: f64 = 1e6;

/// A recording, or a store of them.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Version of the rprof that recorded.
    pub rprof: String,
    /// Name of the machine.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// CPUs online.
    pub cpus: u32,
    /// Whom it watched, in words.
    pub target: String,
    /// Start, ms since the Unix epoch.
    pub start: f64,
    /// End so far, ms since the Unix epoch.
    pub end: f64,
    /// True while it is recorded.
    pub live: bool,
    /// What was measured.
    pub sources: Vec<Source>,
    /// What samples can be grouped by and narrowed to.
    pub labels: Vec<&'static str>,
    /// What was measured besides stacks.
    pub lanes: Vec<LaneInfo>,
    /// What is wrong with it, in words.
    pub remarks: Vec<String>,
    /// The time of the recording that it can be compared with, if there is one.
    pub base: Option<Span>,
}

/// A stretch of time, ms since the Unix epoch.
#[derive(Debug, Serialize)]
pub struct Span {
    /// Its start.
    pub start: f64,
    /// Its end.
    pub end: f64,
}

/// One source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Its word.
    pub name: String,
    /// `stacks`, `latency` or `events`.
    pub kind: &'static str,
    /// What samples it.
    pub event: String,
    /// Samples a second and CPU; 0 where samples are not taken by time.
    pub frequency: u64,
    /// What one sample stands for, or how much lies between two on average.
    pub period: u64,
    /// What samples are counted in.
    pub count: ValueType,
    /// What a sample's value is.
    pub value: ValueType,
    /// True if it knows what of the memory is in use.
    pub held: bool,
    /// All types of value that can be shown; the last one is, if none is asked for.
    pub types: Vec<ValueType>,
}

/// What a recording is; `live` while it grows.
pub fn summary(info: &Info, sources: &[SourceInfo], live: bool, remarks: &[String]) -> Summary {
    let source = |source: &SourceInfo| Source {
        name: source.name.clone(),
        kind: "stacks",
        event: source.event.clone(),
        frequency: source.frequency,
        period: source.period,
        count: source.count.clone(),
        value: source.value.clone(),
        held: source.held,
        types: source.types(),
    };
    Summary {
        rprof: info.version.clone(),
        host: info.host.clone(),
        kernel: info.kernel.clone(),
        architecture: info.architecture.clone(),
        cpus: info.cpus,
        target: info.target.clone(),
        start: info.start as f64 / MS,
        end: info.start.saturating_add(info.duration) as f64 / MS,
        live,
        sources: sources.iter().map(source).collect(),
        labels: Label::ALL.iter().map(|label| label.word()).collect(),
        lanes: Vec::new(),
        remarks: remarks.to_vec(),
        base: None,
    }
}

/// How many frames have no name.
pub fn unnamed(tables: &Tables) -> u64 {
    let frames = 0..tables.frames.len() as u32;
    frames.filter(|frame| tables.lines(*frame).is_empty()).count() as u64
}

/// How far a recording is to be trusted, and what it cost.
#[derive(Debug, Default, Serialize)]
pub struct Honesty {
    /// Samples.
    pub samples: u64,
    /// Samples taken but lost.
    pub lost: u64,
    /// Stacks cut at the depth limit.
    pub truncated: u64,
    /// User stacks that were not followed to their root.
    pub incomplete: u64,
    /// The same by reason.
    pub unwind_failed: BTreeMap<String, u64>,
    /// Samples in the kernel without a kernel stack.
    pub kernel_failed: u64,
    /// Distinct frames without a name.
    pub unnamed: u64,
    /// Other things missed.
    pub missed: BTreeMap<String, u64>,
    /// Share of the samples taken whose stack is there and complete.
    pub complete: f64,
    /// Changes of the sampling rate.
    pub rates: Vec<Rate>,
    /// What recording cost.
    #[serde(rename = "self")]
    pub cost: Cost,
}

/// From when on how often was sampled.
#[derive(Debug, Serialize)]
pub struct Rate {
    /// ms since the Unix epoch.
    pub from: f64,
    /// Samples a second and CPU.
    pub hz: u64,
}

/// What recording cost the machine.
#[derive(Debug, Default, Serialize)]
pub struct Cost {
    /// CPU time of rprof, seconds.
    pub cpu_seconds: f64,
    /// Time in its BPF programs, seconds; not part of the other.
    pub bpf_seconds: f64,
    /// Both, as a share of one CPU over the time of the recording.
    pub cpu_share: f64,
    /// Peak resident memory, bytes.
    pub rss_bytes: u64,
}

/// What `stats` say of recordings of `source` that together lasted `duration` ns and began at
/// `start`, ns since the Unix epoch.
pub fn honesty(stats: &Stats, source: &SourceInfo, start: u64, duration: u64) -> Honesty {
    let first = stats.rates.first().is_none_or(|(from, _)| *from > 0);
    let first = first.then_some((0, source.frequency));
    let rates = first.into_iter().chain(stats.rates.iter().copied());
    let rates = rates.map(|(from, hz)| Rate { from: start.saturating_add(from) as f64 / MS, hz });
    let cost = &stats.overhead;
    let bpf_seconds = cost.bpf_ns as f64 / 1e9;
    Honesty {
        samples: stats.samples,
        lost: stats.lost,
        truncated: stats.truncated,
        incomplete: stats.incomplete(),
        unwind_failed: stats.unwind_failed.clone(),
        kernel_failed: stats.kernel_failed,
        unnamed: stats.unsymbolized_frames,
        missed: stats.missed.clone(),
        complete: stats.complete(),
        rates: rates.collect(),
        cost: Cost {
            cpu_seconds: cost.cpu_seconds,
            bpf_seconds,
            cpu_share: match duration {
                0 => 0.0,
                duration => (cost.cpu_seconds + bpf_seconds) / (duration as f64 / 1e9),
            },
            rss_bytes: cost.peak_rss_bytes,
        },
    }
}
