//! What a recording has besides stacks: histograms of sources of kind `latency`, and marks, which
//! are what happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Series;

/// What a lane holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneKind {
    /// Histograms of times, and perhaps a mark for each.
    Latency,
    /// Marks.
    #[default]
    Events,
}

/// One source of kind `latency` or `events` of a recording.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LaneInfo {
    /// Its word on the command line, such as `runqlat`.
    pub name: String,
    /// What it holds.
    pub kind: LaneKind,
    /// Unit of its values.
    pub unit: String,
    /// Words of the keys that its histograms are kept apart by.
    pub by: Vec<String>,
}

/// What was counted of a lane while recording.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LaneStats {
    /// Times in histograms.
    pub times: u64,
    /// Marks.
    pub marks: u64,
    /// Marks that were left out, since there were too many in a second.
    pub left_out: u64,
    /// What could not be measured or kept, by reason.
    pub missed: BTreeMap<String, u64>,
    /// Time in its BPF programs, ns.
    pub bpf_ns: u64,
    /// Runs of its BPF programs.
    pub bpf_runs: u64,
}

/// What a source of kind `latency` measured in a short stretch of time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Slice {
    /// ns since the Unix epoch.
    pub start: u64,
    /// Its end, likewise.
    pub end: u64,
    /// A histogram for each key. One without labels is of all keys that there was no room for.
    pub series: Vec<Series>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    /// When, ns since the Unix epoch.
    pub time: u64,
    /// Until when, of what lasts and is over, likewise.
    pub end: Option<u64>,
    /// What: `exec`, `exit`, `killed`, `oom`, `gc`, or the name of its source.
    pub kind: String,
    /// Process; 0 if it is not known.
    pub pid: u32,
    /// Thread; 0 if it is not known.
    pub tid: u32,
    /// Name of the process.
    pub comm: String,
    /// What, in words.
    pub text: String,
    /// All that its source tells, as a JSON object; empty if that is nothing.
    pub fields: String,
}
