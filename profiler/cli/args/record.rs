//! `rprof record`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args as Group;

use super::{
    DEFAULT_FILE, TargetArgs,
    parse::{parse_probe, parse_time},
};
use crate::{
    cli::{memory::MemoryArgs, waits::WaitArgs},
    sources::split_period,
};

#[derive(Group)]
pub struct RecordArgs {
    /// What to measure: stacks (cpu, offcpu, runqlat, heap, faults, kmem), latency and events, as
    /// rprof latency and rprof trace have them; cpu if neither this nor a probe is given
    #[arg(short, long, value_name = "SOURCE", value_delimiter = ',')]
    pub source: Vec<String>,
    /// Stacks at each hit of a probe, or at every Nth: PROBE or PROBE,N. `rprof list` tells which
    /// there are; may be given several times
    #[arg(short = 'e', long = "probe", value_name = "PROBE", value_parser = parse_probe)]
    pub probes: Vec<String>,
    /// Hits of a probe from one sample to the next, where it does not say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(requires = "probes")]
    pub every: Option<u32>,
    /// Samples a second on each CPU
    #[arg(short = 'F', long, value_name = "HZ", default_value_t = 99)]
    pub frequency: u64,
    /// How long, such as 10s, 5m, 2h; else until Ctrl-C or until the target ends
    #[arg(short, long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// Where to
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub output: PathBuf,
    /// Locked kernel memory for unwind tables, MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub table_memory: u64,
    /// Show inlined functions and lines of installed debug packages too, not their names alone: it
    /// takes rprof several times the CPU time
    #[arg(long)]
    pub debug_files: bool,
    /// Leave out what happens to processes: exec and exit
    #[arg(long)]
    pub no_marks: bool,
    /// Follow user stacks by frame pointers alone, to measure what tables cost
    #[arg(long, hide = true)]
    pub frame_pointers: bool,
    /// Start this command, and record it and its children until it ends
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "pids")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub waits: WaitArgs,
    // Last, since its heading holds for all that follows.
    #[command(flatten)]
    pub target: TargetArgs,
}

impl RecordArgs {
    /// Every source, by name or as a probe.
    pub fn sources(&self) -> Vec<String> {
        let mut sources = self.source.clone();
        if sources.is_empty() && self.probes.is_empty() {
            sources.push("cpu".into());
        }
        sources.extend(self.probes.iter().map(|probe| match (self.every, split_period(probe)) {
            (Some(every), (_, None)) => format!("{probe},{every}"),
            _ => probe.clone(),
        }));
        sources
    }
}
