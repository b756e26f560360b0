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
}

/// One value that a sample has: what it is and its unit, in pprof's words.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ValueType {
    /// Such as `cpu`.
    pub name: String,
    /// Such as `nanoseconds`.
    pub unit: String,
}

/// One source of a recording.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct SourceInfo {
    /// Its word on the command line, such as `cpu`.
    pub name: String,
    /// The event that samples it, such as `cpu-clock` or `cycles`.
    pub event: String,
    /// Samples a second and CPU; 0 where samples are not taken by time.
    pub frequency: u64,
    /// What one sample stands for, in the unit of `value`; 0 where that differs.
    pub period: u64,
    /// What a sample's value is; its count is `samples/count` always.
    pub value: ValueType,
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
    /// User stacks that did not reach their root, for any reason.
    pub fn incomplete(&self) -> u64 {
        self.unwind_failed.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
